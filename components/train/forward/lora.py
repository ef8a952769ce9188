"""Low-rank adapters (peft), added to a model before training."""

from __future__ import annotations

from typing import Any

import torch

from lidr.components.shared.config.training import Lora
from lidr.components.shared.core.events import emit
from lidr.components.shared.models.adapters import adapter_layers, expert_blocks


def add_adapters(model: Any, lora: Lora, seed: int) -> Any:
    """Return the model with adapters, the only weights that are trained.

    Args:
        model: a causal language model.
        lora: the recipe's settings.
        seed: of the adapters' initial values.

    Raises:
        BadInput: a target names no layer of this model, or one whose adapter would be lost.
    """
    from peft import LoraConfig, get_peft_model

    layers = adapter_layers(model, lora.targets, merge=lora.merge)
    if expert_blocks(model):
        named = ", ".join(sorted({name.rpartition(".")[2] for name in layers}))
        emit("note", message=f"a mixture of experts: adapters on {named}; the experts have none")
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=layers,
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    return get_peft_model(model, config)
