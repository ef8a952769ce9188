"""Models that no step of a run has made: how a user names them, and the stages they become."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.admission import Admission, ModelCandidate, admit, check_adapter
from lidr.components.shared.models.outside import (
    Resolved,
    fetch_model,
    model_fingerprint,
    model_names,
    resolve_model,
)
from lidr.components.shared.models.sources import adapter_uri, model_uri
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.stage import locate_stage, new_stage, open_stage

VERSION = 2


def model_stage(store: Store, source: str) -> str:
    """Return the URI of the stage that holds a model.

    A model that a run has trained keeps its own stage, so that an evaluation of it is known again.

    Args:
        store: where the stage of an outside model is written.
        source: URI of a train or inputs stage or of its `model` folder; a folder, `s3://`, `hf://`
            or `models:/name@alias`, as in a recipe's `model.source`.

    Raises:
        BadInput: there is no such model, or its files are unusable.
    """
    return stage_of_files(store, resolve_model(source))


def stage_of_files(store: Store, files: Resolved) -> str:
    """Return the URI of the stage that holds a model, from where its files are.

    Args:
        store: where the stage of an outside model is written.
        files: of the model, and of its adapter.

    Raises:
        BadInput: nothing is there, or it is unusable.
    """
    place, adapter = files
    if uri := _stage_around(files):
        return uri
    if "://" not in place and not Path(place).is_dir():
        raise BadInput(
            f"no model at {place!r}",
            remedy="Name a folder, a stage of a run, s3://bucket/prefix, hf://org/name@revision or "
            "models:/name@alias.",
        )
    described = {"source": place, "digest": model_fingerprint(place)}
    if adapter:
        digest = model_fingerprint(adapter, check_adapter)
        described |= {"adapter": adapter, "adapter_digest": digest}
    return _outside_stage(store, described)


def same_model_stage(store: Store, uri: str) -> str:
    """Return the URI of the one stage that stands for a stage's model, whoever named it and how.

    M_0 is named by a recipe, whose `prepare` holds its prompts too. What is measured of the model
    is the same in another recipe, for a command, and for the run that has trained it.

    Args:
        store: where the stage of an outside model is written.
        uri: of a stage that holds a model.
    """
    stage = open_stage(uri)
    if not stage.files(prefix="model.json"):
        return stage.uri
    around = _stage_around(Resolved(model_uri(uri), adapter_uri(uri)))
    return around or _outside_stage(store, json.loads(stage.read("model.json")))


def _stage_around(files: Resolved) -> str:
    """Return the URI of the finished stage in which a model's files are; "" where in none."""
    trained = (files.adapter or files.source).rstrip("/")
    found = (uri for uri in (trained, trained.rpartition("/")[0]) if _is_done(uri))
    return next(found, "")


def _outside_stage(store: Store, described: Mapping[str, str]) -> str:
    """Return the URI of the stage that stands for a model from elsewhere."""
    names = {"model": "digest", "adapter": "adapter_digest"}
    inputs = {name: described[key] for name, key in names.items() if key in described}
    stage = new_stage(store, "model", VERSION, inputs, {})
    if not stage.done():
        stage.write("model.json", json.dumps(dict(described)).encode())
        stage.finish({}, {"model": dict(described)})
    return stage.uri


def admit_stage(recipe: Recipe, uri: str, *, trained: bool = True) -> Admission:
    """Return what is decided about the model of a stage; its weights stay where they are.

    Args:
        recipe: what the model is wanted for.
        uri: of a stage that holds a model.
        trained: whether it is to be trained, or only to be asked.
    """
    return admit_files(recipe, Resolved(model_uri(uri), adapter_uri(uri)), trained=trained)


def admit_files(recipe: Recipe, files: Resolved, *, trained: bool = True) -> Admission:
    """Return what is decided about a model, from where its files are; weights stay there."""
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
    try:
        return locate_stage(uri).done()
    except BadInput:  # it is another kind of place
        return False
