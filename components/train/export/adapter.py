"""Export of a LoRA adapter by itself, for models too large to be stored whole in every iteration.

An adapter belongs to the weights that the loop started from. Where M_t has an adapter already,
M_{t+1} has one with the factors of both, since W + B1 A1 + B2 A2 equals W + [B1 B2] [A1; A2]. So
its rank grows by `training.lora.rank` in each iteration.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from lidr.components.shared.core.errors import BadInput, TrainingFailed
from lidr.components.shared.forward.loading import num_elements
from lidr.components.shared.models.adapters import CONFIG, WEIGHTS, settings_beyond_factors
from lidr.components.train.distributed.ranks import Ranks
from lidr.components.train.distributed.scratch import explaining_full_disk
from lidr.components.train.distributed.zero import full_tensor

_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Factors:
    """What an adapter adds to the weight of one layer: up @ down.

    Attributes:
        down: (rank, inputs), A in LoRA's paper.
        up: (outputs, rank), B in LoRA's paper, multiplied by alpha / rank.
    """

    down: torch.Tensor
    up: torch.Tensor


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter.

    Attributes:
        rank: of every layer's factors.
        layers: factors by the layer's full name.
    """

    rank: int
    layers: dict[str, Factors]

    @property
    def targets(self) -> frozenset[str]:
        """Last parts of the layers' names."""
        return frozenset(name.rpartition(".")[2] for name in self.layers)


def write_adapter(
    model: Any, start: Path | None, folder: Path, ranks: Ranks | None = None
) -> float:
    """Check a trained model's adapter and write it, joined with the start model's.

    Args:
        model: peft's model; every rank must call this, and all of them write the same.
        start: folder of the start model's adapter, if it has one.
        folder: for the two files of PEFT's format.
        ranks: the ranks of the run; None for one.

    Returns:
        The share of the model's weights that changed.

    Raises:
        BadInput: the start model's adapter is of a kind that cannot be added to.
        TrainingFailed: a factor is not finite, or the adapter does nothing.
        StoreError: the disk of a rank's folder is full; raised in every rank.
    """
    new = trained_adapter(model)
    changed = _count_changed(new)
    if not changed:
        raise TrainingFailed("training changed no weight", remedy="Raise training.learning_rate.")
    adapter = joined(read_adapter(start), new) if start else new
    size = "An adapter is written in float32."
    with (ranks or Ranks()).sharing_errors(), explaining_full_disk(folder, "the adapter", size):
        _write(adapter, _target_modules(model, adapter), folder)
    base = model.get_base_model()
    total = sum(num_elements(part) for name, part in base.named_parameters() if "lora_" not in name)
    return changed / total


def _write(adapter: Adapter, targets: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            f"{_PREFIX}{name}.lora_{part}.weight": factor.contiguous()
            for name, factors in sorted(adapter.layers.items())
            for part, factor in (("A", factors.down), ("B", factors.up))
        },
        folder / WEIGHTS,
        metadata={"format": "pt"},
    )
    config = {
        "peft_type": "LORA",
        "bias": "none",
        "task_type": "CAUSAL_LM",
        "r": adapter.rank,
        "lora_alpha": adapter.rank,  # the scale is in the factors
        "lora_dropout": 0.0,
        "target_modules": targets,
        "inference_mode": True,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")


def trained_adapter(model: Any) -> Adapter:
    """Return the adapter of peft's model in float32, gathered if it is sharded over ranks.

    Raises:
        TrainingFailed: a factor is not finite.
    """
    layers = {}
    for name, layer in model.get_base_model().named_modules():
        if not hasattr(layer, "lora_A") or not layer.lora_A:
            continue
        (own,) = layer.active_adapters
        down, up = layer.lora_A[own].weight, layer.lora_B[own].weight
        factors = Factors(
            full_tensor(down).float().cpu().clone(),
            full_tensor(up).float().cpu() * layer.scaling[own],
        )
        if not (torch.isfinite(factors.down).all() and torch.isfinite(factors.up).all()):
            raise TrainingFailed(
                f"the adapter of {name} holds values that are not finite",
                remedy="Lower training.learning_rate.",
            )
        layers[name] = factors
    rank = next(iter(layers.values())).down.shape[0]
    return Adapter(rank, layers)


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter in PEFT's format.

    Raises:
        BadInput: it has settings beyond plain factors.
    """
    for setting in settings_beyond_factors(folder):
        raise BadInput(
            f"this adapter has {setting}, so it cannot be added to",
            file=folder / CONFIG,
            remedy="Set training.lora.merge to true.",
        )
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    rank = config["r"]
    scale = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
    tensors = load_file(folder / WEIGHTS)
    names = {key.removeprefix(_PREFIX).partition(".lora_")[0] for key in tensors}
    layers = {
        name: Factors(
            tensors[f"{_PREFIX}{name}.lora_A.weight"].float(),
            tensors[f"{_PREFIX}{name}.lora_B.weight"].float() * scale,
        )
        for name in names
    }
    return Adapter(rank, layers)


def _target_modules(model: Any, adapter: Adapter) -> list[str]:
    """Return PEFT's `target_modules`: last parts of names, or whole names if those match more."""
    short = adapter.targets
    matched = {
        name
        for name, module in model.get_base_model().named_modules()
        if name.rpartition(".")[2] in short and hasattr(module, "weight")
    }
    return sorted(short if matched == adapter.layers.keys() else adapter.layers)


def joined(first: Adapter, second: Adapter) -> Adapter:
    """Return one adapter that adds what both add; a layer that one of them lacks gets zeros."""
    layers = {}
    for name in first.layers.keys() | second.layers.keys():
        known = first.layers.get(name) or second.layers[name]
        parts = [each.layers.get(name) or _zeros(known, each.rank) for each in (first, second)]
        layers[name] = Factors(
            torch.cat([part.down for part in parts], dim=0),
            torch.cat([part.up for part in parts], dim=1),
        )
    return Adapter(first.rank + second.rank, layers)


def _zeros(like: Factors, rank: int) -> Factors:
    inputs, outputs = like.down.shape[1], like.up.shape[0]
    return Factors(torch.zeros(rank, inputs), torch.zeros(outputs, rank))


def _count_changed(adapter: Adapter) -> int:
    """Count the weights that an adapter changes: those in nonzero rows of `up`."""
    return sum(
        int(factors.up.any(dim=1).sum()) * factors.down.shape[1]
        for factors in adapter.layers.values()
    )
