"""The tensors of a model folder: file, dtype and size of each, without loading them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.weights import INDEX, SINGLE

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""By safetensors' names."""


def tensor_files(folder: Path) -> dict[str, Path]:
    """Return the file of each tensor in a model folder, by the tensor's name.

    As in transformers, a single file is read even if there is also an index.
    """
    if not (folder / SINGLE).is_file():
        index = json.loads((folder / INDEX).read_text("utf-8"))["weight_map"]
        return {name: folder / file for name, file in index.items()}
    with safe_open(folder / SINGLE, framework="pt") as file:
        return dict.fromkeys(file.keys(), folder / SINGLE)


def tensor_headers(files: dict[str, Path]) -> dict[str, tuple[torch.dtype, int]]:
    """Return dtype and number of elements of each tensor; `files` as from `tensor_files`.

    Raises:
        BadInput: a tensor is of a type that torch lacks.
    """
    found = {}
    for path in sorted(set(files.values())):
        with safe_open(path, framework="pt") as file:
            for name in (name for name in file.keys() if files.get(name) == path):  # noqa: SIM118
                part = file.get_slice(name)
                if (kind := part.get_dtype()) not in _TYPES:
                    raise BadInput(
                        f"tensor {name} is of type {kind}, which cannot be read",
                        file=path,
                        remedy="Name a model with weights in 16 or 32 bits.",
                    )
                found[name] = _TYPES[kind], torch.Size(part.get_shape()).numel()
    return found


def read_tensor(path: Path, name: str) -> torch.Tensor:
    """Return one tensor of a file."""
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)


def is_float32(folder: Path) -> bool:
    """Return whether most of a model's weights are float32 in its files."""
    headers = tensor_headers(tensor_files(folder)).values()
    wide = sum(count for kind, count in headers if kind is torch.float32)
    return 2 * wide > sum(count for _, count in headers)
