from __future__ import annotations

import math

import pytest
import torch

from lidr.components.train.forward.loss import pair_losses


def by_hand(chosen, rejected, length, reference, beta):
    """L_DPO and L_NLL of a pair in plain float64 Python."""
    margin = beta * ((chosen - reference[0]) - (rejected - reference[1]))
    dpo = math.log1p(math.exp(-margin)) if margin > 0 else math.log1p(math.exp(margin)) - margin
    return dpo, -chosen / length


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_pairs_cost_what_the_paper_says(beta: float):
    generator = torch.Generator().manual_seed(0)
    logps, reference = (-torch.rand(4, 2, generator=generator) * 20 for _ in range(2))
    lengths = torch.tensor([3.0, 1.0, 7.0, 2.0])
    losses = pair_losses(logps, lengths, reference, beta)
    given = zip(logps.double().tolist(), lengths.tolist(), reference.double().tolist(), strict=True)
    expected = [by_hand(*pair, length, known, beta) for pair, length, known in given]
    assert losses.dpo.tolist() == pytest.approx([dpo for dpo, _ in expected], rel=1e-6)
    assert losses.nll.tolist() == pytest.approx([nll for _, nll in expected], rel=1e-6)
    margins = losses.chosen_rewards - losses.rejected_rewards
    assert torch.equal(losses.dpo, -torch.nn.functional.logsigmoid(margins))
