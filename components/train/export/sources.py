"""Where each tensor of a trained model comes from: a parameter, or one with its adapter added."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from lidr.components.train.distributed.zero import whole


@dataclass(frozen=True)
class TensorSource:
    """One tensor, not there yet.

    Attributes:
        parameters: what must be whole while it is made.
        make: returns it.
    """

    parameters: tuple[Any, ...]
    make: Callable[[], torch.Tensor]


def sources_of(model: Any, names: Collection[str]) -> dict[str, TensorSource]:
    """Return a source for each tensor of a model, adapters merged into their weights.

    Args:
        model: a causal language model of transformers, with peft's adapters or without.
        names: of the tensors in the files it was loaded from. Where loading has packed several into
            one parameter (the experts of some models), every rank unpacks the whole model.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    sources = {}
    for key, tensor in base.state_dict(keep_vars=True).items():
        holder, adapted, rest = key.partition(".base_layer.")
        if adapted and rest == "weight":
            sources[f"{holder}.weight"] = _merged(base.get_submodule(holder), tensor)
        elif ".lora_" not in key:
            name = f"{holder}.{rest}" if adapted else key
            sources[name] = TensorSource((tensor,), tensor.detach)
    return sources if set(names) <= sources.keys() else _unpacked(base, sources)


def _merged(layer: Any, weight: Any) -> TensorSource:
    adapter = tuple(part for name, part in layer.named_parameters() if "lora_" in name)
    return TensorSource((weight, *adapter), partial(_merge, layer, weight))


def _merge(layer: Any, weight: torch.Tensor) -> torch.Tensor:
    """Return a weight with its adapter added, in float32."""
    (name,) = layer.active_adapters
    if name not in layer.lora_A:  # an embedding's
        delta = layer.get_delta_weight(name).float()
    else:
        product = layer.lora_B[name].weight.float() @ layer.lora_A[name].weight.float()
        delta = (product.t() if layer.fan_in_fan_out else product) * layer.scaling[name]
    return weight.detach().float() + delta.detach()


def _unpacked(model: Any, sources: dict[str, TensorSource]) -> dict[str, TensorSource]:
    from transformers.core_model_loading import revert_weight_conversion

    state = {}
    for name, source in sources.items():
        with whole(source.parameters):
            state[name] = source.make().cpu().clone()
    files = revert_weight_conversion(model, state)
    return {name: TensorSource((), tensor.detach) for name, tensor in files.items()}
