"""Digests: SHA-256 over canonical JSON, and over bytes and files.

Canonical JSON is in the spirit of RFC 8785, but 1 and 1.0 differ.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path


def canonical_json(value: object) -> str:
    """Return the canonical JSON of `value`: sorted keys, no spaces, non-ASCII text unescaped.

    Raises:
        TypeError: for what JSON cannot represent (sets, bytes, objects, keys that are not strings).
        ValueError: for NaN and infinities.
    """
    _require_json(value, "$")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(value: object) -> str:
    """Return the hex SHA-256 of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()


def digest_of_bytes(data: bytes) -> str:
    """Return the hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def digest_of_file(path: Path) -> str:
    """Return the hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of_uri(uri: str) -> str:
    """Return the digest at the end of a stage's URI."""
    return uri.rstrip("/").rsplit("/", 1)[-1]


def seed_of(*parts: str | int) -> int:
    """Derive a 63-bit seed from named parts (recipe seed, iteration, prompt_id, language, ...)."""
    return int(digest_of(list(parts))[:16], 16) >> 1


def _require_json(value: object, where: str) -> None:
    if value is None or isinstance(value, bool | int | str):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where}: {value} has no canonical JSON form")
        return
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _require_json(item, f"{where}[{index}]")
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where}: key {key!r} is not a string")
            _require_json(item, f"{where}.{key}")
        return
    raise TypeError(f"{where}: {type(value).__name__} cannot be part of a digest")
