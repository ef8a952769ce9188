"""Whether M_0, prompts, questions and items can be read, and whether this machine has room.

Of a remote model only the small files are fetched, not the weights; an adapter is fetched with its
weights, which must fit the model. A model in a folder is checked as the run will check it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from lidr.components.grade.stage import PROMPT
from lidr.components.judge.cases import PROMPT_OF
from lidr.components.judging.prompts import load_prompt
from lidr.components.shared.config.judge import Judge, JudgedTask
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.config.source import is_web, on_this_machine, parse_source, shown
from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.core.gpu import gpu_present
from lidr.components.shared.core.memory import free_memory
from lidr.components.shared.core.uris import has_scheme
from lidr.components.shared.inputs.duplicates import find_duplicates, note_of_duplicates
from lidr.components.shared.inputs.prompt_files import (
    listed_tasks,
    load_language,
    note_of_unread,
    require_same_ids,
    unread_fields,
)
from lidr.components.shared.inputs.questions import checked_questions
from lidr.components.shared.inputs.translation_tasks import (
    note_of_translation_tasks,
    translation_task_ids,
)
from lidr.components.shared.models.admission import ModelCandidate
from lidr.components.shared.models.outside import fetch_model, model_names, resolve_model
from lidr.components.shared.records.schema import Prompt
from lidr.components.shared.store.open import local_folder
from lidr.pipelines.begin import inputs_of
from lidr.pipelines.checks.admission import admission_findings
from lidr.pipelines.checks.evaluation import evaluation_findings
from lidr.pipelines.checks.finding import (
    CheckInputs,
    Finding,
    missing,
    ok,
    refused_or_unknown,
    unknown,
)
from lidr.pipelines.checks.rewarding import rewarding_findings
from lidr.pipelines.planning.estimate import PlanInputs, needed_bytes
from lidr.pipelines.trainable import require_trainable

_NAME_BUCKET = "Name s3://bucket/prefix, which can be checked."
_FETCH_REMEDY = "Bring it into the store with `lidr fetch`, or name an s3:// address."
_GIB = 1 << 30


def model_findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield whether the models of `pairing.icr` can be read, and what admission says of M_0."""
    yield from rewarding_findings(inputs)
    recipe = inputs.recipe
    try:
        require_trainable(recipe, inputs.profile)
    except BadInput as error:
        yield missing("adapters", error.message, error.remedy)
    if recipe.is_toy:
        yield ok("model", "the step `prepare` makes the tiny world's M_0")
        return
    if (elsewhere := _unreadable_registry(inputs)) is not None:
        yield elsewhere
        return
    try:
        source, own = resolve_model(recipe.model.source, unpinned=recipe.model.unpinned)
    except LidrError as error:
        yield refused_or_unknown("model", error, inputs)
        return
    names, folder, faults = _fetch(inputs, "model files", source)
    yield from faults
    adapter = None
    if address := recipe.model.adapter or own:
        _, adapter, faults = _fetch(inputs, "adapter files", address, weights=True)
        yield from faults
        if inputs.on_cluster and adapter and "://" not in address:
            detail = f"{address} is a folder of this machine, which pods may not see"
            yield unknown("adapter files", detail, _NAME_BUCKET)
    if folder is not None:
        candidate = ModelCandidate(recipe, folder, names, adapter)
        yield from admission_findings(inputs, source, candidate)


def _unreadable_registry(inputs: CheckInputs) -> Finding | None:
    """Return why a registered model cannot be looked up from here; None if it can."""
    source, uri = inputs.recipe.model.source, inputs.profile.tracking_uri
    if not source.startswith("models:/") or os.environ.get("MLFLOW_TRACKING_URI"):
        return None
    if inputs.on_cluster and not uri:
        detail = f"{source} is in an MLflow whose address the profile does not name"
        return unknown("model", detail, "Set $MLFLOW_TRACKING_URI, or tracking_uri in the profile.")
    if inputs.on_cluster and inputs.only_inside(uri):
        detail = f"{source} is in an MLflow that is reached from pods only"
        return unknown("model", detail, "Set $MLFLOW_TRACKING_URI to a tunnel to it.")
    if uri:
        detail = f"{source} needs $MLFLOW_TRACKING_URI, which is not set here"
        return unknown("model", detail, f"export MLFLOW_TRACKING_URI={uri}")
    return None


def _fetch(
    inputs: CheckInputs, name: str, source: str, *, weights: bool = False
) -> tuple[Collection[str] | None, Path | None, list[Finding]]:
    """Fetch a model's or an adapter's files, without a model's weights, into a folder.

    Returns:
        Names of all the files, or None where the folder has them all; the folder, or None if it
        cannot be fetched; the findings that say why not.
    """
    local = "://" not in source
    if local and has_scheme(source):
        detail = f"{source} is among MLflow's artifacts, from which lidr reads no model"
        remedy = "Register the model from a folder, s3:// or hf://."
        return None, None, [missing(name, detail, remedy)]
    if local and inputs.on_cluster and not Path(source).is_dir():
        detail = f"{source} is not a folder here; pods read it from their image or a volume"
        return None, None, [unknown(name, detail, _NAME_BUCKET)]
    try:
        names = None if local or weights else model_names(source)
        return names, fetch_model(source, weights=weights), []
    except LidrError as error:
        return None, None, [refused_or_unknown(name, error, inputs)]


def sources_findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield which inputs are in the store, and which ones the run downloads."""
    if inputs.recipe.is_toy:
        yield ok("sources", "the tiny world makes its own inputs")
        return
    located = {each.key: each.source for each in inputs_of(inputs.recipe)}
    for each in inputs_of(inputs.asked or inputs.recipe):
        name, address = f"source {each.label}", parse_source(each.source).address
        if located.get(each.key) != each.source:
            yield ok(name, f"in the store: {address}")
        elif is_web(address) or address.startswith("hf://"):
            host = urlsplit(address).netloc if is_web(address) else "the model hub"
            detail = f"not in the store: the run asks {host} for it"
            yield unknown(name, detail, "Bring it there: lidr fetch RECIPE --profile PROFILE")


def prompts_findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield how many prompts, questions and items there are in each language."""
    recipe = inputs.recipe
    if recipe.is_toy:
        yield ok("prompts", "the step `prepare` makes the tiny world's")
    else:
        yield from _prompts(inputs)
    if recipe.judge:
        yield from _judged(inputs, recipe.judge)
    yield from evaluation_findings(inputs)


def _prompts(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield how many prompts each language has; their ids must be the dominant language's."""
    recipe, order, fields = inputs.recipe, list[str](), set[str]()
    for code in recipe.languages.all:
        name, files = f"prompts {code}", recipe.prompts.files[code]
        dominant = code == recipe.languages.dominant
        listed = recipe.prompts.translation_tasks if dominant else ""
        if here := _only_here(inputs, name, *files, listed):
            yield here
            continue
        try:
            found = load_language(recipe.prompts, code, found_fields=fields, find_tasks=dominant)
            ids = [each.prompt_id for each in found]
            if dominant:
                order = ids
                listed_tasks(recipe.prompts)
                yield from _duplicates(recipe, found)
                if tasks := translation_task_ids(recipe, found):
                    yield ok("prompts about translation", note_of_translation_tasks(tasks))
            elif order:
                require_same_ids(recipe, code, order, set(ids))
        except LidrError as error:
            yield refused_or_unknown(name, error, inputs)
        else:
            yield ok(name, f"{len(ids):,} in {shown(files)}")
    if unread := unread_fields(recipe.prompts, fields):
        yield ok("prompt fields", note_of_unread(unread))


def _duplicates(recipe: Recipe, prompts: Sequence[Prompt]) -> Iterator[Finding]:
    """Yield how many of the dominant language's prompts are left out, if the recipe says so."""
    deduplicate = recipe.prompts.deduplicate
    if deduplicate.mode != "off":
        found = find_duplicates(prompts, deduplicate, recipe.seed)
        yield ok("duplicate prompts", note_of_duplicates(found, len(prompts)))


def _judged(inputs: CheckInputs, judge: Judge) -> Iterator[Finding]:
    for task in judge.tasks:
        name = f"questions {task.name}"
        if here := _only_here(inputs, name, task.questions, task.references):
            yield here
            continue
        try:
            yield ok(name, _count_questions(inputs.recipe, judge, task))
        except LidrError as error:
            yield refused_or_unknown(name, error, inputs)
    if here := _only_here(inputs, "judge prompts", judge.prompts):
        yield here
    elif judge.prompts:
        graded = [PROMPT] if inputs.recipe.pairing.rewarder == "judge" else []
        try:
            for kind in dict.fromkeys([*(PROMPT_OF[task.name] for task in judge.tasks), *graded]):
                load_prompt(kind, judge.prompts)
        except LidrError as error:
            yield refused_or_unknown("judge prompts", error, inputs)
        else:
            yield ok("judge prompts", judge.prompts)


def _only_here(inputs: CheckInputs, name: str, *files: str) -> Finding | None:
    """Return a finding if a run on a cluster names a file of this machine."""
    local = [file for file in files if file and on_this_machine(file)]
    if not inputs.on_cluster or not local:
        return None
    detail = f"{shown(local)} is on this machine, which pods cannot reach"
    return missing(name, detail, _FETCH_REMEDY)


def _count_questions(recipe: Recipe, judge: Judge, task: JudgedTask) -> str:
    """Return how many questions a task has in each language; all of them are read.

    Raises:
        BadInput: a question is unusable, or has no reference answer.
    """
    codes = judge.languages_of(task, recipe.languages.all)
    return ", ".join(f"{code} {len(checked_questions(judge, task, code)):,}" for code in codes)


def machine_findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield this machine's free disk and memory, against what a local run needs."""
    recipe, profile = inputs.recipe, inputs.profile
    folder, memory = local_folder(profile.store), free_memory()
    free_disk = _free_disk(folder) if folder else 0
    try:
        store, rank = needed_bytes(PlanInputs.read(recipe, profile))
    except LidrError as error:
        if folder:
            yield unknown("disk space", f"{free_disk / _GIB:,.1f} GiB are free; {error.message}")
        yield unknown("memory", f"{memory / _GIB:,.1f} GiB are free; {error.message}")
        return
    if folder:
        detail = f"the run leaves {store / _GIB:,.1f} GiB, {free_disk / _GIB:,.1f} are free"
        remedy = "Free some space, or set store to another place; lidr prune removes old stages."
        enough = store < free_disk
        yield ok("disk space", detail) if enough else missing("disk space", detail, remedy)
    if gpu_present():
        yield ok("memory", "training uses the GPU's; lidr plan says what it needs")
        return
    need = rank * max(1, profile.training.processes)
    detail = f"training needs {need / _GIB:,.1f} GiB, {memory / _GIB:,.1f} are free"
    remedy = "Use training.lora or a smaller model, end other programs, or choose another machine."
    yield ok("memory", detail) if need < memory else missing("memory", detail, remedy)


def _free_disk(store: Path) -> int:
    """Return the free bytes of the disk that a local store is on, or will be."""
    place = store.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
