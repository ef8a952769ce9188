"""Copies a version to another registry, e.g. from staging to production."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.models.outside import ADAPTER_TAG, ModelLocation
from lidr.components.shared.registry.evidence import model_files_at, store_of, verdict_of
from lidr.components.shared.registry.mlflow_errors import wrap_mlflow_errors
from lidr.components.shared.registry.promotion import PROMOTION_TAG
from lidr.components.shared.registry.versions import (
    DIGEST_TAG,
    PARENT_TAG,
    Version,
    default_audit_log,
    ensure_version,
    files_of,
    read_version,
)
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.copying import copy_stage
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import locate_stage

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

    MLflow's client takes one account for the whole process, from its environment. The remedies of
    errors in the block name these variables and --copy-to.
    """
    named = {key: os.environ.get(f"LIDR_TARGET_{key}") for key in _ACCOUNT}
    before = {key: os.environ.get(f"MLFLOW_TRACKING_{key}") for key in _ACCOUNT}
    try:
        if any(named.values()):
            _set_account(named)
        yield
    except LidrError as error:
        said = str(error).removesuffix(error.remedy)
        error.remedy = _of_target(error.remedy)
        error.args = (said + error.remedy,)
        raise
    finally:
        _set_account(before)


def _of_target(remedy: str) -> str:
    """Return a remedy with the names of what leads to the target registry."""
    for key in _ACCOUNT:
        remedy = remedy.replace(f"MLFLOW_TRACKING_{key}", f"LIDR_TARGET_{key}")
    return remedy.replace("MLFLOW_TRACKING_URI", "--copy-to")


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
        BadInput: both registries are the same, or one of them refuses; lidr has not registered the
            version; or the store holds one of its stages from another execution.
    """
    if client.tracking_uri == target.tracking_uri:
        raise BadInput(
            f"--copy-to is the registry of {version.label} itself",
            remedy="Name another one, or leave it out.",
        )
    if DIGEST_TAG not in version.tags:
        raise BadInput(
            f"{version.label} was not registered by lidr: it has no tag {DIGEST_TAG}, by which its "
            "copy would be found again",
            remedy="Register it over there with MLflow itself.",
        )
    files = open_store(files).uri if files else ""
    copied = ModelLocation(*(uri and _copy_files(uri, files) for uri in files_of(version)))
    if files and (gate := verdict_of(version).gate):
        _copy_stage(gate, files)
    tags = {key: value for key, value in version.tags.items() if key not in _OWN_TAGS}
    tags[COPIED_FROM_TAG] = f"{client.tracking_uri} {version.label}"
    if copied.adapter:
        tags[ADAPTER_TAG] = copied.adapter
    home = _target_audit_log(version, target, files or store_of(version), audit_log)
    with target_account(), wrap_mlflow_errors(target, f"registration of {version.name!r}"):
        number = ensure_version(target, version.name, copied.source, tags, "", home)
        copy = read_version(target, version.name, str(number))
    _warn_of_other_files(copy, copied)
    _note_copy(client, version, target.tracking_uri)
    return copy


def _warn_of_other_files(copy: Version, expected: ModelLocation) -> None:
    """Warn of a copy that was there before and refers to other files than it would now."""
    both = zip(files_of(copy), expected, strict=True)
    if others := [uri or "no adapter" for uri, wanted in both if uri != wanted]:
        emit(
            "warning",
            message=f"{copy.label} was there before and still refers to {' and '.join(others)}: "
            "delete it in that registry first, if it is to refer to the copies",
        )


def _copy_files(uri: str, files: str) -> str:
    """Copy the stage of a URI to a store; return the URI there, or the same if it is no stage's."""
    found = model_files_at(uri)
    if not files or not found:
        if files:
            emit("warning", message=f"{uri} is no stage's and is not copied: the copy refers to it")
        return uri
    root, step, digest, folder = found.groups()
    copied = _copy_stage(f"{root}/stages/{step}/{digest}", files)
    return f"{copied}/{folder}"


def _copy_stage(uri: str, files: str) -> str:
    """Copy a stage to a store and return its URI there."""
    copy = copy_stage(
        locate_stage(uri),
        open_store(files),
        begin=lambda name: emit("note", message=f"copying {name}"),
    )
    return copy.uri


def _target_audit_log(version: Version, target: Any, root: str, audit_log: Store) -> str:
    """Return the folder for the target's audit log, which no other registry uses."""
    uri = default_audit_log(root or audit_log.uri.rpartition("/registry/")[0], version.name)
    server = urlsplit(target.tracking_uri)
    return f"{uri}@{quote((server.netloc + server.path).strip('/'), safe=':')}"


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
