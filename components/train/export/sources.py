"""Where each tensor of a trained model comes from: a parameter, or one with its adapter added."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
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
        added: whether `make` returns what is added to the start model's tensor, which may be more
            precise in its file than in memory. Without parameters nothing is added.
    """

    parameters: tuple[Any, ...]
    make: Callable[..., torch.Tensor]
    added: bool = False

    def value(self, old: torch.Tensor | None = None, *, keep: bool = True) -> torch.Tensor | None:
        """Return the tensor on the CPU, in the optimizer's precision; every rank must call this.

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


def sources_of(model: Any, names: Collection[str], *, merged: bool) -> dict[str, TensorSource]:
    """Return a source for each tensor of a model, adapters merged into their weights.

    Args:
        model: a causal language model of transformers, with peft's adapters or without.
        names: of the tensors in the files it was loaded from. If loading packed several into one
            parameter (the experts of some models), every rank unpacks the whole model.
        merged: whether loading merged an adapter, so that memory and files differ.
    """
    sources = parameter_sources(model)
    adapted = {name: source for name, source in sources.items() if len(source.parameters) > 1}
    if adapted and adapted.keys() <= set(names) and not merged:
        kept = dict.fromkeys(names, TensorSource((), _identity, added=True))
        return kept | {name: adapter_delta(source) for name, source in adapted.items()}
    return sources if set(names) <= sources.keys() else _unpacked(without_peft(model), sources)


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


def _unpacked(model: Any, sources: dict[str, TensorSource]) -> dict[str, TensorSource]:
    from transformers.core_model_loading import revert_weight_conversion

    state = {name: source.value() for name, source in sources.items()}
    files = revert_weight_conversion(model, state)
    return {name: TensorSource((), partial(_identity, tensor)) for name, tensor in files.items()}
