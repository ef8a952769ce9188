"""Names that become files: of runs, and of objects below a store or a model's folder.

They come from recipes, command lines, listings and markers that others may have written. None of
them may lead out of its folder, nor mean another file on another system: stores are copied.
"""

from __future__ import annotations

import re
import unicodedata

from lidr.components.shared.core.errors import BadInput

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of what nobody sees: control codes, bidi overrides, lone surrogates."""

_MAX_BYTES, _MAX_OF_A_PART = 1024, 255
"""Of an S3 key, and of a file's name."""


def key_fault(key: str) -> str:
    """Return why a relative name with `/` between its parts may not be used, or "".

    Names in any language may; Unicode that reads as a separator or as dots (NFKC, UAX 15) may not.

    Args:
        key: the name.
    """
    if any(unicodedata.category(character) in _UNSEEN for character in key):
        return "holds characters that cannot be seen"
    if len(key.encode()) > _MAX_BYTES:
        return f"is longer than {_MAX_BYTES} bytes"
    return next(filter(None, map(_part_fault, key.split("/"))), "")


def _part_fault(part: str) -> str:
    shown = unicodedata.normalize("NFKC", part)
    if part in ("", ".", "..") or shown in (".", "..") or "/" in shown or "\\" in shown:
        return "leaves its folder"
    if len(part.encode()) > _MAX_OF_A_PART:
        return f"has a part of more than {_MAX_OF_A_PART} bytes"
    if _DEVICE.fullmatch(shown) or part[-1] in ". ":
        return "is no file's name on some systems"
    return ""


def run_name_fault(name: str) -> str:
    """Return why a run may not have a name, or ""."""
    if not _RUN.fullmatch(name):
        return "holds other than letters, digits, dots, hyphens and underscores, or too many"
    return key_fault(name)


def require_run_name(name: str) -> None:
    """Refuse what cannot name a run's folder.

    Raises:
        BadInput: with the reason.
    """
    if fault := run_name_fault(name):
        raise BadInput(
            f"{name!r} cannot name a run: it {fault}",
            remedy="Use letters, digits, dots, hyphens and underscores, at most 100.",
        )
