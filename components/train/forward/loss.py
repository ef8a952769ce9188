"""The loss of one pair: L = dpo_weight * L_DPO(beta) + nll_weight * L_NLL(chosen).

The NLL term is the paper's (Iterative RPO, arXiv 2404.19733, equation 1): -log p(chosen) divided
by the chosen text's own length. TRL's `sft` loss divides by the tokens of a micro-batch instead, so
its objective depends on the micro-batch and the number of GPUs. Everything here is per pair; the
caller sums it and divides by the pairs of the whole optimizer step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid


@dataclass(frozen=True)
class PairLosses:
    """The losses of a batch of pairs, each a tensor of shape (pairs,).

    Attributes:
        dpo: -log sigmoid of the reward margin.
        nll: negative log-likelihood of the chosen text per token.
        chosen_logps: log-probability of the chosen text.
        rejected_logps: log-probability of the rejected text.
        chosen_rewards: beta times the chosen text's log-ratio to the reference.
        rejected_rewards: the same for the rejected text.
    """

    dpo: torch.Tensor
    nll: torch.Tensor
    chosen_logps: torch.Tensor
    rejected_logps: torch.Tensor
    chosen_rewards: torch.Tensor
    rejected_rewards: torch.Tensor


def pair_losses(
    logps: torch.Tensor, lengths: torch.Tensor, reference: torch.Tensor, beta: float
) -> PairLosses:
    """Return the losses of a batch of pairs.

    Args:
        logps: log-probabilities of the texts, chosen and rejected; (pairs, 2).
        lengths: tokens of the chosen texts; (pairs,).
        reference: the reference model's log-probabilities, as `logps`.
        beta: strength of the pull towards the reference.
    """
    chosen, rejected = logps.unbind(1)
    chosen_rewards, rejected_rewards = (beta * (logps - reference)).unbind(1)
    return PairLosses(
        dpo=-logsigmoid(chosen_rewards - rejected_rewards),
        nll=-chosen / lengths,
        chosen_logps=chosen,
        rejected_logps=rejected,
        chosen_rewards=chosen_rewards,
        rejected_rewards=rejected_rewards,
    )
