"""Whether M_0 can be had and used; its small files are read, its weights stay where they are."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.engines.base import ChatRequest
from lidr.components.shared.engines.chat import ChatRenderer
from lidr.components.shared.models.admission import (
    Candidate,
    PropertyFinding,
    admit,
    check_templates,
)
from lidr.components.shared.models.sources import fetch_model, model_names, resolve_model
from lidr.components.shared.records.chat import (
    TRANSLATION_PRIMER,
    answer_messages,
    translation_messages,
)
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, refused, unknown
from lidr.pipelines.checks.hosts import only_inside

_INDEX = "model.safetensors.index.json"
_SAMPLE = "Two and two are four."


def findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield whether the model's files are there, whole and safe, and whether its chats render."""
    recipe = inputs.recipe
    if recipe.is_toy:
        yield ok("model", "the step `prepare` makes the tiny world's M_0")
        return
    if (elsewhere := _elsewhere(inputs)) is not None:
        yield elsewhere
        return
    try:
        source, own = resolve_model(recipe.model.source, unpinned=recipe.model.unpinned)
    except LidrError as error:
        yield _unless_pods_may("model", error, inputs)
        return
    if inputs.on_cluster and "://" not in source and not Path(source).is_dir():
        told = f"{source} is no folder here; pods read it from their image or a volume"
        yield unknown("model files", told, "Name s3://bucket/prefix, which can be looked at.")
        return
    files, adapter = _Files(inputs, source), _Files(inputs, recipe.model.adapter or own)
    yield from files.fetched("model files")
    if adapter.source:
        yield from adapter.fetched("adapter files")
    if files.folder is not None:
        yield from _admitted(files.folder, files, adapter, recipe)


def _admitted(folder: Path, files: _Files, adapter: _Files, recipe: Recipe) -> Iterator[Finding]:
    """Yield what admission decides about each property, and what a chat becomes."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    candidate = Candidate(recipe, folder, files.names, adapter.folder, adapter.names)
    admission = admit(candidate)
    for found in admission.findings:
        if found.property == "files":
            yield files.finding(found)
            yield _index(files)
        else:
            yield _finding(found)
    if not any(found.refused for found in admission.findings):
        yield _template(folder, candidate.tokenizer, recipe)


def _finding(found: PropertyFinding) -> Finding:
    if found.refused:
        return missing(found.property, found.decision, found.remedy or "See the message.")
    return ok(found.property, found.decision)


def _elsewhere(inputs: CheckInputs) -> Finding | None:
    """Return why a registered model cannot be looked up from here, if so."""
    uri = inputs.profile.tracking_uri
    if not inputs.recipe.model.source.startswith("models:/") or "MLFLOW_TRACKING_URI" in os.environ:
        return None
    if inputs.on_cluster and (not uri or only_inside(uri, inputs.profile)):
        told = f"{inputs.recipe.model.source} is in an MLflow that is reached from pods only"
        return unknown("model", told, "Set $MLFLOW_TRACKING_URI to a way to it.")
    if uri:
        told = f"{inputs.recipe.model.source} needs $MLFLOW_TRACKING_URI, which is not set here"
        return unknown("model", told, f"export MLFLOW_TRACKING_URI={uri}")
    return None


class _Files:
    """The files of a model or an adapter, weights by name only.

    Args:
        inputs: what is to run.
        source: a folder, `s3://bucket/prefix` or `hf://org/name@revision`.
    """

    def __init__(self, inputs: CheckInputs, source: str) -> None:
        self._inputs = inputs
        self.source = source
        self.names: list[str] = []
        self.folder: Path | None = None

    def fetched(self, name: str) -> Iterator[Finding]:
        """Bring them here, weights by name only, and set `folder`; yield why that cannot be."""
        try:
            self.names = model_names(self.source)
            self.folder = fetch_model(self.source, weights=False)
        except LidrError as error:
            yield _unless_pods_may(name, error, self._inputs)

    def finding(self, found: PropertyFinding) -> Finding:
        """Return what is said of them: pods may not see what is fine here."""
        name = "model files"
        if found.refused:
            return missing(name, found.decision, found.remedy)
        told = f"{self.source}: {found.decision}"
        if self._inputs.on_cluster and "://" not in self.source:
            remedy = "Name s3://bucket/prefix, or keep the folder in the image or on a volume."
            return unknown(name, f"{told}, here; pods may not see this folder", remedy)
        return ok(name, told)


def _unless_pods_may(name: str, error: LidrError, inputs: CheckInputs) -> Finding:
    """Return a refusal, unless it is for want of a key that pods have and we do not."""
    keys = {key for each in inputs.profile.secrets.values() for key in each}
    hub = inputs.recipe.model.source.startswith("hf://")
    closed = any(code in error.message for code in ("401", "403"))
    if hub and closed and "HF_TOKEN" in keys and "HF_TOKEN" not in os.environ:
        told = f"{error.message}; pods have HF_TOKEN, which is not set here"
        return unknown(name, told, "export HF_TOKEN=... to look with it")
    return refused(name, error)


def _index(files: _Files) -> Finding:
    """Tell whether every file that the index names is there."""
    name, file = "model weights", files.folder and files.folder / _INDEX
    if not file or not file.is_file():
        return ok(name, "one file, safetensors")
    try:
        named = set(json.loads(file.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        return missing(name, f"{file.name} is no index: {error}", "Fetch the model's files again.")
    if lacking := sorted(named - set(files.names)):
        told = f"{len(lacking)} of {len(named)} files are not there, first {lacking[0]}"
        return missing(name, told, f"Copy the model anew: {files.source} is not whole.")
    return ok(name, f"{len(named)} files of safetensors, all there")


def _template(folder: Path, tokenizer: Any, recipe: Recipe) -> Finding:
    """Tell whether the chats that lidr sends render, and hold what was said in them."""
    name, chat = "chat template", ChatRenderer(tokenizer)
    try:
        check_templates(folder)
    except BadInput as error:
        return refused(name, error)
    languages = recipe.languages
    told = translation_messages(_SAMPLE, languages.dominant, languages.others[0])
    try:
        answer = chat.render(ChatRequest("", answer_messages(_SAMPLE)))
        translation = chat.render(ChatRequest("", told, primer=TRANSLATION_PRIMER))
    except (TemplateError, ValueError, TypeError, KeyError, AttributeError) as error:
        broken = f"does not render: {type(error).__name__}: {error}"
        return missing(name, broken, "Correct chat_template.jinja, or choose another model.")
    if any(_squeezed(_SAMPLE) not in _squeezed(chat.text(each)) for each in (answer, translation)):
        lost = "what the user says is lost in it"
        return missing(name, lost, "Correct chat_template.jinja, or choose another model.")
    return ok(name, f"a prompt takes {len(answer)} tokens, a translation {len(translation)}")


def _squeezed(text: str) -> str:
    """Return a text without what some tokenizers do not keep: spaces and capitals."""
    return "".join(text.split()).casefold()
