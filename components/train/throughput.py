"""Share of a GPU's arithmetic that training uses (MFU, arXiv 2204.02311, appendix B)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lidr.components.shared.forward.loading import num_elements
from lidr.components.shared.forward.tokens import TokenPair

_PEAK_FLOPS = {
    "B200": 2250e12,
    "GB200": 2500e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "A10G": 70e12,
    "A10": 125e12,
    "L4": 121e12,
}
"""Dense bfloat16 FLOP/s by words of the device's name; the first match counts (data sheets)."""


def peak_flops(device_name: str) -> float:
    """Return a GPU's dense bfloat16 FLOP/s, or 0 if unknown."""
    words = set(re.split(r"[^A-Z0-9]+", device_name.upper()))
    return next(
        (peak for name, peak in _PEAK_FLOPS.items() if words >= set(name.upper().split())), 0.0
    )


@dataclass(frozen=True)
class StepWork:
    """The arithmetic of forward and backward passes; recomputation is not counted.

    Attributes:
        body: weights that every token is multiplied with, forward and for gradients.
        head: weights of the head, which only response tokens pass through.
        attention: FLOPs of one query and one key, forward, over all layers and heads.
        passes: matrix products per weight: 3 in full fine-tuning, 2 where weights are frozen.
    """

    body: int
    head: int
    attention: int
    passes: int

    def flops(self, pairs: Sequence[TokenPair]) -> float:
        """Return the FLOPs of an optimizer step over pairs."""
        total = 0.0
        for pair in pairs:
            prompt, chosen, rejected = map(len, (pair.prompt, pair.chosen, pair.rejected))
            seen = (prompt + chosen) ** 2 / 2 + rejected * prompt + rejected**2 / 2
            weights = self.body * pair.tokens + self.head * (chosen + rejected)
            total += 2 * self.passes * weights + 3 * self.attention * seen
        return total


def work_of(model: Any) -> StepWork | None:
    """Return a causal language model's work; None for experts, as a token uses only some."""
    config = model.config.get_text_config()
    if any("expert" in name and value for name, value in config.to_dict().items()):
        return None
    body = sum(map(num_elements, model.base_model.parameters()))
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    weight: torch.Tensor = model.get_output_embeddings().weight
    return StepWork(
        body=body - num_elements(model.get_input_embeddings().weight),
        head=num_elements(weight),
        attention=4 * config.num_hidden_layers * heads * size,
        passes=3 if weight.requires_grad else 2,
    )
