"""The model of a stage: where its files are, and how they are fetched to this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.admission.files import check_adapter, check_model
from lidr.components.shared.models.outside import fetch_model, hub_file, is_weights
from lidr.components.shared.store.cache import cached
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.marker import home_of
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, open_stage

BASE_FILE = "base.json"
"""File of a stage that holds only an adapter: `{"stage": URI}` of the stage with the base model."""


def base_stage(stage_uri: str) -> str:
    """Return the URI of the stage with the base model: another one if this is only an adapter."""
    stage = open_stage(stage_uri)
    if not stage.files(prefix=BASE_FILE):
        return stage.uri
    return home_of(stage.store, str(json.loads(stage.read(BASE_FILE))["stage"]))


def adapter_uri(stage_uri: str) -> str:
    """Return the URI of the LoRA adapter of a stage's model; "" where it has none."""
    stage = open_stage(stage_uri)
    if stage.files(prefix="adapter/"):
        return f"{stage.uri}/adapter"
    return str(_outside(stage).get("adapter", "")) if stage.files(prefix="model.json") else ""


def model_uri(stage_uri: str) -> str:
    """Return the URI of a stage's model folder, or of the outside model that the stage points to.

    Where the stage holds only an adapter, it is the URI of the base model.
    """
    stage = open_stage(base_stage(stage_uri))
    if stage.files(prefix="model/"):
        return f"{stage.uri}/model"
    return str(_outside(stage)["source"])


@dataclass(frozen=True)
class ModelFiles:
    """A model on this machine.

    Attributes:
        folder: configuration, tokenizer and, where asked for, weights.
        adapter: folder of its LoRA adapter in PEFT's format; None where it has none.
        digest: of the stage that holds the model.
        trained: whether it comes from a train stage, so is not M_0.
    """

    folder: Path
    adapter: Path | None = None
    digest: str = ""
    trained: bool = False


def model_files(stage_uri: str, *, weights: bool = True) -> ModelFiles:
    """Fetch a stage's model and adapter to this machine.

    Args:
        stage_uri: URI of the stage.
        weights: whether to fetch the model's weights, or only its small files.

    Raises:
        BadInput: the stage holds no model, or its outside source is unusable.
        CorruptStage: a file does not have the digest the stage's marker names.
    """
    stage = open_stage(stage_uri)
    trained = "/train/" in stage.prefix
    if stage.files(prefix="adapter/"):
        base = model_files(base_stage(stage_uri), weights=weights)
        return ModelFiles(base.folder, _own(stage, "adapter", True), stage.digest, trained)
    if stage.files(prefix="model/"):
        return ModelFiles(_own(stage, "model", weights), None, stage.digest, trained)
    outside = _outside(stage)
    folder = fetch_model(outside["source"], weights=weights)
    check_model(folder, weights=weights)  # may have changed since prepare checked it
    adapter = fetch_model(outside["adapter"]) if outside.get("adapter") else None
    if adapter:
        check_adapter(adapter)
    return ModelFiles(folder, adapter, stage.digest, trained)


def local_model(stage_uri: str) -> Path:
    """Return a folder on this machine with the files of a stage's model, each one verified.

    A local store's own folder is used in place; anything else goes through the cache.

    Raises:
        BadInput: the stage holds no model, or its outside source is unusable.
        CorruptStage: a file does not have the digest the stage's marker names.
    """
    return model_files(stage_uri).folder


def _own(stage: Stage, folder: str, weights: bool) -> Path:
    names = [name for name in stage.files(prefix=f"{folder}/") if weights or not is_weights(name)]
    if isinstance(stage.store, LocalStore):
        stage.verify(names)
        return stage.store.path(stage.key(folder))
    key = stage.digest if weights else f"{stage.digest}-tokenizer"
    return cached(key, lambda place: stage.download(place, names)) / folder


def model_config(stage_uri: str) -> dict[str, Any]:
    """Return the config.json of a stage's model, without fetching its weights.

    Raises:
        BadInput: the stage holds no model, or its config.json is missing or not JSON.
    """
    uri = model_uri(stage_uri)
    try:
        if uri.startswith("hf://"):
            data = hub_file(uri, "config.json").read_bytes()
        else:
            data = open_store(uri).read("config.json")
        config: dict[str, Any] = json.loads(data)
    except (FileNotFoundError, ValueError) as error:
        raise BadInput(
            f"no config.json that can be read in {uri}", remedy="Fetch the model's files again."
        ) from error
    return config


def _outside(stage: Stage) -> dict[str, Any]:
    if not stage.files(prefix="model.json"):
        raise BadInput(
            f"stage {stage.uri} holds no model", remedy="Name one of `prepare` or `train`."
        )
    outside: dict[str, Any] = json.loads(stage.read("model.json"))
    places = {name: outside[name] for name in ("source", "adapter") if outside.get(name)}
    return outside | {name: home_of(stage.store, place) for name, place in places.items()}
