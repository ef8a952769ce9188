"""Checks of names that become file names: of runs, and of objects in a store or a model's folder.

They come from recipes, command lines, listings and markers that others may have written. No name
may point outside its folder on Linux or S3, and none may be one that Windows reserves: stores are
copied.
"""

from __future__ import annotations

import re
import unicodedata

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import JOINERS

MAX_RUN_CHARS = 100
"""Characters of a run's name."""

_RUN = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_RUN_CHARS - 1}}}")
_WINDOWS_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories: control codes, bidi overrides, lone surrogates; but for `JOINERS`."""

_MAX_KEY_BYTES, _MAX_PART_BYTES = 1024, 255
"""Limits of S3 keys, and of file names."""


def key_fault(key: str) -> str:
    """Return why a relative name with `/` between its parts may not be used, or "".

    Any language is allowed, but no Unicode that normalizes to a separator or dots (NFKC, UAX 15).
    """
    if not key:
        return "is empty"
    if any(unicodedata.category(char) in _INVISIBLE and char not in JOINERS for char in key):
        return "holds characters that cannot be seen"
    if len(key.encode()) > _MAX_KEY_BYTES:
        return f"is longer than {_MAX_KEY_BYTES} bytes"
    return next(filter(None, map(_part_fault, key.split("/"))), "")


def _part_fault(part: str) -> str:
    shown = unicodedata.normalize("NFKC", part)
    if part in ("", ".", "..") or shown in (".", "..") or "/" in shown or "\\" in shown:
        return "leaves its folder"
    if len(part.encode()) > _MAX_PART_BYTES:
        return f"has a part of more than {_MAX_PART_BYTES} bytes"
    if _WINDOWS_DEVICE.fullmatch(shown) or part[-1] in ". ":
        return "is not a valid file name on some systems"
    return ""


RUN_DIGEST_CHARS = 8
"""Hex digits of a digest in a run's name that is generated: `nightly-<digest of the inputs>`."""


def require_run_name(name: str) -> None:
    """Refuse what cannot name a run's folder.

    Raises:
        BadInput: with the reason.
    """
    fault = key_fault(name)
    if name and not _RUN.fullmatch(name):
        fault = "holds a character that is not allowed there, or is too long"
    if fault:
        raise BadInput(
            f"{name!r} cannot name a run: it {fault}",
            remedy="Begin with a letter or digit and use those, dots, hyphens and underscores, at "
            f"most {MAX_RUN_CHARS}; no dot at the end, and no name that Windows reserves (con, "
            "nul, com1).",
        )
