"""evaluate: runs lm-evaluation-harness tasks on M_t, and keeps every item and its score."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from lidr.components.evaluate.answers import answer_questions, judged_identity
from lidr.components.evaluate.contamination import (
    find_overlaps,
    prompt_digests,
    report_overlaps,
    stage_prompts,
    summarise_overlaps,
)
from lidr.components.evaluate.harness import Scored, run_tasks
from lidr.components.evaluate.items.local_data import data_digests
from lidr.components.evaluate.limits import task_folders
from lidr.components.evaluate.summary import accuracy_of, summarise
from lidr.components.shared import numbers
from lidr.components.shared.config.engine_choice import choose_engine, engine_identity
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of, digest_of_file, digest_of_uri
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.languages import UNDETERMINED, LanguageIdentifier
from lidr.components.shared.engines import open_engine
from lidr.components.shared.engines.deferred import DeferredEngine
from lidr.components.shared.models.chat.identity import chat_identity
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.models.stages import canonical_model_stage
from lidr.components.shared.records.counts import Log, ignore
from lidr.components.shared.records.schema import Answer, EvalItem, Overlap
from lidr.components.shared.stats.premise import premise_text
from lidr.components.shared.stats.truncation import truncation_warning
from lidr.components.shared.step import step
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage, open_stage
from lidr.components.shared.tracking.stage_metrics import scores_of

VERSION = 10

SCORING = (
    *sorted(Path(numbers.__file__).parent.glob("*.py")),
    Path(__file__).with_name("mathematics.py"),
)
"""The files that decide whether an answer is right; they are part of the stage's identity."""


@step("evaluate")
def evaluate(
    recipe: str,
    store: str,
    inputs: str,
    model: str,
    iteration: int,
    run: str = "",
    log: Log = ignore,
) -> str:
    """Evaluate a model on the recipe's tasks in every language.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        inputs: URI of the stage `prepare`, which holds the training prompts and the tiny world's
            evaluation items; "" for no such stage.
        model: URI of the stage that holds the model.
        iteration: t of M_t, for progress, notes and tracking.
        run: name of the run, for its lease, notes and tracking.
        log: is called with accuracy, off-target and cut shares by language, for Kubeflow's page.

    Returns:
        URI of the stage: `items.parquet` (EvalItem), `overlaps.parquet` (Overlap), and
        `answers.parquet` (Answer) if the recipe has a judge; its marker's counts are the scores
        with intervals.

    Raises:
        BadInput: a task does not exist, measures the likelihood of whole texts, or gives its items
            no scores from 0 to 1; or items are missing or broken.
        EngineFailed: the inference engine died.
    """
    settings = Recipe.model_validate_json(recipe)
    stage = _stage(settings, store, inputs, model)
    if stage.done():
        emit("reused")
    else:
        _evaluate(settings, stage, inputs, model)
    _announce(stage.counts(), iteration)
    for name, value in scores_of(stage.counts()).items():
        log(name, value)
    return stage.uri


def _stage(settings: Recipe, store: str, inputs: str, model: str) -> Stage:
    home = open_store(store)
    canonical = canonical_model_stage(home, model)
    read = {"model": digest_of_uri(canonical), "prompts": digest_of(prompt_digests(inputs))}
    if settings.is_toy:
        read["inputs"] = digest_of_uri(inputs)
    return new_stage(
        home,
        "evaluate",
        VERSION,
        read,
        {
            "languages": settings.languages.model_dump(mode="json"),
            "seed": settings.seed,
            **engine_identity(settings),
            **_chat_identity(settings, canonical),
            "harness": metadata.version("lm-eval"),
            "verifier": metadata.version("math-verify"),
            "task_files": _task_files(settings),
            "data": data_digests(settings.evaluation.data, settings.languages.all),
            "evaluation": settings.evaluation.model_dump(
                mode="json", exclude={"include_path", "data"}
            ),
            **judged_identity(settings),
        },
    )


def _chat_identity(settings: Recipe, model: str) -> dict[str, object]:
    # A chat template may show the date; only the model's files tell whether this one does.
    dated = settings.model.date and not settings.is_toy
    if not dated:
        return chat_identity(settings.model)
    arguments = settings.model.template_arguments
    files = model_files(model, weights=False, arguments=arguments)
    return chat_identity(settings.model, files.folder)


def _task_files(settings: Recipe) -> list[dict[str, str]]:
    """Return the digests of the files that score answers, and of the task folders' files."""
    folders = [
        {
            path.relative_to(root).as_posix(): digest_of_file(path)
            for path in sorted(root.rglob("*"))
            if path.is_file() and path.suffix != ".pyc"
        }
        for root in task_folders(settings.evaluation)
    ]
    return [{path.name: digest_of_file(path) for path in SCORING}, *folders]


def _evaluate(settings: Recipe, stage: Stage, inputs: str, model: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if settings.is_toy:
            source = open_stage(inputs)
            source.download(folder, source.files(prefix="evaluation/"))
        engine = DeferredEngine(partial(open_engine, settings, model))
        try:
            folders = task_folders(settings.evaluation)
            scored = run_tasks(engine, settings, folders, folder / "evaluation")
            answers = answer_questions(engine, settings)
            measured = engine.stats()
        finally:
            engine.close()
    items = _items(settings, scored)
    stage.write_records("items.parquet", items, EvalItem)
    if settings.is_judged:
        stage.write_records("answers.parquet", answers, Answer)
    others = settings.languages.others
    overlaps, prompts = find_overlaps(items, partial(stage_prompts, inputs))
    stage.write_records("overlaps.parquet", overlaps, Overlap)
    contamination = summarise_overlaps(items, overlaps, prompts, others, accuracy_of)
    report_overlaps(contamination)
    counts = summarise(items, settings.languages) | {"contamination": contamination}
    engine_name, reason = choose_engine(settings)
    made = {"engine": engine_name.value, "engine_reason": reason, "items": len(items)}
    stage.finish(counts | made | measured)


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
            # An answer choice is not the model's own words.
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
            truncated=scores["truncated"]["value"],
            **scores["accuracy"],
        )
    warnings = [truncation_warning(counts["languages"])]
    if iteration == 0:
        warnings.append(premise_text(counts["premise"]))
    for message in filter(None, warnings):
        emit("warning", message=message)
