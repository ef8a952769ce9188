"""The model of a stage: where its files are, and fetching them to this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.inputs.fetched import local_copy
from lidr.components.shared.models.admission.files import check_adapter, check_model
from lidr.components.shared.models.outside import fetch_hub_file, fetch_model, is_weights
from lidr.components.shared.store.marker import current_uri
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, open_stage

BASE_FILE = "base.json"
"""In a stage that holds only an adapter: `{"stage": URI}` of the base model's stage."""


def base_stage(stage_uri: str) -> str:
    """Return the URI of the stage with the base model: this one unless it holds only an adapter."""
    stage = open_stage(stage_uri)
    if not stage.files(prefix=BASE_FILE):
        return stage.uri
    return current_uri(stage.store, str(json.loads(stage.read(BASE_FILE))["stage"]))


def adapter_uri(stage_uri: str) -> str:
    """Return the URI of the LoRA adapter of a stage's model; "" if it has none."""
    stage = open_stage(stage_uri)
    if stage.files(prefix="adapter/"):
        return f"{stage.uri}/adapter"
    return str(_outside_model(stage).get("adapter", "")) if stage.files(prefix="model.json") else ""


def model_uri(stage_uri: str) -> str:
    """Return the URI of a stage's model folder, or of the outside model that the stage points to.

    For a stage that holds only an adapter, this is the URI of the base model.
    """
    stage = open_stage(base_stage(stage_uri))
    if stage.files(prefix="model/"):
        return f"{stage.uri}/model"
    return str(_outside_model(stage)["source"])


@dataclass(frozen=True)
class ModelFiles:
    """A model on this machine.

    Attributes:
        folder: configuration, tokenizer and, if requested, weights.
        adapter: folder of its LoRA adapter in PEFT's format; None without one.
        digest: digest of the stage that holds the model.
        trained: whether a train stage made it, so that it is not M_0.
    """

    folder: Path
    adapter: Path | None = None
    digest: str = ""
    trained: bool = False


def model_files(
    stage_uri: str, *, weights: bool = True, arguments: Mapping[str, object] | None = None
) -> ModelFiles:
    """Fetch a stage's model and adapter to this machine.

    Files of the stage itself are verified: in place on a local store, else while they are cached.

    Args:
        stage_uri: URI of the stage.
        weights: whether to fetch the model's weights too, not only its small files.
        arguments: those of its chat template (the recipe's `model.template_arguments`).

    Raises:
        BadInput: the stage holds no model, or its outside source is unusable.
        CorruptStage: a file does not have the digest in the stage's marker.
    """
    stage = open_stage(stage_uri)
    trained = "/train/" in stage.prefix
    if stage.files(prefix="adapter/"):
        base = model_files(base_stage(stage_uri), weights=weights, arguments=arguments)
        return ModelFiles(base.folder, _local_folder(stage, "adapter", True), stage.digest, trained)
    if stage.files(prefix="model/"):
        return ModelFiles(_local_folder(stage, "model", weights), None, stage.digest, trained)
    outside = _outside_model(stage)
    folder = fetch_model(outside["source"], weights=weights)
    # The files may have changed since prepare checked them.
    check_model(folder, weights=weights, arguments=arguments)
    adapter = fetch_model(outside["adapter"]) if outside.get("adapter") else None
    if adapter:
        check_adapter(adapter)
    return ModelFiles(folder, adapter, stage.digest, trained)


def _local_folder(stage: Stage, folder: str, weights: bool) -> Path:
    names = [name for name in stage.files(prefix=f"{folder}/") if weights or not is_weights(name)]
    cache_key = stage.digest if weights else f"{stage.digest}-tokenizer"
    return local_copy(stage, names, cache_key) / folder


def model_config(stage_uri: str) -> dict[str, Any]:
    """Return the config.json of a stage's model, without fetching its weights.

    Raises:
        BadInput: the stage holds no model, or its config.json is missing or not JSON.
    """
    uri = model_uri(stage_uri)
    try:
        if uri.startswith("hf://"):
            data = fetch_hub_file(uri, "config.json").read_bytes()
        else:
            data = open_store(uri).read("config.json")
        config: dict[str, Any] = json.loads(data)
    except (FileNotFoundError, ValueError, RecursionError) as error:
        raise BadInput(
            f"no readable config.json in {uri}", remedy="Fetch the model's files again."
        ) from error
    return config


def _outside_model(stage: Stage) -> dict[str, Any]:
    if not stage.files(prefix="model.json"):
        raise BadInput(
            f"stage {stage.uri} holds no model", remedy="Name a stage of `prepare` or `train`."
        )
    outside: dict[str, Any] = json.loads(stage.read("model.json"))
    uris = {name: outside[name] for name in ("source", "adapter") if outside.get(name)}
    return outside | {name: current_uri(stage.store, uri) for name, uri in uris.items()}
