"""Rotary embeddings for each sequence of a batch by itself, as if the model read nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch


def split_rotary(model: Any) -> None:
    """Apply a model's rotary embeddings to one sequence at a time.

    Args:
        model: a model of transformers; a sequence begins at each position 0.
    """
    for module in model.modules():
        if hasattr(module, "rope_type") and hasattr(module, "attention_scaling"):
            module.forward = partial(_by_sequence, module.forward)


def _by_sequence(
    forward: Callable[..., tuple[torch.Tensor, torch.Tensor]],
    x: torch.Tensor,
    position_ids: torch.Tensor,
    **given: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    starts = (position_ids[0] == 0).nonzero()[1:, 0].tolist()
    parts = [forward(x, part, **given) for part in position_ids.tensor_split(starts, dim=1)]
    cosines, sines = zip(*parts, strict=True)
    return torch.cat(cosines, dim=1), torch.cat(sines, dim=1)
