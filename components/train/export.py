"""Export of a trained model: plain safetensors beside the start model's own files, checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from components.shared.errors import TrainingFailed
from components.shared.models import MODEL_FILES

_WEIGHTS = ("*.safetensors", "*.index.json")
_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def export_model(model: Any, start: Path, folder: Path) -> float:
    """Write a trained model and check it against the one that training started from.

    Configuration, tokenizer, chat template and generation settings are the start model's, byte for
    byte; the weights get its dtypes.

    Args:
        model: the trained transformers model.
        start: the start model's folder.
        folder: where the new model goes.

    Returns:
        The share of weights that changed.

    Raises:
        TrainingFailed: tensors are missing, misshapen, not finite, or none has changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / ".weights"
    model.save_pretrained(weights, safe_serialization=True)
    for path in _matching(weights, _WEIGHTS):
        path.replace(folder / path.name)
    shutil.rmtree(weights)
    for path in _matching(start, MODEL_FILES):
        if not any(path.match(pattern) for pattern in _WEIGHTS):
            shutil.copyfile(path, folder / path.name)
    return check_export(start, folder, set(model.all_tied_weights_keys))


def check_export(start: Path, folder: Path, tied: set[str]) -> float:
    """Compare an exported model with its start model, give it the same dtypes, return what changed.

    Args:
        start: the start model's folder.
        folder: the exported model's folder.
        tied: names that stand for another tensor; a file may hold them or not.
    """
    before, after = _places(start), _places(folder)
    if before.keys() - tied != after.keys() - tied:
        differing = sorted((before.keys() ^ after.keys()) - tied)
        raise TrainingFailed(f"the trained model lacks or adds tensors: {', '.join(differing[:5])}")
    changed = total = 0
    for path in sorted(set(after.values())):
        for old, new in _compared(path, before):
            changed += int((old != new).sum())
            total += new.numel()
    if not changed:
        raise TrainingFailed("training changed no weight", remedy="Raise training.learning_rate.")
    return changed / total


def _compared(path: Path, before: dict[str, Path]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield each tensor of a file as it was and as it is; rewrite the file where dtypes differ."""
    tensors = load_file(path)
    names = sorted(tensors.keys() & before.keys())
    recast = False
    for name in names:
        old = _tensor(before[name], name)
        recast |= tensors[name].dtype != old.dtype
        tensors[name] = tensors[name].to(old.dtype)
        _check_tensor(name, old, tensors[name])
        yield old, tensors[name]
    if recast:
        save_file(tensors, path, metadata={"format": "pt"})


def _check_tensor(name: str, old: torch.Tensor, new: torch.Tensor) -> None:
    if old.shape != new.shape:
        raise TrainingFailed(f"{name} has shape {tuple(new.shape)}, was {tuple(old.shape)}")
    if not torch.isfinite(new).all():
        raise TrainingFailed(
            f"{name} holds values that are not finite", remedy="Lower training.learning_rate."
        )


def _tensor(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)


def _places(folder: Path) -> dict[str, Path]:
    """Return each tensor's name and the file that holds it."""
    if (folder / _INDEX).is_file():
        index = json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"]
        return {name: folder / file for name, file in index.items()}
    with safe_open(folder / _SINGLE, framework="pt") as file:
        return dict.fromkeys(file.keys(), folder / _SINGLE)


def _matching(folder: Path, patterns: tuple[str, ...] | list[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})
