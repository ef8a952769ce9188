"""Copies a version to another registry, e.g. from staging to production."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import emit
from lidr.components.shared.models.outside import ADAPTER_TAG
from lidr.components.shared.registry.evidence import model_files_at, store_of, verdict_of
from lidr.components.shared.registry.mlflow_errors import wrap_mlflow_errors
from lidr.components.shared.registry.promotion import PROMOTION_TAG
from lidr.components.shared.registry.versions import (
    PARENT_TAG,
    Version,
    default_audit_log,
    ensure_version,
    read_version,
)
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.marker import MARKER
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, locate_stage

COPIED_TO_TAG = "lidr.copied_to"
"""Of the original: URIs of the registries with a copy, separated by spaces."""

COPIED_FROM_TAG = "lidr.copied_from"
"""Of the copy: the original's registry and version."""

_OWN_TAGS = (PROMOTION_TAG, COPIED_TO_TAG, PARENT_TAG)
"""Tags that are not copied: they hold in the original's registry only."""

_ACCOUNT = ("USERNAME", "PASSWORD", "TOKEN")


@contextmanager
def target_account() -> Iterator[None]:
    """Log in to MLflow with LIDR_TARGET_USERNAME, _PASSWORD or _TOKEN in the block, if any is set.

    MLflow's client takes one account for the whole process, from its environment.
    """
    named = {key: os.environ.get(f"LIDR_TARGET_{key}") for key in _ACCOUNT}
    if not any(named.values()):
        yield
        return
    before = {key: os.environ.pop(f"MLFLOW_TRACKING_{key}", None) for key in _ACCOUNT}
    try:
        _set_account(named)
        yield
    finally:
        _set_account(before)


def copy_version(
    client: Any, version: Version, target: Any, files: str, audit_log: Store
) -> Version:
    """Return a version's copy in another registry, created if there is none.

    Args:
        client: of the version's registry.
        version: to copy.
        target: client of the other registry, used under `target_account`.
        files: URI of a store that the files are copied to; "" refers to them where they are, as
            a stage never changes.
        audit_log: the folder of the registered model's lease and audit entries here.

    Raises:
        BadInput: both registries are the same, or one of them refuses.
    """
    if client.tracking_uri == target.tracking_uri:
        raise BadInput(
            f"--copy-to is the registry of {version.label} itself",
            remedy="Name another one, or leave it out.",
        )
    files = open_store(files).uri if files else ""
    adapter = version.tags.get(ADAPTER_TAG, "")
    moved = {uri: _copy_files(uri, files) for uri in (version.source, adapter) if uri}
    if files and (gate := verdict_of(version).gate):
        copy_stage(locate_stage(gate), open_store(files))
    tags = {key: value for key, value in version.tags.items() if key not in _OWN_TAGS}
    tags[COPIED_FROM_TAG] = f"{client.tracking_uri} {version.label}"
    if adapter:
        tags[ADAPTER_TAG] = moved[adapter]
    home = _target_audit_log(version, target, files or store_of(version), audit_log)
    with target_account(), wrap_mlflow_errors(target, f"registration of {version.name!r}"):
        number = ensure_version(target, version.name, moved[version.source], tags, "", home)
        copy = read_version(target, version.name, str(number))
    if copy.source != moved[version.source]:
        emit(
            "warning",
            message=f"{copy.label} was there before and still refers to {copy.source}: delete it "
            "in that registry first, if it is to refer to the copies",
        )
    _note_copy(client, version, target.tracking_uri)
    return copy


def _copy_files(uri: str, files: str) -> str:
    """Copy the stage of a URI to a store; return the URI there, or the same if it is no stage's."""
    found = model_files_at(uri)
    if not files or not found:
        if files:
            emit("warning", message=f"{uri} is no stage's and is not copied: the copy refers to it")
        return uri
    root, step, digest, folder = found.groups()
    copied = copy_stage(locate_stage(f"{root}/stages/{step}/{digest}"), open_store(files))
    return f"{copied}/{folder}"


def copy_stage(stage: Stage, store: Store) -> str:
    """Copy a complete stage to another store, its marker last; files of equal size are kept.

    Returns:
        URI of the copy.
    """
    copy = Stage(store, stage.prefix)
    present = {entry.key: entry.size for entry in store.list(stage.prefix)}
    for name, described in stage.marker()["files"].items():
        if present.get(copy.key(name)) != described["size"]:
            emit("note", message=f"copying {name}")
            with tempfile.TemporaryDirectory(prefix="lidr-copy-") as folder:
                stage.download(Path(folder), [name])
                store.upload(Path(folder) / name, copy.key(name))
    if copy.key(MARKER) not in present:
        store.write(copy.key(MARKER), stage.store.read(stage.key(MARKER)))
    return copy.uri


def _target_audit_log(version: Version, target: Any, root: str, audit_log: Store) -> str:
    """Return the folder for the target's audit log, which no other registry uses."""
    uri = default_audit_log(root or audit_log.uri.rpartition("/registry/")[0], version.name)
    server = urlsplit(target.tracking_uri)
    return f"{uri}@{server.netloc or server.path.replace('/', '-').strip('-')}"


def _note_copy(client: Any, version: Version, server: str) -> None:
    known = [each for each in version.tags.get(COPIED_TO_TAG, "").split(" ") if each]
    if server not in known:
        with wrap_mlflow_errors(client, f"version {version.label}"):
            text = " ".join([*known, server])
            client.set_model_version_tag(version.name, str(version.number), COPIED_TO_TAG, text)


def _set_account(values: dict[str, str | None]) -> None:
    for key, value in values.items():
        os.environ.pop(f"MLFLOW_TRACKING_{key}", None)
        if value:
            os.environ[f"MLFLOW_TRACKING_{key}"] = value
