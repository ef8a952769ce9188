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
from lidr.components.shared.registry.registration import default_audit_log, ensure_version
from lidr.components.shared.registry.versions import (
    COPIED_FROM_TAG,
    DIGEST_TAG,
    PARENT_TAG,
    Version,
    files_of,
    find_version,
    read_version,
)
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.copying import copy_stage
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import locate_stage

COPIED_TO_TAG = "lidr.copied_to"
"""Tag of the original: URIs of the registries with a copy, separated by spaces.

It is written before the copy is made: `lidr prune` must never remove what a copy refers to.
"""

_OWN_TAGS = (PROMOTION_TAG, COPIED_TO_TAG, PARENT_TAG)
"""Tags that are not copied: they are about the original's registry."""

_ACCOUNT = ("USERNAME", "PASSWORD", "TOKEN")

_SCHEMES = ("AUTH", "AWS_SIGV4")
"""Logins that MLflow's client prefers to an account: they send our own credentials."""


@contextmanager
def target_account() -> Iterator[None]:
    """Log in to MLflow with LIDR_TARGET_USERNAME, _PASSWORD or _TOKEN alone, if any is set.

    MLflow's client takes one login for the whole process, from its environment, which is restored
    after the block. The remedies of errors in the block name these variables and --copy-to.
    """
    target = {key: os.environ.get(f"LIDR_TARGET_{key}") for key in _ACCOUNT}
    before = {key: os.environ.get(f"MLFLOW_TRACKING_{key}") for key in (*_ACCOUNT, *_SCHEMES)}
    try:
        if any(target.values()):
            _set_login({**dict.fromkeys(_SCHEMES), **target})
        yield
    except LidrError as error:
        said = str(error).removesuffix(error.remedy)
        error.remedy = _remedy_for_target(error.remedy)
        error.args = (said + error.remedy,)
        raise
    finally:
        _set_login(before)


def _remedy_for_target(remedy: str) -> str:
    """Return a remedy that names LIDR_TARGET_* and --copy-to instead of MLflow's variables."""
    for key in _ACCOUNT:
        remedy = remedy.replace(f"MLFLOW_TRACKING_{key}", f"LIDR_TARGET_{key}")
    return remedy.replace("MLFLOW_TRACKING_URI", "--copy-to")


def copy_version(
    client: Any, version: Version, target: Any, files: str, audit_log: Store
) -> Version:
    """Return a version's copy in another registry, created if there is none.

    Args:
        client: client of the version's registry.
        version: the version to copy.
        target: client of the other registry, used under `target_account`.
        files: URI of a store to copy the files to; "" to refer to them where they are, since a
            stage never changes.
        audit_log: folder with the lease and the audit entries of the version's own registry.

    Raises:
        BadInput: both registries are the same, or one of them refuses; lidr has not registered the
            version; or the store holds one of its stages from another execution.
    """
    if DIGEST_TAG not in version.tags:
        raise BadInput(
            f"{version.label} was not registered by lidr: it has no tag {DIGEST_TAG}, so a copy "
            "could not be recognised",
            remedy="Register it in the other registry with MLflow.",
        )
    _require_other_registry(client, version, target)
    files = open_store(files).uri if files else ""
    copied = ModelLocation(*(uri and _copy_files(uri, files) for uri in files_of(version)))
    if files and (gate := verdict_of(version).gate):
        _copy_stage(gate, files)
    tags = {key: value for key, value in version.tags.items() if key not in _OWN_TAGS}
    origin = f"{version.tags.get(COPIED_FROM_TAG, '')} {client.tracking_uri} {version.label}"
    tags[COPIED_FROM_TAG] = origin.strip()
    if copied.adapter:
        tags[ADAPTER_TAG] = copied.adapter
    target_log = _target_audit_log(version, target, files or store_of(version), audit_log)
    _note_copy(client, version, target.tracking_uri.rstrip("/"))
    with target_account(), wrap_mlflow_errors(target, f"registration of {version.name!r}"):
        number = ensure_version(target, version.name, copied.source, tags, "", target_log)
        copy = read_version(target, version.name, str(number))
    _warn_of_other_files(copy, copied)
    return copy


def _require_other_registry(client: Any, version: Version, target: Any) -> None:
    """Refuse the version's own registry, also under another address of its server."""
    same = client.tracking_uri.rstrip("/") == target.tracking_uri.rstrip("/")
    if same or _has_itself(target, version):
        raise BadInput(
            f"--copy-to is the registry of {version.label} itself",
            remedy="Name another one, or leave it out.",
        )


def _has_itself(target: Any, version: Version) -> bool:
    """Return whether a registry has this very version: a copy has a date of its own."""
    with target_account():
        number = find_version(target, version.name, version.tags[DIGEST_TAG])
        if number != version.number:
            return False
        found = read_version(target, version.name, str(number))
    made = (found.source, found.run_id, found.created)
    return made == (version.source, version.run_id, version.created)


def _warn_of_other_files(copy: Version, expected: ModelLocation) -> None:
    """Warn of a copy that existed before and refers to other files than a new one would."""
    both = zip(files_of(copy), expected, strict=True)
    if others := [uri or "no adapter" for uri, wanted in both if uri != wanted]:
        emit(
            "warning",
            message=f"{copy.label} already existed and still refers to {' and '.join(others)}; "
            "to use the new files, delete it in that registry and run again",
        )


def _copy_files(uri: str, files: str) -> str:
    """Copy the stage of a URI to a store; return the URI there, or `uri` if it is no stage's."""
    found = model_files_at(uri)
    if not files or not found:
        if files:
            emit(
                "warning",
                message=f"{uri} does not belong to a stage, so it is not copied; the new version "
                "refers to it where it is",
            )
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
    """Name a registry in the version's tag, which others may have changed since it was read."""
    name, number = version.name, str(version.number)
    with wrap_mlflow_errors(client, f"version {version.label}"):
        tags = client.get_model_version(name, number).tags
        known = tags.get(COPIED_TO_TAG, "").split()
        if server not in [uri.rstrip("/") for uri in known]:
            client.set_model_version_tag(name, number, COPIED_TO_TAG, " ".join([*known, server]))


def _set_login(values: dict[str, str | None]) -> None:
    for key, value in values.items():
        os.environ.pop(f"MLFLOW_TRACKING_{key}", None)
        if value:
            os.environ[f"MLFLOW_TRACKING_{key}"] = value
