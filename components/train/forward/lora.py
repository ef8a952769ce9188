"""Low-rank adapters (peft): put on before training, merged into the weights after it."""

from __future__ import annotations

from typing import Any

import torch

from lidr.components.shared.config.recipe import Lora
from lidr.components.shared.core.errors import BadInput


def add_adapters(model: Any, lora: Lora, seed: int) -> Any:
    """Return the model with adapters, which alone are trained.

    Args:
        model: a causal language model.
        lora: the recipe's settings.
        seed: of the adapters' first values.

    Raises:
        BadInput: the targets name no layers of this model, or its head.
    """
    from peft import LoraConfig, get_peft_model

    head = [
        name for name, module in model.named_modules() if module is model.get_output_embeddings()
    ]
    if set(head) & set(lora.targets):
        raise BadInput(
            f"training.lora.targets names {head[0]}, the head, which cannot have an adapter",
            remedy="Leave it out.",
        )
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or "all-linear",
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise BadInput(
            f"training.lora.targets {', '.join(lora.targets)} cannot have adapters ({error})",
            remedy="Name linear layers of the model, e.g. q_proj and v_proj, or leave it empty.",
        ) from error
