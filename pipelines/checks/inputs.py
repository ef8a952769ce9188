"""Whether what a run reads can be had: M_0, prompts, questions and items; and this machine's room.

Of models only small files are read here; weights stay where they are.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from lidr.components.grade.stage import PROMPT
from lidr.components.judge.cases import PROMPT_OF
from lidr.components.judging.prompts import load_prompt
from lidr.components.shared.config.judge import Judge, JudgedTask
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.config.source import is_web, parse_source, shown
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.gpu import gpu_present
from lidr.components.shared.inputs.duplicates import find_duplicates, note_of_duplicates
from lidr.components.shared.inputs.prompt_files import (
    found_tasks,
    load_language,
    note_of_found,
    note_of_unread,
    require_same_ids,
    unread_fields,
)
from lidr.components.shared.inputs.questions import read_questions, read_references, reference_of
from lidr.components.shared.models.admission import (
    ModelCandidate,
    PropertyFinding,
    admit,
)
from lidr.components.shared.models.outside import fetch_model, model_names, resolve_model
from lidr.components.shared.records.schema import Prompt
from lidr.pipelines.begin import inputs_of
from lidr.pipelines.checks.evaluation import evaluation_findings
from lidr.pipelines.checks.finding import (
    CheckInputs,
    Finding,
    missing,
    ok,
    refused,
    unknown,
    unless_pods_may,
)
from lidr.pipelines.checks.rewarding import rewarding_findings
from lidr.pipelines.planning.estimate import PlanInputs, needs
from lidr.pipelines.planning.figures import figures
from lidr.pipelines.planning.requests import read_prompts
from lidr.pipelines.planning.shapes import model_config

_INDEX = "model.safetensors.index.json"
_COPY = "Bring it into the store with `lidr fetch`, or name an s3:// address."
_GIB = 1 << 30


def model_findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield whether the model's files are there, whole and safe, and whether its chats render."""
    yield from rewarding_findings(inputs)
    recipe = inputs.recipe
    if recipe.is_toy:
        yield ok("model", "the step `prepare` makes the tiny world's M_0")
        return
    if (elsewhere := _unreadable_registry(inputs)) is not None:
        yield elsewhere
        return
    try:
        source, own = resolve_model(recipe.model.source, unpinned=recipe.model.unpinned)
    except LidrError as error:
        yield unless_pods_may("model", error, inputs)
        return
    if inputs.on_cluster and "://" not in source and not Path(source).is_dir():
        detail = f"{source} is no folder here; pods read it from their image or a volume"
        yield unknown("model files", detail, "Name s3://bucket/prefix, which can be looked at.")
        return
    files = _Files(inputs, source)
    adapter = _Files(inputs, recipe.model.adapter or own, weights=True)
    yield from files.fetched("model files")
    if adapter.source:
        yield from adapter.fetched("adapter files")
    if files.folder is not None:
        yield from _admitted(files.folder, files, adapter, recipe)


def _admitted(folder: Path, files: _Files, adapter: _Files, recipe: Recipe) -> Iterator[Finding]:
    """Yield what admission decides about each property."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    candidate = ModelCandidate(recipe, folder, files.names, adapter.folder, adapter.names)
    for each in admit(candidate).findings:
        if each.property == "files":
            yield files.finding(each)
            yield _weights(folder, files)
        elif each.refused:
            yield missing(each.property, each.decision, each.remedy or "See the message.")
        else:
            yield ok(each.property, each.decision)


def _unreadable_registry(inputs: CheckInputs) -> Finding | None:
    """Return why a registered model cannot be looked up from here, if so."""
    source, uri = inputs.recipe.model.source, inputs.profile.tracking_uri
    if not source.startswith("models:/") or "MLFLOW_TRACKING_URI" in os.environ:
        return None
    if inputs.on_cluster and (not uri or inputs.only_inside(uri)):
        detail = f"{source} is in an MLflow that is reached from pods only"
        return unknown("model", detail, "Set $MLFLOW_TRACKING_URI to a way to it.")
    if uri:
        detail = f"{source} needs $MLFLOW_TRACKING_URI, which is not set here"
        return unknown("model", detail, f"export MLFLOW_TRACKING_URI={uri}")
    return None


class _Files:
    """The files of a model or an adapter.

    Args:
        inputs: what is to run.
        source: a folder, `s3://bucket/prefix` or `hf://org/name@revision`.
        weights: whether its weights are fetched, too; a model's are looked at by name only.
    """

    def __init__(self, inputs: CheckInputs, source: str, *, weights: bool = False) -> None:
        self._inputs = inputs
        self._weights = weights
        self.source = source
        self.names: list[str] = []
        self.folder: Path | None = None

    def fetched(self, name: str) -> Iterator[Finding]:
        """Fetch them and set `folder`; yield why that is not possible."""
        try:
            self.names = model_names(self.source)
            self.folder = fetch_model(self.source, weights=self._weights)
        except LidrError as error:
            yield unless_pods_may(name, error, self._inputs)

    def finding(self, admitted: PropertyFinding) -> Finding:
        """Return admission's finding; pods may not see a folder that is fine here."""
        name = "model files"
        if admitted.refused:
            return missing(name, admitted.decision, admitted.remedy)
        detail = f"{self.source}: {admitted.decision}"
        if self._inputs.on_cluster and "://" not in self.source:
            remedy = "Name s3://bucket/prefix, or keep the folder in the image or on a volume."
            return unknown(name, f"{detail}, here; pods may not see this folder", remedy)
        return ok(name, detail)


def _weights(folder: Path, files: _Files) -> Finding:
    """Return whether every file that the index names is there."""
    name, index = "model weights", folder / _INDEX
    if not index.is_file():
        return ok(name, "one file, safetensors")
    try:
        named = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        return missing(name, f"{_INDEX} is no index: {error}", "Fetch the model's files again.")
    if lacking := sorted(named - set(files.names)):
        detail = f"{len(lacking)} of {len(named)} files are not there, first {lacking[0]}"
        return missing(name, detail, f"Copy the model again: {files.source} is not whole.")
    return ok(name, f"{len(named)} files of safetensors, all there")


def sources_findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield which inputs are in the store, and which ones the run asks another host for."""
    if inputs.recipe.is_toy:
        yield ok("sources", "the tiny world makes its own inputs")
        return
    here = {each.key: each.source for each in inputs_of(inputs.recipe)}
    for each in inputs_of(inputs.asked or inputs.recipe):
        name, address = f"source {each.label}", parse_source(each.source).address
        if here.get(each.key) != each.source:
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
        with contextlib.suppress(LidrError):  # what cannot be read is told of above
            if unread := unread_fields(recipe):
                yield ok("prompt fields", note_of_unread(unread))
    if recipe.judge:
        yield from _judged(inputs, recipe.judge)
    yield from evaluation_findings(inputs)


def _prompts(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield how many prompts each language has; keeps ids only, of two languages at once."""
    recipe, order = inputs.recipe, list[str]()
    for code in recipe.languages.all:
        name, files = f"prompts {code}", recipe.prompts.files[code]
        if inputs.on_cluster and (local := [file for file in files if "://" not in file]):
            detail = f"{shown(local)} is a file of this machine, which pods cannot reach"
            yield missing(name, detail, _COPY)
            continue
        try:
            dominant = code == recipe.languages.dominant
            found = load_language(recipe.prompts, code, find_tasks=dominant)
            ids = [each.prompt_id for each in found]
            if dominant:
                order = ids
                yield from _duplicates(recipe, found)
                if tasks := found_tasks(recipe, found):
                    yield ok("prompts about translation", note_of_found(tasks))
            elif order:
                require_same_ids(recipe, code, order, set(ids))
        except LidrError as error:
            yield refused(name, error)
        else:
            yield ok(name, f"{len(ids):,} in {shown(files)}")


def _duplicates(recipe: Recipe, prompts: Sequence[Prompt]) -> Iterator[Finding]:
    """Yield how many of the dominant language's prompts are left out, where any are to be."""
    deduplicate = recipe.prompts.deduplicate
    if deduplicate.mode != "off":
        found = find_duplicates(prompts, deduplicate, recipe.seed)
        yield ok("duplicate prompts", note_of_duplicates(found, len(prompts)))


def _judged(inputs: CheckInputs, judge: Judge) -> Iterator[Finding]:
    for task in judge.tasks:
        name = f"questions {task.name}"
        files = (task.questions, task.references, judge.prompts)
        if inputs.on_cluster and (local := [f for f in files if f and "://" not in f]):
            detail = f"{local[0]} is on this machine, which pods cannot reach"
            yield missing(name, detail, _COPY)
            continue
        try:
            yield ok(name, _counted(inputs.recipe, judge, task))
        except LidrError as error:
            yield refused(name, error)
    if judge.prompts:
        graded = [PROMPT] if inputs.recipe.pairing.rewarder == "judge" else []
        try:
            for kind in dict.fromkeys([*(PROMPT_OF[task.name] for task in judge.tasks), *graded]):
                load_prompt(kind, judge.prompts)
        except LidrError as error:
            yield refused("judge prompts", error)
        else:
            yield ok("judge prompts", judge.prompts)


def _counted(recipe: Recipe, judge: Judge, task: JudgedTask) -> str:
    """Return how many questions a task has by language, once all of them have been read.

    Raises:
        BadInput: one is unusable, or has no reference.
    """
    counts = []
    for code in judge.languages_of(task, recipe.languages.all):
        questions = read_questions(judge.answered_by(task), code)
        if task.references:
            references = read_references(task, code)
            for question in questions:
                reference_of(question, references, task, code)
        counts.append(f"{code} {len(questions):,}")
    return ", ".join(counts)


def machine_findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield this machine's free disk and memory, against what a local run takes."""
    recipe, profile = inputs.recipe, inputs.profile
    free_disk, free_memory = _free_disk(profile.store), _free_memory()
    try:
        config = model_config(recipe.model)
        plan = PlanInputs(recipe, profile, config, read_prompts(recipe), figures())
        store, rank = needs(plan)  # bytes left on the store, and those of a rank that trains
    except LidrError as error:
        yield unknown("disk space", f"{free_disk / _GIB:,.1f} GiB are free; {error.message}")
        yield unknown("memory", f"{free_memory / _GIB:,.1f} GiB are free")
        return
    if "://" not in profile.store:
        detail = f"the run leaves {store / _GIB:,.1f} GiB, {free_disk / _GIB:,.1f} are free"
        remedy = "Free some space, or set store to another place; lidr prune removes old stages."
        enough = store < free_disk
        yield ok("disk space", detail) if enough else missing("disk space", detail, remedy)
    if gpu_present():
        yield ok("memory", "training uses the GPU's; lidr plan says what it needs")
        return
    need = rank * max(1, profile.training.processes)
    detail = f"training needs {need / _GIB:,.1f} GiB, {free_memory / _GIB:,.1f} are free"
    remedy = "Use training.lora or a smaller model, end other programs, or choose another machine."
    yield ok("memory", detail) if need < free_memory else missing("memory", detail, remedy)


def _free_disk(store: str) -> int:
    """Return the bytes that are free where a local store is, or will be."""
    place = Path(store).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _free_memory() -> int:
    """Return the bytes that programs could have now."""
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
