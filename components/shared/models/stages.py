"""The stage of a model that a user names: a run's own, or one written for an outside model."""

from __future__ import annotations

import json
from collections.abc import Mapping

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput, StoreUnavailable
from lidr.components.shared.models.admission import Admission, ModelCandidate, admit, check_adapter
from lidr.components.shared.models.outside import (
    ModelLocation,
    fetch_model,
    model_fingerprint,
    model_names,
    resolve_model,
)
from lidr.components.shared.models.sources import adapter_uri, model_uri
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import is_missing_folder
from lidr.components.shared.store.stage import locate_stage, new_stage, open_stage

VERSION = 2


def model_stage(store: Store, source: str) -> str:
    """Return the URI of the stage that holds a model.

    A model that a run has trained keeps its own stage, so that its evaluations are reused.

    Args:
        store: where the stage of an outside model is written.
        source: URI of a train or inputs stage or of its `model` folder; or, as in a recipe's
            `model.source`, a folder, `s3://`, `hf://` or `models:/name@alias`.

    Raises:
        BadInput: there is no such model, or its files are unusable.
    """
    return stage_of_files(store, resolve_model(source))


def stage_of_files(store: Store, files: ModelLocation) -> str:
    """Return the URI of the stage that holds the model with these files.

    Args:
        store: where the stage of an outside model is written.
        files: where the files of the model and of its adapter are.

    Raises:
        BadInput: there are no such files, or they are unusable.
    """
    source, adapter = files
    if uri := _enclosing_stage(files):
        return uri
    if is_missing_folder(source):
        raise BadInput(
            f"no model at {source!r}",
            remedy="Name a folder, a stage of a run, s3://bucket/prefix, hf://org/name@<commit> or "
            "models:/name@alias.",
        )
    described = {"source": source, "digest": model_fingerprint(source)}
    if adapter:
        digest = model_fingerprint(adapter, check_adapter)
        described |= {"adapter": adapter, "adapter_digest": digest}
    return _outside_stage(store, described)


def canonical_model_stage(store: Store, uri: str) -> str:
    """Return the URI of the one stage that represents a model, whichever stage holds or names it.

    The inputs stage that holds a recipe's M_0 depends on the prompts too. With this stage instead,
    measurements of the model are shared with other recipes, commands, and the run that trained it.

    Args:
        store: where the stage of an outside model is written.
        uri: URI of a stage that holds a model.
    """
    stage = open_stage(uri)
    if not stage.files(prefix="model.json"):
        return stage.uri
    around = _enclosing_stage(ModelLocation(model_uri(uri), adapter_uri(uri)))
    return around or _outside_stage(store, json.loads(stage.read("model.json")))


def _enclosing_stage(files: ModelLocation) -> str:
    """Return the URI of the finished stage that contains a model's files; "" if none does."""
    uri = (files.adapter or files.source).rstrip("/")
    stage = next(filter(_is_done, (uri, uri.rpartition("/")[0])), "")
    of_another_base = stage and files.adapter and model_uri(stage) != files.source
    return "" if of_another_base else stage


def _outside_stage(store: Store, described: Mapping[str, str]) -> str:
    """Return the URI of the stage that represents an outside model; write it if it is new."""
    names = {"model": "digest", "adapter": "adapter_digest"}
    inputs = {name: described[key] for name, key in names.items() if key in described}
    stage = new_stage(store, "model", VERSION, inputs, {})
    if not stage.done():
        stage.write("model.json", json.dumps(dict(described)).encode())
        stage.finish({}, {"model": dict(described)})
    return stage.uri


def admit_stage(recipe: Recipe, uri: str, *, trained: bool = True) -> Admission:
    """Return what admission decides about the model of a stage, without fetching its weights.

    Args:
        recipe: the recipe that the model is admitted for.
        uri: URI of a stage that holds a model.
        trained: whether it will be trained, not only used for inference.
    """
    return admit_files(recipe, ModelLocation(model_uri(uri), adapter_uri(uri)), trained=trained)


def admit_files(recipe: Recipe, files: ModelLocation, *, trained: bool = True) -> Admission:
    """Return what admission decides about the model with these files; see `admit_stage`."""
    source, adapter = files
    return admit(
        ModelCandidate(
            recipe,
            fetch_model(source, weights=False),
            model_names(source),
            fetch_model(adapter) if adapter else None,
            trained=trained,
        )
    )


def _is_done(uri: str) -> bool:
    if is_missing_folder(uri):
        return False
    try:
        stage = locate_stage(uri)
    except StoreUnavailable:
        raise
    except BadInput:  # not a stage's URI
        return False
    return stage.done()
