"""Log-probabilities of many pairs of texts under one model, without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lidr.components.shared.core.events import Meter
from lidr.components.shared.forward.batches import Layout, token_budget
from lidr.components.shared.forward.scoring import score
from lidr.components.shared.forward.shares import RankPart, Sharing
from lidr.components.shared.forward.tokens import TokenPair


def shares(
    pairs: Sequence[TokenPair], layout: Layout, tokens: int, rank: int, world_size: int
) -> list[RankPart]:
    """Return one rank's micro-batches of pairs; the arguments are those of `pair_logps`."""
    sharing = Sharing(pairs, layout, token_budget(tokens, pairs), 0, world_size)
    return sharing.parts(range(len(pairs)), rank)


def pair_logps(
    model: Any,
    pairs: Sequence[TokenPair],
    layout: Layout,
    tokens: int,
    bfloat16: bool,
    meter: Meter,
    rank: int = 0,
    world_size: int = 1,
) -> torch.Tensor:
    """Score one rank's share of pairs with a model on its device.

    Args:
        model: after `install_scoring`.
        pairs: the pairs of all ranks.
        layout: layout of the model's batches, from `install_scoring`.
        tokens: most tokens of a micro-batch; 0 for those of the longest pair, at least 2048.
        bfloat16: whether to run the passes in bfloat16.
        meter: counts the pairs and tokens of this rank.
        rank: the rank whose share to score.
        world_size: how many ranks there are.

    Returns:
        Natural logs of P(chosen) and P(rejected), summed over tokens, (pairs, 2) in float32 on the
        CPU; 0 for the pairs of other ranks.
    """
    model.eval()
    values = torch.zeros(len(pairs), 2)
    for part in shares(pairs, layout, tokens, rank, world_size):
        batch = layout([pairs[row] for row in part.rows], model.device)
        with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
            found = score(model, batch).float().cpu()
        if part.counts:
            values[part.rows] = found
        meter.advance(len(part.rows), sum(pairs[row].tokens for row in part.rows))
    return values
