"""Export of a trained model: plain safetensors beside the start model's own files, checked.

It goes file by file. Weights that are spread over ranks are gathered one tensor at a time, and only
the rank that writes the file keeps it, so no rank ever holds more than one file's tensors.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lidr.components.shared.core.errors import LidrError, TrainingFailed
from lidr.components.shared.inputs.fetched import MODEL_FILES
from lidr.components.train.distributed.ranks import Ranks
from lidr.components.train.distributed.zero import whole
from lidr.components.train.export.sources import TensorSource, sources_of

_WEIGHTS = ("*.safetensors", "*.index.json")
_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


@dataclass
class Export:
    """One model's way into files, with the checks on it.

    Configuration, tokenizer, chat template and generation settings are the start model's, byte for
    byte; the weights get its names, shapes and dtypes.

    Attributes:
        model: the trained model.
        start: folder of the model that training started from.
        folder: where this rank's files go, before they are delivered.
        shard_bytes: size of a weight file at most; a larger tensor stands alone.
        ranks: the ranks, which write the files in turn.
    """

    model: Any
    start: Path
    folder: Path
    shard_bytes: int
    ranks: Ranks = field(default_factory=Ranks)

    def run(self, deliver: Callable[[Path], object]) -> float:
        """Write all files and return the share of weights that changed.

        Args:
            deliver: called with each file of this rank, which is deleted after it.

        Raises:
            TrainingFailed: tensors are missing, misshapen, not finite, or none has changed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        places = tensor_places(self.start)
        sources = sources_of(self.model, places)
        _check_names(places.keys(), sources.keys(), self._tied())
        shards = self._shards(places)
        error: LidrError | None = None
        tally = torch.zeros(2, dtype=torch.float64)
        for number, (file, names) in enumerate(shards.items()):
            mine = number % self.ranks.world == self.ranks.rank
            tensors = _collect(names, sources, mine)
            if mine and error is None:  # all ranks must gather to the end, whatever happens here
                try:
                    tally += _write(self.folder / file, tensors, places)
                    self._deliver(file, deliver)
                except LidrError as caught:
                    error = caught
        with self.ranks.together():
            if error is not None:
                raise error
        changed, total = self.ranks.sum(tally).tolist()
        if not changed:
            raise TrainingFailed(
                "training changed no weight", remedy="Raise training.learning_rate."
            )
        with self.ranks.together():
            if self.ranks.leads:
                self._write_others(shards, places, deliver)
        return float(changed / total)

    def _tied(self) -> set[str]:
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        return set(base.all_tied_weights_keys)

    def _shards(self, places: dict[str, Path]) -> dict[str, list[str]]:
        """Return the names in each file; one that holds all has no number."""
        packs: list[list[str]] = []
        room = 0
        for name in sorted(places):
            size = _bytes_of(places[name], name)
            if not packs or size > room:
                packs.append([])
                room = self.shard_bytes
            packs[-1].append(name)
            room -= size
        if len(packs) == 1:
            return {_SINGLE: packs[0]}
        return {
            f"model-{number:05d}-of-{len(packs):05d}.safetensors": names
            for number, names in enumerate(packs, start=1)
        }

    def _write_others(
        self, shards: dict[str, list[str]], places: dict[str, Path], deliver: Callable[[Path], Any]
    ) -> None:
        if len(shards) > 1:
            index = {
                "metadata": {"total_size": sum(_bytes_of(places[name], name) for name in places)},
                "weight_map": {name: file for file, names in shards.items() for name in names},
            }
            (self.folder / _INDEX).write_text(json.dumps(index, indent=2, sort_keys=True), "utf-8")
            self._deliver(_INDEX, deliver)
        for path in sorted({path for pattern in MODEL_FILES for path in self.start.glob(pattern)}):
            if not any(path.match(pattern) for pattern in _WEIGHTS):
                shutil.copyfile(path, self.folder / path.name)
                self._deliver(path.name, deliver)

    def _deliver(self, name: str, deliver: Callable[[Path], object]) -> None:
        deliver(self.folder / name)
        (self.folder / name).unlink()


def _check_names(before: Any, after: Any, tied: set[str]) -> None:
    """Compare names, but for those that stand for another tensor: a file may hold them or not."""
    differing = (before ^ after) - tied
    if differing or before - after:
        named = ", ".join(sorted(differing or before - after)[:5])
        raise TrainingFailed(f"the trained model lacks or adds tensors: {named}")


def _collect(
    names: list[str], sources: dict[str, TensorSource], keep: bool
) -> dict[str, torch.Tensor]:
    tensors = {}
    for name in names:
        with whole(sources[name].parameters):
            if keep:
                tensors[name] = sources[name].make().cpu()
                if sources[name].parameters:  # which are about to be spread out again
                    tensors[name] = tensors[name].clone()
    return tensors


def _write(file: Path, tensors: dict[str, torch.Tensor], places: dict[str, Path]) -> torch.Tensor:
    """Check tensors against those of the start model and write them; count changed and all."""
    changed = total = 0
    for name in tensors:
        old = _tensor(places[name], name)
        tensors[name] = tensors[name].to(old.dtype).contiguous()
        _check_tensor(name, old, tensors[name])
        changed += int((old != tensors[name]).sum())
        total += old.numel()
    save_file(tensors, file, metadata={"format": "pt"})
    return torch.tensor([changed, total], dtype=torch.float64)


def _check_tensor(name: str, old: torch.Tensor, new: torch.Tensor) -> None:
    if old.shape != new.shape:
        raise TrainingFailed(f"{name} has shape {tuple(new.shape)}, was {tuple(old.shape)}")
    if not torch.isfinite(new).all():
        raise TrainingFailed(
            f"{name} holds values that are not finite", remedy="Lower training.learning_rate."
        )


def tensor_places(folder: Path) -> dict[str, Path]:
    """Return the name of each tensor of a model folder and the file that holds it."""
    if (folder / _INDEX).is_file():
        index = json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"]
        return {name: folder / file for name, file in index.items()}
    with safe_open(folder / _SINGLE, framework="pt") as file:
        return dict.fromkeys(file.keys(), folder / _SINGLE)


def _tensor(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)


def _bytes_of(path: Path, name: str) -> int:
    with safe_open(path, framework="pt") as file:
        part = file.get_slice(name)
        count = torch.Size(part.get_shape()).numel()
        return int(count * _BYTES[part.get_dtype()])


_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4}
"""Bytes of a number by safetensors' name of its type."""
