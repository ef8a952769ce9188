"""How long with so many GPUs, and what if nodes are lost: an estimate, simulated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidr.pipelines.planning.estimate import Estimate, PlanInputs, estimate, with_gpus
from lidr.pipelines.planning.simulator import SimulatedOutcome, Trouble, simulate


@dataclass(frozen=True)
class Scenario:
    """What is to be simulated.

    Attributes:
        gpus: how many there are, once for each row; empty for those of the profile.
        trouble: what goes wrong.
        replications: of each row.
        seed: of everything that is drawn.
    """

    gpus: Sequence[int]
    trouble: Trouble
    replications: int = 200
    seed: int = 0


def play(inputs: PlanInputs, scenario: Scenario) -> list[dict[str, Any]]:
    """Simulate a recipe with each number of GPUs.

    Returns:
        A row for each: `gpus`, `seconds`, `gpu_hours` and `cost` (`mean`, `low` and `high` of the
        mean's 95% interval, `p10`, `median`, `p90`), means of `nodes_lost` and `waited_seconds`,
        `never` (the step that loses its nodes faster than it works, else ""), `fits` and `notes`.
        What has no end is None.

    Raises:
        BadInput: a number of GPUs does not do for the profile's pods.
    """
    if not scenario.gpus:
        plan = estimate(inputs)
        return [_row(plan, _peak(plan), scenario)]
    sized = (replace(inputs, profile=with_gpus(inputs.profile, gpus)) for gpus in scenario.gpus)
    return [
        _row(estimate(each), gpus, scenario)
        for each, gpus in zip(sized, scenario.gpus, strict=True)
    ]


def _row(plan: Estimate, gpus: int, scenario: Scenario) -> dict[str, Any]:
    found = simulate(
        plan.works,
        max(gpus, _peak(plan)),
        scenario.trouble,
        replications=scenario.replications,
        seed=scenario.seed,
    )
    total = np.sum(list(found.gpu_hours.values()), axis=0)
    return {
        "gpus": gpus,
        "seconds": _summary(found.seconds),
        "gpu_hours": _summary(total),
        "cost": _summary(found.cost),
        "nodes_lost": float(found.lost.mean()),
        "waited_seconds": float(found.waited.mean()),
        "never": _never(found),
        "fits": plan.fits,
        "notes": _own_notes(plan),
    }


def _peak(plan: Estimate) -> int:
    """Return the most GPUs that a step holds at once."""
    return max([work.workers * work.gpus for work in plan.works] + [1])


def _never(found: SimulatedOutcome) -> str:
    return next((name for name, hours in found.gpu_hours.items() if np.isinf(hours).any()), "")


def _own_notes(plan: Estimate) -> list[str]:
    """Return what is to be said of this number of GPUs, not of the recipe."""
    notes = [note for note in plan.notes if "have nothing to do" in note]
    return [*notes, *([f"training does not fit: {plan.remedy}"] if plan.remedy else [])]


def _summary(values: NDArray[np.float64]) -> dict[str, float | None]:
    if not np.isfinite(values).all():
        return dict.fromkeys(("mean", "low", "high", "p10", "median", "p90"))
    mean = float(values.mean())
    error = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    p10, median, p90 = (float(value) for value in np.quantile(values, (0.1, 0.5, 0.9)))
    return {
        "mean": mean,
        "low": mean - error,
        "high": mean + error,
        "p10": p10,
        "median": median,
        "p90": p90,
    }
