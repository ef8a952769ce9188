"""Models by the stage that holds them: where their files are, and whether they may be loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from components.shared.cache import cached
from components.shared.digest import digest_of, digest_of_file
from components.shared.errors import BadInput
from components.shared.stage import Stage, open_stage
from components.shared.store import LocalStore, open_store

MODEL_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
"""What is fetched of an outside model: weights as safetensors, configuration, tokenizer."""

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def model_uri(stage_uri: str) -> str:
    """Return the URI of a stage's model folder, or of the outside model it stands for."""
    stage = open_stage(stage_uri)
    if stage.files(prefix="model/"):
        return f"{stage.uri}/model"
    return _source_of(stage)


def local_model(stage_uri: str) -> Path:
    """Return a folder on this machine with the files of a stage's model, each one verified.

    A local store's own folder is used in place; anything else goes through the cache.

    Raises:
        BadInput: the stage holds no model, or its outside source is unusable.
        CorruptStage: a file does not have the digest the stage's marker names.
    """
    stage = open_stage(stage_uri)
    names = stage.files(prefix="model/")
    if not names:
        return fetch_model(_source_of(stage))
    if isinstance(stage.store, LocalStore):
        stage.verify(names)
        return stage.store.path(stage.key("model"))
    return cached(stage.digest, lambda folder: stage.download(folder, names)) / "model"


def model_config(stage_uri: str) -> dict[str, Any]:
    """Return the config.json of a stage's model, without fetching its weights.

    Raises:
        BadInput: there is none, or it is not JSON.
    """
    uri = model_uri(stage_uri)
    try:
        if uri.startswith("hf://"):
            data = _hub_file(uri, "config.json").read_bytes()
        else:
            data = open_store(uri).read("config.json")
        config: dict[str, Any] = json.loads(data)
    except (FileNotFoundError, ValueError) as error:
        raise BadInput(
            f"no config.json that can be read in {uri}", remedy="Fetch the model's files again."
        ) from error
    return config


def resolve_model(source: str) -> str:
    """Return where the files of a model are: an MLflow model's own source, others as they are.

    An alias moves, so it is followed once, when the loop starts.

    Args:
        source: as in the recipe, among others `models:/name@alias` or `models:/name/version`.

    Raises:
        BadInput: MLFLOW_TRACKING_URI is not set, or there is no such model.
    """
    if not source.startswith("models:/"):
        return source
    if "MLFLOW_TRACKING_URI" not in os.environ:
        raise BadInput(
            f"model.source {source!r} is in MLflow, but MLFLOW_TRACKING_URI is not set",
            remedy="Set it to the tracking server's address.",
        )
    from mlflow.exceptions import MlflowException

    from components.shared.tracking import mlflow_client

    client = mlflow_client("")
    name, _, alias = source.removeprefix("models:/").partition("@")
    try:
        if alias:
            version = client.get_model_version_by_alias(name, alias)
        else:
            version = client.get_model_version(*name.rsplit("/", 1))
    except (MlflowException, TypeError) as error:
        raise BadInput(
            f"model.source {source!r} is not in MLflow ({error})",
            remedy="Use models:/name@alias or models:/name/version of a registered model.",
        ) from error
    return str(version.source)


def fetch_model(source: str) -> Path:
    """Return a folder on this machine with the files of an outside model.

    Args:
        source: a folder, `s3://bucket/prefix` or `hf://org/name@revision`.

    Raises:
        BadInput: the source is malformed, or nothing is there.
    """
    if source.startswith("hf://"):
        return _fetch_hub(source)
    if source.startswith("s3://"):
        return cached(model_fingerprint(source), lambda folder: _fetch_s3(source, folder))
    return Path(source)


def model_fingerprint(source: str) -> str:
    """Return a digest that changes with an outside model's files.

    A folder is digested byte by byte; an `s3://` prefix by its listing; `hf://` by its revision.
    """
    if source.startswith("hf://"):
        return digest_of(["hf", *_split_hub(source)])
    if source.startswith("s3://"):
        listing = [[entry.key, entry.size] for entry in open_store(source).list("")]
        return digest_of(["s3", source, listing])
    folder = Path(source)
    check_model(folder)
    files = sorted(path for pattern in MODEL_FILES for path in folder.glob(pattern))
    return digest_of([[path.name, digest_of_file(path)] for path in files])


def check_model(folder: Path) -> None:
    """Refuse a model folder that cannot be loaded safely.

    Raises:
        BadInput: no folder, no configuration, no safetensors weights, no tokenizer or no chat
            template; the remedy says how to mend it.
    """
    if not folder.is_dir():
        raise BadInput("no such model folder", file=folder, remedy="Correct model.source.")
    if not (folder / "config.json").is_file():
        raise BadInput(
            "no config.json in the model folder",
            file=folder,
            remedy="Point model.source at a folder written by save_pretrained.",
        )
    if not any(folder.glob("*.safetensors")):
        pickled = any(any(folder.glob(pattern)) for pattern in _PICKLES)
        raise BadInput(
            "the weights are pickles, which can run code" if pickled else "no weights",
            file=folder,
            remedy="Write them as safetensors: load them where you trust them, then "
            "model.save_pretrained(folder).",
        )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise BadInput(
            "no tokenizer in the model folder",
            file=folder,
            remedy="Add it with tokenizer.save_pretrained(folder).",
        )
    if not _has_chat_template(folder):
        raise BadInput(
            "the tokenizer has no chat template, so this is not a chat model",
            file=folder / "tokenizer_config.json",
            remedy="Choose the instruction-tuned model, or add chat_template.jinja.",
        )


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    config = folder / "tokenizer_config.json"
    if not config.is_file():
        return False
    try:
        return bool(json.loads(config.read_bytes()).get("chat_template"))
    except (ValueError, AttributeError) as error:
        raise BadInput(
            f"not a JSON object ({error})", file=config, remedy="Fetch the model's files again."
        ) from error


def _source_of(stage: Stage) -> str:
    if not stage.files(prefix="model.json"):
        raise BadInput(f"stage {stage.uri} holds no model", remedy="Name a world or train stage.")
    source: str = json.loads(stage.read("model.json"))["source"]
    return source


def _fetch_s3(source: str, folder: Path) -> None:
    store = open_store(source)
    for entry in store.list(""):
        if any(Path(entry.key).match(pattern) for pattern in MODEL_FILES):
            store.download(entry.key, folder / entry.key)


def _split_hub(source: str) -> tuple[str, str]:
    name, _, revision = source.removeprefix("hf://").partition("@")
    if not revision:
        raise BadInput(
            f"model.source {source!r} names no revision",
            remedy="Pin it: hf://org/name@<commit>, so that the run can be repeated.",
        )
    return name, revision


def _hub_file(source: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    name, revision = _split_hub(source)
    return Path(hf_hub_download(name, file, revision=revision))


def _fetch_hub(source: str) -> Path:
    from huggingface_hub import snapshot_download

    name, revision = _split_hub(source)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=MODEL_FILES))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{source} cannot be downloaded: {error}",
            remedy="Check the name, the revision, HF_TOKEN and the network.",
        ) from error
