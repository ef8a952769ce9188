"""grade: the recipe's judge grades every response from 0 to 10; every judgement is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from lidr.components.grade.stage import PROMPT, grade_stage
from lidr.components.judging.cases import Case, request_digest
from lidr.components.judging.judge_cases import judge_all, require_few_failures, usage_of
from lidr.components.judging.outcomes import JudgementOutcome
from lidr.components.judging.prompts import Block, JudgePrompt, load_prompt
from lidr.components.judging.verdicts import MAX_SCORE
from lidr.components.rollout.answers import read_answers, usable_text
from lidr.components.rollout.prompts import PromptBook
from lidr.components.shared.config.judge import Judge
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.records.judged import Order
from lidr.components.shared.records.schema import Message, Prompt, Response, Score
from lidr.components.shared.records.scores import SCORES_FILE, score_counts
from lidr.components.shared.step import step
from lidr.components.shared.store.stage import open_stage

_TASK = "samples"
"""Task name in the judgements of responses; their turn is the sample's number."""

Place = tuple[str, str, int]
"""Prompt id, language and number of the sample."""


@step("grade")
def grade(
    recipe: str,
    store: str,
    inputs: str,
    responses: str,
    iteration: int,
    run: str = "",
) -> str:
    """Let the recipe's judge grade every response.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        inputs: URI of the stage `prepare`, which holds the prompts.
        responses: URI of the generate stage.
        iteration: t + 1.
        run: name of the run, for its lease, notes and tracking.

    Returns:
        URI of the stage: `scores.parquet` (Score, from 0 to 1) and `judgements.parquet`
        (Judgement); its counts hold the cost and the failures.

    Raises:
        BadInput: the recipe has no judge, the profile names no server, or the server refuses the
            key.
        EngineFailed: too many judgements failed; the others are kept for the next attempt.
        Unavailable: the judge did not answer for LIDR_RETRY_SECONDS.
    """
    settings = Recipe.model_validate_json(recipe)
    judge = settings.require_judge()
    stage = grade_stage(settings, store, inputs, responses, iteration)
    if stage.done():
        require_few_failures(stage, judge)
        emit("reused")
        return stage.uri
    book = PromptBook(open_stage(inputs), settings.prompts.per_iteration, iteration)
    # Each case holds its text until all are judged: reading by language would save no memory.
    answers = {code: read_answers(responses, code) for code in settings.languages.all}
    cases = list(_cases(settings, judge, book, answers))
    made = judge_all(stage, judge, cases)
    outcomes = {_place(case): made[case.request] for case in cases}
    scores = {code: [_score(each, outcomes) for each in own] for code, own in answers.items()}
    stage.write_records(SCORES_FILE, [each for own in scores.values() for each in own], Score)
    counts = {
        **score_counts(scores),
        "model": judge.endpoint.model,
        **usage_of(list(outcomes.values()), judge.price),
    }
    emit("number", name="graded", value=f"{counts['scored']:,} of {counts['responses']:,}")
    return stage.finish(counts)


def _cases(
    settings: Recipe, judge: Judge, book: PromptBook, answers: Mapping[str, Sequence[Response]]
) -> Iterator[Case]:
    """Yield a request for each response with a usable text, without the reference answer."""
    prompt = load_prompt(PROMPT, judge.prompts)
    for code, own in answers.items():
        prompts = {each.prompt_id: each for each in book.read(code, 0, book.size(code))}
        for answer in own:
            text = usable_text(settings, answer)
            if text is not None:
                yield _case(judge, prompt, prompts[answer.prompt_id], answer, text)


def _case(judge: Judge, prompt: JudgePrompt, asked: Prompt, answer: Response, text: str) -> Case:
    render = partial(_messages, prompt, answer.language, asked.text, text)
    place = (_TASK, answer.language, answer.prompt_id)
    request = request_digest(judge, (*place, answer.sample, Order.ALONE), render())
    return Case(*place, answer.sample, Order.ALONE, render, request)


def _messages(prompt: JudgePrompt, language: str, asked: str, text: str) -> list[Message]:
    return prompt.messages(
        NAMES[language],
        {
            "conversation": [Block("user", asked)],
            "answer": [Block("answer", text)],
            "reference": [],
        },
    )


def _place(case: Case) -> Place:
    return case.item_id, case.language, case.turn


def _score(answer: Response, outcomes: Mapping[Place, JudgementOutcome]) -> Score:
    """Return the score of a response, with the response's own failure if it was not judged."""
    place = answer.prompt_id, answer.language, answer.sample
    if (outcome := outcomes.get(place)) is None:
        return Score(*place, None, answer.failure)
    grade = outcome.value
    return Score(*place, None if grade is None else grade / MAX_SCORE, outcome.failure)
