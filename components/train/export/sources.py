"""Where each tensor of a trained model comes from: a parameter, or one with its adapter added."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from lidr.components.train.distributed.zero import full_tensor


@dataclass(frozen=True)
class TensorSource:
    """How to make one tensor when it is needed.

    Attributes:
        parameters: what it is made from; its own parameter first.
        make: returns the tensor, given their values.
        added: whether `make` returns only what an adapter adds to the tensor in the start model's
            file, which may be more precise than the copy in memory. Without parameters nothing is
            added.
        rounded_as: the name that seeds its rounding: tied weights share one, so they stay equal.
    """

    parameters: tuple[Any, ...]
    make: Callable[..., torch.Tensor]
    added: bool = False
    rounded_as: str = ""

    def value(self, old: torch.Tensor | None = None, *, keep: bool = True) -> torch.Tensor | None:
        """Return the tensor on the CPU, from the float32 master weight if there is one.

        Every rank must call this.

        Args:
            old: the start model's tensor.
            keep: whether this rank needs it; the others get None.
        """
        values = [full_tensor(parameter) for parameter in self.parameters]
        if not keep:
            return None
        if not values and self.added:
            return old
        made = self.make(*values).cpu()
        return made if old is None or not self.added else old.float() + made


def sources_of(
    model: Any, names: Collection[str], *, merged: bool, values: bool = True
) -> dict[str, TensorSource]:
    """Return the source of each tensor to be written, by its name in the files.

    Adapters are merged into their weights. A tensor that transformers does not read, and so is not
    in memory, has the source `UNREAD`.

    Args:
        model: a causal language model of transformers, with peft's adapters or without.
        names: of the tensors in the files it was loaded from. Loading may have renamed them, or
            packed several into one parameter (the experts of some models). Then every rank holds a
            full copy of the weights in host memory, unless adapters are added to tensors of files.
        merged: whether loading merged an adapter, so that memory and files differ.
        values: whether the tensors are needed, too; for the names alone no weights are copied.
    """
    known = parameter_sources(model)
    adapted = {name for name, source in known.items() if len(source.parameters) > 1}
    deltas = bool(adapted) and adapted <= set(names) and not merged
    sources = without_missing_aliases(known, names)
    if not sources.keys() <= set(names):
        unpacked = _unpacked(without_peft(model), known, values and not deltas)
        known, sources = unpacked | known, without_missing_aliases(unpacked, names)
    if deltas:
        sources = {
            name: replace(
                adapter_delta(known[name]) if name in adapted else _FROZEN,
                rounded_as=source.rounded_as,
            )
            for name, source in sources.items()
            if name in names
        }
    return dict.fromkeys(set(names) - known.keys(), UNREAD) | sources


def without_missing_aliases(
    sources: dict[str, TensorSource], names: Collection[str]
) -> dict[str, TensorSource]:
    """Return a model's tensor sources, those of tied weights only under names in the files.

    A weight that the files lack under all its names keeps one of them. If the files have it under
    several names, all are rounded as the first.

    Args:
        sources: of a model's tensors.
        names: of the tensors in its files.
    """
    first: dict[tuple[int, ...], str] = {}
    for name in sorted(sources, key=lambda name: name not in names):
        first.setdefault(_identity_of(sources[name]), name)
    return {
        name: replace(source, rounded_as=chosen)
        for name, source in sources.items()
        if (chosen := first[_identity_of(source)]) == name or name in names
    }


def adapter_delta(source: TensorSource) -> TensorSource:
    """Return the source of what an adapter adds to the start model's tensor."""
    return TensorSource(source.parameters[1:], partial(source.make, 0), added=True)


def without_peft(model: Any) -> Any:
    """Return transformers' model, unwrapped if it is peft's."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def parameter_sources(model: Any) -> dict[str, TensorSource]:
    """Return a source for each tensor of a model as it is in memory, adapters merged."""
    base = without_peft(model)
    sources = {}
    for key, tensor in base.state_dict(keep_vars=True).items():
        holder, adapted, rest = key.partition(".base_layer.")
        if adapted and rest == "weight":
            sources[f"{holder}.weight"] = _merged_source(base.get_submodule(holder), tensor)
        elif ".lora_" not in key:
            name = f"{holder}.{rest}" if adapted else key
            sources[name] = TensorSource((tensor,), _identity)
    return sources


def _identity(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


UNREAD = TensorSource((), _identity, added=True)
"""Of a tensor that transformers does not read: it stays as it is in the start model's file.

Compared by identity: `_FROZEN` has the same value."""
_FROZEN = TensorSource((), _identity, added=True)
"""Of a weight that training leaves alone: the start model's, rounded like the others."""


def _identity_of(source: TensorSource) -> tuple[int, ...]:
    return tuple(map(id, source.parameters))


def _merged_source(layer: Any, weight: Any) -> TensorSource:
    (name,) = layer.active_adapters
    scale = layer.scaling[name]
    if name in layer.lora_A:
        down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
        transposed = layer.fan_in_fan_out
    else:  # an embedding's, which has a row for each token
        down, up = layer.lora_embedding_A[name], layer.lora_embedding_B[name]
        transposed = True
    return TensorSource((weight, down, up), partial(_merge, scale=scale, transposed=transposed))


def _merge(
    weight: Any, down: torch.Tensor, up: torch.Tensor, *, scale: float, transposed: bool
) -> torch.Tensor:
    """Return a weight, or 0, with its adapter added, in float32."""
    product = up.float() @ down.float()
    delta = (product.t() if transposed else product) * scale
    return delta if isinstance(weight, int) else weight.float() + delta


def _unpacked(
    model: Any, sources: dict[str, TensorSource], values: bool
) -> dict[str, TensorSource]:
    from transformers.core_model_loading import revert_weight_conversion

    state: dict[str, Any] = {}
    made: dict[tuple[int, ...], Any] = {}  # tied weights remain one tensor
    for name, source in sources.items():
        identity = _identity_of(source)
        if identity not in made:
            made[identity] = source.value() if values else _without_value(source)
        state[name] = made[identity]
    files = revert_weight_conversion(model, state)
    return {name: TensorSource((tensor,), _identity) for name, tensor in files.items()}


def _without_value(source: TensorSource) -> torch.Tensor:
    weight = source.parameters[0]
    return torch.empty(getattr(weight, "ds_shape", weight.shape), device="meta")
