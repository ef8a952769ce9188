"""Export of a trained model: plain safetensors beside the start model's own files, checked.

Files are written one by one. Weights sharded over ranks are gathered tensor by tensor, and only the
rank that writes the file keeps them: at most one file's tensors, old and new. The exception
is a model whose files name or pack weights otherwise than memory does: then every rank holds a full
copy of the weights in host memory (`sources_of`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lidr.components.shared.core.errors import BadInput, LidrError, TrainingFailed
from lidr.components.shared.core.text import some_of
from lidr.components.shared.inputs.fetched import MODEL_FILES
from lidr.components.shared.models.weights import INDEX, SINGLE
from lidr.components.train.distributed.ranks import Ranks
from lidr.components.train.distributed.scratch import explaining_full_disk
from lidr.components.train.distributed.zero import gathered
from lidr.components.train.export.precision import Exported, Rounding, UpdateTally
from lidr.components.train.export.sources import (
    UNREAD,
    TensorSource,
    adapter_delta,
    parameter_sources,
    sources_of,
    without_missing_aliases,
    without_peft,
)
from lidr.components.train.export.tensors import (
    read_tensor,
    tensor_files,
    tensor_headers,
)

_WEIGHTS = ("*.safetensors", "*.index.json")


@dataclass
class Export:
    """Writes one trained model to files, and checks it.

    Configuration, tokenizer, chat template and generation settings are the start model's, byte for
    byte, and so are tensors that transformers does not read; the weights have its names and shapes.

    Attributes:
        model: the trained model.
        start: folder of the model that training started from.
        folder: where this rank writes a file before it is delivered.
        shard_bytes: largest size of a weight file; a larger tensor gets its own file.
        rounding: to the files' precision.
        merged: whether loading merged an adapter into the start model's weights.
        ranks: the ranks, which write the files in turn.
    """

    model: Any
    start: Path
    folder: Path
    shard_bytes: int
    rounding: Rounding
    merged: bool = False
    ranks: Ranks = field(default_factory=Ranks)

    def run(self, deliver: Callable[[Path], object]) -> Exported:
        """Write all files and return how much of the update they keep.

        Args:
            deliver: called with each file that this rank wrote, which is then deleted.

        Raises:
            BadInput: the files lack names of the model's tensors (see `check_names`).
            TrainingFailed: tensors are misshapen or not finite, or none has changed.
            StoreError: the disk of a rank's folder is full; raised in every rank.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        start_files = tensor_files(self.start)
        sources = sources_of(self.model, start_files, merged=self.merged)
        _require_names(sources.keys(), start_files.keys(), self.start)
        sizes = {
            name: count * self._stored_type(kind, sources[name]).itemsize
            for name, (kind, count) in tensor_headers(start_files).items()
        }
        shards = self._shards(sizes)
        error: LidrError | None = None
        tally = UpdateTally()
        for number, (file, names) in enumerate(shards.items()):
            mine = number % self.ranks.world_size == self.ranks.rank
            olds = {name: read_tensor(start_files[name], name) for name in names if mine}
            tensors = {name: sources[name].value(olds.get(name), keep=mine) for name in names}
            if mine and error is None:  # a rank that failed must still join each gather
                try:
                    self._write(file, tensors, olds, sources, tally)
                    self._deliver(file, deliver)
                except LidrError as caught:
                    error = caught
        with self.ranks.sharing_errors():
            if error is not None:
                raise error
        written, changed, total, seen, update = self.ranks.sum(tally.sums).tolist()
        if not written or not update:  # rounding alone changes stored weights, too
            raise TrainingFailed(
                "training changed no weight", remedy="Raise training.learning_rate."
            )
        with self.ranks.sharing_errors():
            if self.ranks.leads:
                self._write_others(shards, sizes, deliver)
        return Exported(changed / total, seen / update, self.rounding.file)

    def _write(
        self,
        file: str,
        tensors: dict[str, Any],
        olds: dict[str, torch.Tensor],
        sources: dict[str, TensorSource],
        tally: UpdateTally,
    ) -> None:
        """Check tensors against those of the start model and write them."""
        for name, new in tensors.items():
            old, source = olds[name], sources[name]
            if source is UNREAD:
                continue
            _check_tensor(name, old, new)
            stored = self.rounding.stored(source.rounded_as, new, old.dtype).contiguous()
            # safetensors refuses two names for the same memory
            tensors[name] = stored if source.rounded_as == name else stored.clone()
            tally.add(old, new, stored, self.rounding)
        with self._explaining_full_disk(f"the model's {file}"):
            save_file(tensors, self.folder / file, metadata={"format": "pt"})

    def _stored_type(self, kind: torch.dtype, source: TensorSource) -> torch.dtype:
        return kind if source is UNREAD else self.rounding.stored_type(kind)

    def _shards(self, sizes: dict[str, int]) -> dict[str, list[str]]:
        """Return the tensor names of each file, given the tensors' bytes."""
        packs: list[list[str]] = []
        room = 0
        for name, size in sorted(sizes.items()):
            if not packs or size > room:
                packs.append([])
                room = self.shard_bytes
            packs[-1].append(name)
            room -= size
        if len(packs) == 1:
            return {SINGLE: packs[0]}
        return {
            f"model-{number:05d}-of-{len(packs):05d}.safetensors": names
            for number, names in enumerate(packs, start=1)
        }

    def _write_others(
        self, shards: dict[str, list[str]], sizes: dict[str, int], deliver: Callable[[Path], Any]
    ) -> None:
        if len(shards) > 1:
            index = {
                "metadata": {"total_size": sum(sizes.values())},
                "weight_map": {name: file for file, names in shards.items() for name in names},
            }
            text = json.dumps(index, indent=2, sort_keys=True)
            with self._explaining_full_disk(f"the model's {INDEX}"):
                (self.folder / INDEX).write_text(text, "utf-8")
            self._deliver(INDEX, deliver)
        for path in sorted({path for pattern in MODEL_FILES for path in self.start.glob(pattern)}):
            if not any(path.match(pattern) for pattern in _WEIGHTS):
                with self._explaining_full_disk(f"the model's {path.name}"):
                    shutil.copyfile(path, self.folder / path.name)
                self._deliver(path.name, deliver)

    def _explaining_full_disk(self, content: str) -> AbstractContextManager[None]:
        largest = f"{self.shard_bytes / 1e9:.3g} GB (training.shard_gigabytes)"
        return explaining_full_disk(self.folder, content, f"Weight files have up to {largest}.")

    def _deliver(self, name: str, deliver: Callable[[Path], object]) -> None:
        deliver(self.folder / name)
        (self.folder / name).unlink()


def check_names(model: Any, start: Path, *, merged: bool) -> None:
    """Refuse, before training, a model whose tensors could not be written under its files' names.

    Args:
        model: that will be trained, loaded from `start`.
        start: its folder.
        merged: whether loading merged an adapter.

    Raises:
        BadInput: the files lack names that the trained model would be written with.
    """
    names = tensor_files(start).keys()
    _require_names(sources_of(model, names, merged=merged, values=False).keys(), names, start)


def _require_names(after: Set[str], before: Set[str], start: Path) -> None:
    if added := sorted(after - before):
        raise BadInput(
            f"{len(added)} of the model's tensors have names that its files lack: {some_of(added)}",
            file=start,
            remedy="Load it with transformers' from_pretrained, write it with save_pretrained, and "
            "name the new folder.",
        )


def load_exported_weights(model: Any, export: Export) -> None:
    """Set a trained model's weights to those that inference will see; every rank must call this.

    Experts that loading packed into one parameter are rounded in the files only: stochastic
    rounding keeps their weights on average.

    Args:
        model: the exported model; its adapters are merged.
        export: the export that wrote its files.
    """
    start_files, rounding = tensor_files(export.start), export.rounding
    for name, source in without_missing_aliases(parameter_sources(model), start_files).items():
        if name != source.rounded_as or not any(each.requires_grad for each in source.parameters):
            continue
        old = read_tensor(start_files[name], name) if name in start_files else None
        adapted = len(source.parameters) > 1 and old is not None and not export.merged
        value = (adapter_delta(source) if adapted else source).value(old)
        if old is not None:
            value = rounding.stored(source.rounded_as, value, old.dtype)
        if old is not None or rounding.file == "float32":
            value = rounding.as_seen(value)
        with torch.no_grad(), gathered(source.parameters[:1], change=True):
            source.parameters[0].copy_(value)
    if without_peft(model) is not model:
        model.base_model.disable_adapter_layers()


def _check_tensor(name: str, old: torch.Tensor, new: torch.Tensor) -> None:
    if old.shape != new.shape:
        raise TrainingFailed(f"{name} has shape {tuple(new.shape)}, was {tuple(old.shape)}")
    if not torch.isfinite(new).all():
        raise TrainingFailed(
            f"{name} holds values that are not finite", remedy="Lower training.learning_rate."
        )
