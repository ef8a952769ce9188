"""evaluate: lm-evaluation-harness tasks on M_t, every item kept, with intervals per language."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import fmean
from typing import Any

from lidr.components.evaluate.answers import answer, asked
from lidr.components.evaluate.contamination import (
    find_overlaps,
    prompt_digests,
    report_overlaps,
    stage_prompts,
    summarise_overlaps,
)
from lidr.components.evaluate.harness import Scored, run_tasks
from lidr.components.evaluate.items.local_data import digests
from lidr.components.shared.config.engine_choice import choose_engine, engine_identity
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of, digest_of_file, digest_of_uri
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.languages import UNDETERMINED, LanguageIdentifier
from lidr.components.shared.engines import open_engine
from lidr.components.shared.engines.deferred import DeferredEngine
from lidr.components.shared.models.chat.identity import chat_identity
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.records.schema import Answer, EvalItem, FinishReason, Overlap
from lidr.components.shared.stats.intervals import Interval, macro_average, mean_interval, wilson
from lidr.components.shared.step import step
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage, open_stage

VERSION = 2

TASKS = Path(__file__).parent / "tasks"
"""Our own tasks, on the harness's include path."""

SCORING = Path(__file__).parent / "scoring"
"""What decides whether an answer is right: another rule is another evaluation."""


@step("evaluate")
def evaluate(
    recipe: str, store: str, inputs: str, model: str, iteration: int, run: str = ""
) -> str:
    """Evaluate a model on the recipe's tasks in every language.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        inputs: URI of the stage `prepare`, which holds the training prompts and the tiny world's
            evaluation items; "" where there is none.
        model: URI of the stage that holds the model.
        iteration: t of M_t, for progress and tracking only.
        run: name of the run, for tracking only.

    Returns:
        URI of the stage: `items.parquet` (EvalItem), `overlaps.parquet` (Overlap), and
        `answers.parquet` (Answer) where the recipe has a judge; scores with intervals are its
        counts.

    Raises:
        BadInput: a task does not exist, does not ask for text, or has no scores from 0 to 1.
        EngineFailed: the inference engine died.
    """
    settings = Recipe.model_validate_json(recipe)
    stage = _stage(settings, store, inputs, model)
    if stage.done():
        emit("reused")
    else:
        _evaluate(settings, stage, inputs, model)
    _announce(stage.counts(), iteration)
    return stage.uri


def summarise(items: Sequence[EvalItem], others: Sequence[str]) -> dict[str, Any]:
    """Return scores per language and their macro average over the other languages.

    Args:
        items: scores are from 0 to 1.
        others: codes of the other languages.
    """
    by_language: dict[str, list[EvalItem]] = {}
    for item in items:
        by_language.setdefault(item.language, []).append(item)
    languages = {code: _language(group) for code, group in by_language.items()}
    parts = [languages[code]["accuracy"] for code in others if code in languages]
    return {"languages": languages, "average": macro_average(parts)}


def _language(items: Sequence[EvalItem]) -> dict[str, Any]:
    count = len(items)
    off_target = sum(i.detected_language not in (i.language, UNDETERMINED) for i in items)
    return {
        "accuracy": _accuracy(items),
        "off_target": wilson(off_target, count),
        "truncated": sum(item.finish_reason == FinishReason.LENGTH for item in items) / count,
        "failed": sum(item.finish_reason == FinishReason.FAILED for item in items),
        "mean_tokens": fmean(item.output_tokens for item in items),
    }


def _accuracy(items: Sequence[EvalItem]) -> Interval:
    return mean_interval([item.score for item in items])


def _stage(settings: Recipe, store: str, inputs: str, model: str) -> Stage:
    read = {"model": digest_of_uri(model), "prompts": digest_of(prompt_digests(inputs))}
    if settings.is_toy:
        read["inputs"] = digest_of_uri(inputs)
    return new_stage(
        open_store(store),
        "evaluate",
        VERSION,
        read,
        {
            "languages": settings.languages.model_dump(mode="json"),
            "seed": settings.seed,
            **engine_identity(settings),
            **_chat_identity(settings, model),
            "harness": metadata.version("lm-eval"),
            "task_files": _task_files(settings),
            "data": digests(settings.evaluation.data, settings.languages.all),
            "evaluation": settings.evaluation.model_dump(
                mode="json", exclude={"include_path", "data"}
            ),
            **asked(settings),
        },
    )


def _chat_identity(settings: Recipe, model: str) -> dict[str, object]:
    dated = settings.model.date and not settings.is_toy
    folder = model_files(model, weights=False).folder if dated else None
    return chat_identity(settings.model, folder)


def _task_files(settings: Recipe) -> list[dict[str, str]]:
    """Return the digests of our tasks', our scoring's and the user's files, code and data too."""
    return [
        {
            path.relative_to(root).as_posix(): digest_of_file(path)
            for path in sorted(root.rglob("*"))
            if path.is_file() and path.suffix != ".pyc"
        }
        for root in (SCORING, *_include_paths(settings))
    ]


def _include_paths(settings: Recipe) -> list[Path]:
    own = settings.evaluation.include_path
    return [TASKS, Path(own)] if own else [TASKS]


def _evaluate(settings: Recipe, stage: Stage, inputs: str, model: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if settings.is_toy:
            source = open_stage(inputs)
            source.download(folder, source.files(prefix="evaluation/"))
        engine = DeferredEngine(partial(open_engine, settings, model))
        try:
            scored = run_tasks(engine, settings, _include_paths(settings), folder / "evaluation")
            answers = answer(engine, settings)
        finally:
            engine.close()
    items = _items(settings, scored)
    stage.write_records("items.parquet", items, EvalItem)
    if settings.judge:
        stage.write_records("answers.parquet", answers, Answer)
    others = settings.languages.others
    overlaps, prompts = find_overlaps(items, partial(stage_prompts, inputs))
    stage.write_records("overlaps.parquet", overlaps, Overlap)
    contamination = summarise_overlaps(items, overlaps, prompts, others, _accuracy)
    report_overlaps(contamination)
    counts = summarise(items, others) | {"contamination": contamination}
    engine_name, reason = choose_engine(settings)
    stage.finish(counts | {"engine": engine_name.value, "engine_reason": reason})


def _items(settings: Recipe, scored: Sequence[Scored]) -> list[EvalItem]:
    identifier = LanguageIdentifier(settings.languages.all)
    detected = identifier.identify([item.completion.text for item in scored])
    return [
        EvalItem(
            task=item.task,
            language=item.language,
            item_id=item.item_id,
            prompt=item.prompt,
            response=item.completion.text,
            target=item.target,
            score=item.score,
            # A given answer that was chosen is not the model's own words.
            detected_language=language if item.completion.output_tokens else UNDETERMINED,
            finish_reason=item.completion.finish_reason,
            output_tokens=item.completion.output_tokens,
        )
        for item, language in zip(scored, detected, strict=True)
    ]


def _announce(counts: dict[str, Any], iteration: int) -> None:
    for code, scores in counts["languages"].items():
        emit(
            "accuracy",
            iteration=iteration,
            language=code,
            off_target=scores["off_target"]["value"],
            **scores["accuracy"],
        )
