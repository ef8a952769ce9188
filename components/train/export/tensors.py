"""The tensors of a model folder: file, dtype and size of each, without loading them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""By safetensors' names."""


def tensor_files(folder: Path) -> dict[str, Path]:
    """Return the file of each tensor in a model folder, by the tensor's name.

    As transformers does, a single file is read though an index stands beside it.
    """
    if not (folder / SINGLE).is_file():
        index = json.loads((folder / INDEX).read_text("utf-8"))["weight_map"]
        return {name: folder / file for name, file in index.items()}
    with safe_open(folder / SINGLE, framework="pt") as file:
        return dict.fromkeys(file.keys(), folder / SINGLE)


def tensor_headers(files: dict[str, Path]) -> dict[str, tuple[torch.dtype, int]]:
    """Return dtype and number of elements of each tensor; `files` as from `tensor_files`."""
    found = {}
    for path in sorted(set(files.values())):
        with safe_open(path, framework="pt") as file:
            for name in file.keys() & files.keys():
                part = file.get_slice(name)
                found[name] = _TYPES[part.get_dtype()], torch.Size(part.get_shape()).numel()
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
