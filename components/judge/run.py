"""judge: a language model judges the open-ended answers of M_t; every judgement is kept."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from lidr.components.judge.cases import (
    PROMPT_OF,
    ItemsToJudge,
    JudgeCase,
    cases_of,
    collect_items,
    judged_tasks,
)
from lidr.components.judge.summary import Judged, items_of, summarise
from lidr.components.judging.judge_cases import judge_all, require_few_failures
from lidr.components.judging.outcomes import JudgementOutcome
from lidr.components.judging.prompts import load_prompt
from lidr.components.shared.config.judge import Judge
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.core.events import emit
from lidr.components.shared.inputs.questions import digest_of_questions, digest_of_references
from lidr.components.shared.records.schema import EvalItem
from lidr.components.shared.step import step
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage

VERSION = 1


@step("judge")
def judge(
    recipe: str, store: str, evaluation: str, before: str, iteration: int, run: str = ""
) -> str:
    """Let the recipe's judge assess a model's open-ended answers.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        evaluation: URI of the evaluate stage of M_t, which holds the answers.
        before: URI of the evaluate stage of M_{t-1}, to compare with; "" for M_0.
        iteration: t of M_t, for progress, notes and tracking.
        run: name of the run, for its lease, notes and tracking.

    Returns:
        URI of the stage: `judgements.parquet` (Judgement) and `items.parquet` (EvalItem, scores
        from 0 to 1); its counts hold win rates, scores and failures.

    Raises:
        BadInput: the recipe has no judge, a file it names is broken, or the server refuses the key.
        EngineFailed: too many judgements failed; the others are kept for the next attempt.
        Unavailable: the judge did not answer for LIDR_RETRY_SECONDS.
    """
    settings = Recipe.model_validate_json(recipe)
    recipe_judge = settings.require_judge()
    stage = _stage(settings, recipe_judge, store, evaluation, before)
    if stage.done():
        require_few_failures(stage, recipe_judge)
        emit("reused")
    else:
        items = collect_items(settings, recipe_judge, evaluation, before)
        _judge(settings, recipe_judge, stage, items)
    _announce(stage.counts(), iteration)
    return stage.uri


def _stage(settings: Recipe, judge: Judge, store: str, evaluation: str, before: str) -> Stage:
    tasks = judged_tasks(judge, before)
    inputs = {"evaluation": digest_of_uri(evaluation)}
    if any(task.name == "head_to_head" for task in tasks):
        inputs["before"] = digest_of_uri(before)
    prompts = sorted({PROMPT_OF[task.name] for task in tasks})
    return new_stage(
        open_store(store),
        "judge",
        VERSION,
        inputs,
        {
            "model": judge.endpoint.model,
            "max_tokens": judge.max_tokens,
            "top_logprobs": judge.top_logprobs,
            "others": settings.languages.others,
            "seed": settings.seed,
            "prompts": {name: load_prompt(name, judge.prompts).digest for name in prompts},
            "tasks": [
                [
                    task.name,
                    language,
                    digest_of_questions(judge.answered_by(task), language),
                    digest_of_references(task, language),
                ]
                for task in tasks
                for language in judge.languages_of(task, settings.languages.all)
            ],
        },
    )


def _judge(settings: Recipe, judge: Judge, stage: Stage, items: ItemsToJudge) -> None:
    cases = list(cases_of(items.items, judge))
    judged = _by_item(cases, judge_all(stage, judge, cases))
    stage.write_records("items.parquet", items_of(judged), EvalItem)
    stage.finish(
        {"model": judge.endpoint.model}
        | summarise(items, judged, settings.languages.others, judge.price, settings.seed)
    )


def _by_item(cases: list[JudgeCase], outcomes: dict[str, JudgementOutcome]) -> Judged:
    """Return the items in order, each with the outcomes of its judgements."""
    return [
        (item, [outcomes[case.request] for case in group])
        for item, group in groupby(cases, key=lambda case: case.item)
    ]


def _announce(counts: dict[str, Any], iteration: int) -> None:
    for task, task_counts in counts["tasks"].items():
        for language, language_counts in task_counts["languages"].items():
            score = language_counts["score"]
            if score["n"]:
                emit("judged", iteration=iteration, task=task, language=language, **score)
            left_out, unanswered = language_counts["left_out"], language_counts["unanswered"]
            if left_out or unanswered:
                message = (
                    f"{task} {language}: {left_out + unanswered} questions have no score "
                    f"(a judgement failed: {left_out}, an answer is missing: {unanswered})"
                )
                emit("warning", message=message)
