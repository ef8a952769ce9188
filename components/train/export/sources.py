"""Where each tensor of a trained model comes from: a parameter, or one with its adapter added."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from lidr.components.train.distributed.zero import full


@dataclass(frozen=True)
class TensorSource:
    """One tensor, not there yet.

    Attributes:
        parameters: what it is made from; its own first.
        make: returns it, from their values.
        added: what it makes is added to the start model's tensor, which may be more precise in its
            file than in memory; where it is made from nothing, that stays as it is.
    """

    parameters: tuple[Any, ...]
    make: Callable[..., torch.Tensor]
    added: bool = False

    def value(self, old: torch.Tensor | None = None, *, keep: bool = True) -> torch.Tensor | None:
        """Return the tensor on the CPU; every rank must call this, and who keeps nothing gets None.

        In the optimizer's precision where that is higher than the one of passes.

        Args:
            old: the start model's tensor.
            keep: whether this rank wants it.
        """
        values = [full(parameter) for parameter in self.parameters]
        if not keep:
            return None
        if not values and self.added:
            return old
        made = self.make(*values).cpu()
        return made if old is None or not self.added else old.float() + made


def sources_of(model: Any, names: Collection[str], *, summed: bool) -> dict[str, TensorSource]:
    """Return a source for each tensor of a model, adapters merged into their weights.

    Args:
        model: a causal language model of transformers, with peft's adapters or without.
        names: of the tensors in the files it was loaded from. Where loading has packed several into
            one parameter (the experts of some models), every rank unpacks the whole model.
        summed: the model in memory is more than its files: an adapter was merged as it was loaded.
    """
    sources = parameter_sources(model)
    adapted = {name: source for name, source in sources.items() if len(source.parameters) > 1}
    if adapted and adapted.keys() <= set(names) and not summed:
        kept = dict.fromkeys(names, TensorSource((), _same, added=True))
        return kept | {name: on_file(source) for name, source in adapted.items()}
    return sources if set(names) <= sources.keys() else _unpacked(bare(model), sources)


def on_file(source: TensorSource) -> TensorSource:
    """Return the source of what an adapter adds to the start model's tensor."""
    return TensorSource(source.parameters[1:], partial(source.make, 0), added=True)


def bare(model: Any) -> Any:
    """Return the model of transformers, also where peft's is around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def parameter_sources(model: Any) -> dict[str, TensorSource]:
    """Return a source for each tensor of a model as it is in memory, adapters merged."""
    base = bare(model)
    sources = {}
    for key, tensor in base.state_dict(keep_vars=True).items():
        holder, adapted, rest = key.partition(".base_layer.")
        if adapted and rest == "weight":
            sources[f"{holder}.weight"] = _merged(base.get_submodule(holder), tensor)
        elif ".lora_" not in key:
            name = f"{holder}.{rest}" if adapted else key
            sources[name] = TensorSource((tensor,), _same)
    return sources


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _merged(layer: Any, weight: Any) -> TensorSource:
    (name,) = layer.active_adapters
    scale = layer.scaling[name]
    if name in layer.lora_A:
        down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
        turned = layer.fan_in_fan_out
    else:  # an embedding's, which has a row for each token
        down, up = layer.lora_embedding_A[name], layer.lora_embedding_B[name]
        turned = True
    return TensorSource((weight, down, up), partial(_sum, scale=scale, turned=turned))


def _sum(
    weight: Any, down: torch.Tensor, up: torch.Tensor, *, scale: float, turned: bool
) -> torch.Tensor:
    """Return a weight, or 0, with its adapter added, in float32."""
    product = up.float() @ down.float()
    delta = (product.t() if turned else product) * scale
    return delta if isinstance(weight, int) else weight.float() + delta


def _unpacked(model: Any, sources: dict[str, TensorSource]) -> dict[str, TensorSource]:
    from transformers.core_model_loading import revert_weight_conversion

    state = {name: source.value() for name, source in sources.items()}
    files = revert_weight_conversion(model, state)
    return {name: TensorSource((), partial(_same, tensor)) for name, tensor in files.items()}
