"""Log-probabilities of many pairs of texts under one model, without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lidr.components.shared.core.events import Meter
from lidr.components.shared.forward.batches import Layout, token_budget
from lidr.components.shared.forward.scoring import score
from lidr.components.shared.forward.shares import Sharing
from lidr.components.shared.forward.tokens import TokenPair


def pair_logps(
    model: Any,
    pairs: Sequence[TokenPair],
    layout: Layout,
    tokens: int,
    bfloat16: bool,
    unit: str,
    rank: int = 0,
    world_size: int = 1,
) -> torch.Tensor:
    """Score one rank's share of pairs with a model on its device.

    Args:
        model: after `install_scoring`.
        pairs: those of all ranks.
        layout: of the model's batches, from `install_scoring`.
        tokens: of a micro-batch; 0: as many as the longest pair has, at least 2048.
        bfloat16: run the passes in bfloat16.
        unit: name of the pairs in the progress display.
        rank: whose share.
        world_size: how many ranks there are.

    Returns:
        Natural logs of P(chosen) and P(rejected), summed over tokens, (pairs, 2) in float32 on the
        CPU; 0 for the pairs of other ranks.
    """
    model.eval()
    values = torch.zeros(len(pairs), 2)
    sharing = Sharing(pairs, layout, token_budget(tokens, pairs), 0, world_size)
    parts = sharing.parts(range(len(pairs)), rank)
    meter = Meter(sum(len(part.rows) for part in parts), unit, "tokens")
    for part in parts:
        batch = layout([pairs[row] for row in part.rows], model.device)
        with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
            found = score(model, batch).float().cpu()
        if part.counts:
            values[part.rows] = found
        meter.advance(len(part.rows), sum(pairs[row].tokens for row in part.rows))
    return values
