"""What a training run measures in each optimizer step, and what in it speaks against the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from lidr.components.shared.core.events import emit
from lidr.components.shared.forward.tokens import TokenPair
from lidr.components.train.forward.loss import PairLosses

Row = Mapping[str, float]

_SUMMED = (
    "loss",
    "dpo_loss",
    "nll_loss",
    "reward_margin",
    "reward_accuracy",
    "chosen_reward",
    "rejected_reward",
    "chosen_logps",
    "rejected_logps",
    "tokens",
    "differ",
    "pairs",
)

_NOISE = 1e-3
"""Margins below it are rounding: reference and policy see the same pair in different batches."""
_FALL = 0.05
"""Share of the reference's log-probability that a chosen text may lose before it is a warning."""


class StepSums:
    """Sums over the pairs of one optimizer step, which ranks can add up."""

    def __init__(self) -> None:
        self.pairs: list[TokenPair] = []
        self._sums = torch.zeros(len(_SUMMED))

    def add(self, loss: torch.Tensor, losses: PairLosses, pairs: Sequence[TokenPair]) -> None:
        """Add a micro-batch: what each pair cost, and in parts.

        Args:
            loss: (pairs,).
            losses: its parts.
            pairs: the pairs themselves.
        """
        margins = losses.chosen_rewards - losses.rejected_rewards
        tokens = loss.new_tensor([pair.tokens for pair in pairs])
        differ = loss.new_tensor([pair.chosen != pair.rejected for pair in pairs])
        columns = [
            loss,
            losses.dpo,
            losses.nll,
            margins,
            _won(margins) * differ,
            losses.chosen_rewards,
            losses.rejected_rewards,
            losses.chosen_logps,
            losses.rejected_logps,
            tokens,
            differ,
            torch.ones_like(differ),
        ]
        sums = torch.stack([column.detach().float() for column in columns]).sum(dim=1)
        self._sums = self._sums.to(sums.device) + sums
        self.pairs += pairs

    def means(self, reduce: Callable[[torch.Tensor], torch.Tensor]) -> tuple[dict[str, float], int]:
        """Return the means over the pairs of all ranks, and their tokens.

        Args:
            reduce: adds a tensor up over ranks.
        """
        totals = dict(zip(_SUMMED, reduce(self._sums).tolist(), strict=True))
        pairs, differ, tokens = (totals.pop(name) for name in ("pairs", "differ", "tokens"))
        right = totals["reward_accuracy"]
        means = {name: total / pairs for name, total in totals.items()}
        # Pairs of identical sides have no order.
        means["reward_accuracy"] = right / differ if differ else 0.5
        return means, int(tokens)


class Watch:
    """Warns of each kind of trouble once, as soon as a tenth of the run shows it.

    Args:
        beta: what rewards are multiplied by.
    """

    def __init__(self, beta: float) -> None:
        self._beta = beta
        self._warned: set[str] = set()

    def look(self, rows: Sequence[Row], steps: int) -> None:
        """Look at the steps so far, at the end of each tenth of a run of so many."""
        part = max(1, steps // 10)
        if len(rows) % part == 0:
            self._warn(troubles(rows[-part:], self._beta))

    def judge(self, rows: Sequence[Row]) -> list[str]:
        """Return what the last tenth of a whole run shows, and warn the user of what is new."""
        found = troubles(rows[-max(1, len(rows) // 10) :], self._beta)
        self._warn(found)
        return list(found.values())

    def _warn(self, found: Mapping[str, str]) -> None:
        for kind, message in found.items():
            if kind not in self._warned:
                emit("warning", message=message)
            self._warned.add(kind)


def _won(margins: torch.Tensor) -> torch.Tensor:
    """Return 1 for a chosen text that is preferred, 0 for a rejected one, one half for a tie.

    Before its first update the policy is the reference, and every pair is a tie.
    """
    return torch.where(margins.abs() <= _NOISE, 0.5, (margins > 0).to(margins.dtype))


def troubles(rows: Sequence[Row], beta: float) -> dict[str, str]:
    """Return what speaks against a model that was trained with these last steps, by kind.

    Args:
        rows: the metrics of some steps in a row.
        beta: what rewards are multiplied by.
    """
    found = {}
    accuracy = _mean(rows, "reward_accuracy")
    if accuracy < 0.5 and _mean(rows, "reward_margin") < -_NOISE:
        found["inverted"] = (
            "rewards are inverted: the model prefers the chosen text in only "
            f"{accuracy:.0%} of the last pairs"
        )
    fall = -_mean(rows, "chosen_reward") / beta
    before = -_mean(rows, "chosen_logps") - fall
    if fall > _FALL * before:
        found["falling"] = (
            "the chosen texts become less likely: their log-probability fell from "
            f"{-before:.1f} to {-before - fall:.1f}; raise training.nll_weight"
        )
    return found


def without(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Return a row without what is no metric."""
    return {key: value for key, value in row.items() if key not in names}


def _mean(rows: Sequence[Row], key: str) -> float:
    return sum(row[key] for row in rows) / len(rows)
