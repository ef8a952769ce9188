from __future__ import annotations

import math

import pytest
import torch

from components.train.loss import pair_losses


def by_hand(token_logps, mask, reference, beta):
    """L_DPO and L_NLL of each pair in plain float64 Python."""
    pairs = len(mask) // 2
    sums = [
        sum(p for p, m in zip(*row, strict=True) if m)
        for row in zip(token_logps, mask, strict=True)
    ]
    found = []
    for pair in range(pairs):
        chosen, rejected = sums[pair], sums[pair + pairs]
        margin = beta * ((chosen - reference[pair][0]) - (rejected - reference[pair][1]))
        dpo = math.log1p(math.exp(-margin)) if margin > 0 else math.log1p(math.exp(margin)) - margin
        found.append((dpo, -chosen / sum(mask[pair])))
    return found


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_pairs_cost_what_the_paper_says(beta: float):
    generator = torch.Generator().manual_seed(0)
    mask = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 1]])
    logps = -torch.rand(4, 4, generator=generator) * 5 * mask
    reference = -torch.rand(2, 2, generator=generator) * 9
    losses = pair_losses(logps, mask, reference, beta)
    expected = by_hand(logps.double().tolist(), mask.tolist(), reference.double().tolist(), beta)
    assert losses.dpo.tolist() == pytest.approx([dpo for dpo, _ in expected], rel=1e-6)
    assert losses.nll.tolist() == pytest.approx([nll for _, nll in expected], rel=1e-6)
    margins = losses.chosen_rewards - losses.rejected_rewards
    assert torch.equal(losses.dpo, -torch.nn.functional.logsigmoid(margins))
