"""Metrics of each optimizer step, and the warnings that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from lidr.components.shared.config.training import Training
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

_TIE_MARGIN = 1e-3
"""Margins up to this are rounding: reference and policy see the same pair in different batches."""
_MAX_FALL = 0.05
"""How far the chosen texts' log-probability may fall without a warning, as a share of the
reference's."""


class StepSums:
    """Sums over the pairs of one optimizer step, which ranks can add up."""

    def __init__(self) -> None:
        self.pairs: list[TokenPair] = []
        self._sums = torch.zeros(len(_SUMMED))

    def add(self, loss: torch.Tensor, losses: PairLosses, pairs: Sequence[TokenPair]) -> None:
        """Add a micro-batch: each pair's loss, (pairs,), and its parts."""
        margins = losses.chosen_rewards - losses.rejected_rewards
        tokens = loss.new_tensor([pair.tokens for pair in pairs])
        differ = loss.new_tensor([pair.chosen != pair.rejected for pair in pairs])
        columns = [
            loss,
            losses.dpo,
            losses.nll,
            margins,
            _wins(margins) * differ,
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
            reduce: sums a tensor over ranks.
        """
        totals = dict(zip(_SUMMED, reduce(self._sums).tolist(), strict=True))
        pairs, differ, tokens = (totals.pop(name) for name in ("pairs", "differ", "tokens"))
        right = totals["reward_accuracy"]
        means = {name: total / pairs for name, total in totals.items()}
        # Pairs of identical sides have no order.
        means["reward_accuracy"] = right / differ if differ else 0.5
        return means, int(tokens)


class TroubleMonitor:
    """Warns of each kind of trouble once, as soon as a tenth of the run shows it.

    Args:
        settings: the recipe's.
    """

    def __init__(self, settings: Training) -> None:
        self._settings = settings
        self._warned: set[str] = set()

    def check(self, rows: Sequence[Row], steps: int) -> None:
        """At the end of each tenth of the run, warn of what that tenth shows.

        Args:
            rows: of all steps so far.
            steps: of the whole run.
        """
        part = max(1, steps // 10)
        if len(rows) % part == 0:
            self._warn(find_troubles(rows[-part:], self._settings))

    def check_end(self, rows: Sequence[Row]) -> list[str]:
        """Return the troubles in the last tenth of a whole run; warn of the new ones."""
        found = find_troubles(rows[-max(1, len(rows) // 10) :], self._settings)
        self._warn(found)
        return list(found.values())

    def _warn(self, found: Mapping[str, str]) -> None:
        for kind, message in found.items():
            if kind not in self._warned:
                emit("warning", message=message)
            self._warned.add(kind)


def _wins(margins: torch.Tensor) -> torch.Tensor:
    """Return 1 where the chosen text is preferred, 0 where the rejected one is, 0.5 for a tie.

    Where training starts from the reference, every pair is a tie before the first update.
    """
    return torch.where(margins.abs() <= _TIE_MARGIN, 0.5, (margins > 0).to(margins.dtype))


def find_troubles(rows: Sequence[Row], settings: Training) -> dict[str, str]:
    """Return warnings about a model after these steps, by kind.

    Args:
        rows: the metrics of consecutive steps.
        settings: the recipe's.
    """
    found = {}
    accuracy = _mean(rows, "reward_accuracy")
    if accuracy < 0.5 and _mean(rows, "reward_margin") < -_TIE_MARGIN:
        found["inverted"] = (
            "rewards are inverted: the model prefers the chosen text in only "
            f"{accuracy:.0%} of the last pairs"
        )
    fall = -_mean(rows, "chosen_reward") / settings.beta
    before = -_mean(rows, "chosen_logps") - fall
    if fall > _MAX_FALL * before:
        # Without DPO the weight is a factor of the loss, which no step of AdamW depends on.
        remedy = (
            "raise training.nll_weight" if settings.dpo_weight else "lower training.learning_rate"
        )
        found["falling"] = (
            "the chosen texts become less likely: their log-probability fell from "
            f"{-before:.1f} to {-before - fall:.1f}; {remedy}"
        )
    return found


def _mean(rows: Sequence[Row], key: str) -> float:
    return sum(row[key] for row in rows) / len(rows)
