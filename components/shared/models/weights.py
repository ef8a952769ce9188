"""Checks that weight files really are safetensors: complete, and without anything executable.

Format: https://github.com/huggingface/safetensors#format. Eight bytes with the header's length,
little-endian; the header, a JSON object; the tensors, without gaps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path

from lidr.components.shared.core.errors import BadInput

PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib", "*.npy", "*.npz")

INDEX = "model.safetensors.index.json"

SINGLE = "model.safetensors"
"""The only weight file that transformers finds without an index."""

_MAX_HEADER = 100_000_000
"""Bytes; the limit of the safetensors library."""

_POINTER = "a pointer of Git LFS; the file itself was never fetched"
_NO_HEADER = "it has no header"
_BROKEN = "its header is broken"
_GAPS = "its tensors overlap, leave gaps or are cut off"

_MAGIC = {
    b"PK\x03\x04": "a zip archive, as torch.save writes pickles",
    b"\x80": "a pickle, which can run code",
    b"\x1f\x8b": "a gzip archive",
    b"\x93NUMPY": "a NumPy file, which may hold pickles",
    b"GGUF": "a GGUF file",
    b"#!": "a script",
    b"version https://git-lfs": _POINTER,
}

_FETCH = "Fetch the model's files again."
_REMEDY = "Write the weights as safetensors where you trust them: model.save_pretrained(folder)."
_REMEDIES = {
    _POINTER: "Run `git lfs pull` in the folder, or fetch the model's files again.",
    **dict.fromkeys((_NO_HEADER, _BROKEN, _GAPS), _FETCH),
}
"""By fault; any other fault means that the file is in another format, and gets `_REMEDY`."""


def check_weights(path: Path) -> None:
    """Refuse a file that is not complete safetensors; only its header is read.

    Raises:
        BadInput: with what the file is instead.
    """
    if fault := _fault(path):
        raise BadInput(f"not safetensors: {fault}", file=path, remedy=_REMEDIES.get(fault, _REMEDY))


def check_no_pickles(folder: Path) -> None:
    """Refuse a folder with pickles in it, whether or not anything would open them.

    Raises:
        BadInput: with the first one.
    """
    found = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if found:
        raise BadInput(
            f"{found[0]} may be a pickle, which can run code when it is opened",
            file=folder,
            remedy="Remove it if there are safetensors; else load it where you trust it, then "
            "model.save_pretrained(folder).",
        )


def check_index(folder: Path, names: Collection[str] | None = None) -> None:
    """Refuse weights that lack a file: one that the index names or, without an index, `SINGLE`.

    Args:
        folder: the model's files, with or without weights.
        names: names of all its files, if `folder` lacks the weights; None if it is complete.

    Raises:
        BadInput: with the name of the missing file, or because the index is broken.
    """
    found = [path.name for path in folder.iterdir()] if names is None else names
    present = {name for name in found if name.endswith(".safetensors")}
    indexed = read_index(folder)
    if not indexed and SINGLE not in present:
        raise BadInput(
            f"no {SINGLE}, and no {INDEX} that names other files",
            file=folder,
            remedy=_FETCH,
        )
    if absent := sorted(map(str, indexed - present)):
        raise BadInput(
            f"it names {absent[0]!r}, which is no safetensors file of the folder",
            file=folder / INDEX,
            remedy=_FETCH,
        )


def read_index(folder: Path) -> frozenset[str]:
    """Return the names of the weight files in a folder's index; empty without an index.

    Raises:
        BadInput: the index is broken.
    """
    file = folder / INDEX
    if not file.is_file():
        return frozenset()
    try:
        return frozenset(json.loads(file.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput("not an index of weights", file=file, remedy=_FETCH) from error


def _fault(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(64)
        for magic, format_ in _MAGIC.items():
            # Short magic bytes could also be a header's length; then "{" follows at byte 8.
            if start.startswith(magic) and start[8:9] != b"{":
                return format_
        length = int.from_bytes(start[:8], "little")
        if not 2 <= length <= min(size - 8, _MAX_HEADER):
            return _NO_HEADER
        stream.seek(8)
        data = stream.read(length)
    return _fault_of_header(data, size - 8 - length)


def _fault_of_header(data: bytes, tensor_bytes: int) -> str:
    try:
        header = json.loads(data)
        tensors = [each for name, each in header.items() if name != "__metadata__"]
        spans = sorted(tuple(each["data_offsets"]) for each in tensors)
        shapes = [math.prod(each["shape"]) for each in tensors]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _BROKEN
    numbers = [*shapes, *(number for span in spans for number in span)]
    if data[:1] != b"{" or any(not isinstance(each, int) or each < 0 for each in numbers):
        return _BROKEN
    end = 0
    for span in spans:
        if len(span) != 2 or span[0] != end or span[1] < end:
            return _GAPS
        end = span[1]
    return "" if end == tensor_bytes else _GAPS
