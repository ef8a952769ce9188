"""Models outside the store: in a folder, a bucket, the model hub or MLflow's registry."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from lidr.components.shared.config.source import require_commit
from lidr.components.shared.core.digest import digest_of, digest_of_file
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.inputs.fetched import MODEL_FILES, find_fetched, local_copy
from lidr.components.shared.inputs.hub import ask_hub
from lidr.components.shared.models.admission.files import check_model
from lidr.components.shared.store.cache import cached
from lidr.components.shared.store.open import open_store
from lidr.components.shared.tracking import ask_mlflow, mlflow_client

_DOWNLOADS_AT_ONCE = 4

ADAPTER_TAG = "lidr.adapter"
"""Tag of a registered version: URI of the LoRA adapter that belongs to its source."""


def is_weights(name: str) -> bool:
    """Tell whether a model's file holds weights."""
    return name.endswith(".safetensors")


class ModelLocation(NamedTuple):
    """Where a model's files are, and those of its LoRA adapter ("" for none)."""

    source: str
    adapter: str = ""


class NotRegistered(BadInput):
    """MLflow has no such version, alias or model."""


def resolve_model(source: str, *, unpinned: bool = False) -> ModelLocation:
    """Return where the files of a model are, with an alias, or an unpinned hub model, resolved.

    Aliases and branches move, so they are resolved only once, when the loop starts. Any other
    source is returned as it is.

    Args:
        source: as in the recipe, e.g. `models:/name@alias` or `models:/name/version`.
        unpinned: whether `hf://org/name` means its newest revision.

    Raises:
        BadInput: MLFLOW_TRACKING_URI is not set, or names no MLflow server.
        NotRegistered: there is no such model.
        TrackingFailed: MLflow did not answer for LIDR_RETRY_SECONDS.
    """
    if source.startswith("hf://") and unpinned and "@" not in source:
        return ModelLocation(f"{source}@{_newest_revision(source.removeprefix('hf://'))}")
    if not source.startswith("models:/"):
        return ModelLocation(source)
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise BadInput(
            f"{source!r} is in MLflow, but MLFLOW_TRACKING_URI is not set",
            remedy="Set it to the tracking server's address.",
        )
    from mlflow.exceptions import MlflowException

    client = mlflow_client("")
    name, _, alias = source.removeprefix("models:/").partition("@")
    if not alias and "/" not in name:
        raise BadInput(
            f"{source!r} names neither a version nor an alias",
            remedy="Use models:/name@alias or models:/name/version of a registered model.",
        )

    def look_up() -> Any:
        if alias:
            return client.get_model_version_by_alias(name, alias)
        return client.get_model_version(*name.rsplit("/", 1))

    try:
        version = ask_mlflow(look_up, max_refusals=1)
    except MlflowException as error:
        raise NotRegistered(
            f"{source!r} is not in MLflow ({error})",
            remedy="Use models:/name@alias or models:/name/version of a registered model.",
        ) from error
    return ModelLocation(str(version.source), version.tags.get(ADAPTER_TAG, ""))


def fetch_model(source: str, *, weights: bool = True) -> Path:
    """Return a folder on this machine with the files of an outside model.

    Args:
        source: a folder, `s3://bucket/prefix` or `hf://org/name@<commit>`.
        weights: whether to fetch the weights too; a local folder is returned as it is.

    Raises:
        BadInput: the source is malformed, or there are no files.
    """
    if held := find_fetched(source):
        names = [name for name in held[0].files() if weights or not is_weights(name)]
        return local_copy(held[0], names)
    if source.startswith("hf://"):
        return _fetch_hub(source, weights)
    if source.startswith("s3://"):
        key = model_fingerprint(source) + ("" if weights else "-tokenizer")
        return cached(key, lambda folder: _fetch_s3(source, folder, weights))
    return Path(source)


def model_names(source: str) -> list[str]:
    """Return the names of an outside model's files ([] for an absent folder), fetching none.

    Args:
        source: a folder, `s3://bucket/prefix` or `hf://org/name@<commit>`.

    Raises:
        BadInput: there is nothing at an `s3://` source, or the hub source is malformed or refused.
    """
    if source.startswith("s3://"):
        names = [entry.key for entry in open_store(source).list("")]
        if not names:
            raise BadInput(f"there is nothing at {source}", remedy="Correct model.source.")
        return names
    if not source.startswith("hf://"):
        folder = Path(source)
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    from huggingface_hub import HfApi

    name, revision = _split_hub(source)
    found = ask_hub(
        lambda: HfApi().model_info(name, revision=revision, timeout=10.0),
        f"{source} cannot be looked up",
        f"See https://huggingface.co/{name}: the revision must exist. If the model's terms must be "
        "accepted, accept them and set HF_TOKEN.",
    )
    return [file.rfilename for file in found.siblings or ()]


def model_fingerprint(source: str, check: Callable[[Path], None] = check_model) -> str:
    """Return a digest that changes with an outside model's files.

    A folder is checked by `check`, and its files are hashed; an `s3://` prefix is identified by its
    listing (names, sizes and ETags: another checkpoint of the same shape has equal sizes), a model
    of the hub, fetched or not, by its revision, any other fetched model by its digest.
    """
    if held := find_fetched(source):
        pins = held[0].marker()["identity"]["source"]
        named = [pins[key] for key in ("model", "revision") if key in pins]
        return digest_of(["hf", *named] if named else ["fetched", held[0].digest])
    if source.startswith("hf://"):
        return digest_of(["hf", *_split_hub(source)])
    if source.startswith("s3://"):
        listing = [[entry.key, entry.size, entry.etag] for entry in open_store(source).list("")]
        return digest_of(["s3", source, listing])
    folder = Path(source)
    check(folder)
    # `glob` would find nothing in a folder that may not be listed.
    files = sorted(path for path in folder.iterdir() if any(map(path.match, MODEL_FILES)))
    return digest_of([[path.name, digest_of_file(path)] for path in files])


def _file_patterns(weights: bool) -> list[str]:
    return [pattern for pattern in MODEL_FILES if weights or not is_weights(pattern)]


def _fetch_s3(source: str, folder: Path, weights: bool) -> None:
    store = open_store(source)
    wanted = [
        entry.key
        for entry in store.list("")
        if "/" not in entry.key  # excludes ../x as well
        and any(Path(entry.key).match(pattern) for pattern in _file_patterns(weights))
    ]
    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:  # a file is read in parallel ranges, too
        for _ in pool.map(lambda key: store.download(key, folder / key), wanted):
            pass


def _split_hub(source: str) -> tuple[str, str]:
    """Return name and revision of `hf://org/name@<commit>`."""
    name, _, revision = source.removeprefix("hf://").partition("@")
    if not revision:
        raise BadInput(
            f"model.source {source!r} names no revision",
            remedy="Pin it: hf://org/name@<commit>, so that the run can be repeated "
            "(or set model.unpinned).",
        )
    try:
        require_commit(source)
    except ValueError as error:
        raise BadInput(f"the model {error}") from error
    return name, revision


def fetch_hub_file(source: str, file: str) -> Path:
    """Fetch one file of a model from the hub; return its path on this machine.

    Raises:
        BadInput: the source names no revision, or the hub refuses the file.
    """
    from huggingface_hub import hf_hub_download

    name, revision = _split_hub(source)
    return ask_hub(
        lambda: Path(hf_hub_download(name, file, revision=revision)),
        f"{source} cannot be downloaded",
    )


def _newest_revision(name: str) -> str:
    from huggingface_hub import HfApi

    return ask_hub(
        lambda: str(HfApi().model_info(name).sha),
        f"hf://{name} cannot be looked up",
        "Check the name, HF_TOKEN and the network, or pin a revision.",
    )


def _fetch_hub(source: str, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    name, revision = _split_hub(source)
    patterns = _file_patterns(weights)
    return ask_hub(
        lambda: Path(snapshot_download(name, revision=revision, allow_patterns=patterns)),
        f"{source} cannot be downloaded",
    )
