"""Simulate a plan: time and cost for given numbers of GPUs, with lost nodes and busy quotas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidr.pipelines.planning.estimate import Estimate, PlanInputs, estimate
from lidr.pipelines.planning.scaling import with_gpus
from lidr.pipelines.planning.simulator import REPLICATIONS, SimulatedOutcome, Trouble, simulate

_STATISTICS = ("mean", "low", "high", "p10", "median", "p90")


@dataclass(frozen=True)
class Scenario:
    """What to simulate.

    Attributes:
        gpus: numbers of GPUs to try, one row each; if empty, one row for the profile as it is, with
            a quota of as many GPUs as the run holds at most at a time.
        trouble: what goes wrong: lost nodes, slow nodes, other tenants.
        replications: simulations per row.
        seed: seed of the random numbers.
    """

    gpus: Sequence[int]
    trouble: Trouble
    replications: int = REPLICATIONS
    seed: int = 0


def simulate_plan(inputs: PlanInputs, scenario: Scenario) -> list[dict[str, Any]]:
    """Simulate a recipe with each number of GPUs.

    Returns:
        A row for each: `gpus`; `seconds`, `gpu_hours` and `cost`, each with `mean`, `low` and
        `high` (the mean's 95% confidence interval), `p10`, `median` and `p90`, all None if a
        replication never ends; the means `nodes_lost` and `waited_seconds`, None in the same case;
        `never` (the first step that would never end, because its nodes are lost before they finish
        a piece, else ""); `fits` and `notes`.

    Raises:
        BadInput: the profile's steps have no GPUs, or need more than a given number.
    """
    if not scenario.gpus:
        plan = estimate(inputs)
        return [_row(plan, _peak(plan), scenario)]
    sized = (
        replace(inputs, profile=with_gpus(inputs.profile, inputs.recipe, gpus))
        for gpus in scenario.gpus
    )
    return [
        _row(estimate(each), gpus, scenario)
        for each, gpus in zip(sized, scenario.gpus, strict=True)
    ]


def _row(plan: Estimate, gpus: int, scenario: Scenario) -> dict[str, Any]:
    found = simulate(
        plan.works,
        max(gpus, 1),
        scenario.trouble,
        replications=scenario.replications,
        seed=scenario.seed,
    )
    total = np.sum(list(found.gpu_hours.values()), axis=0)
    ended = np.isfinite(found.seconds)
    return {
        "gpus": gpus,
        "seconds": _summary(found.seconds),
        "gpu_hours": _summary(total),
        # `found.cost` is finite if the step that never ends has no price.
        "cost": _summary(np.where(ended, found.cost, np.inf)),
        "nodes_lost": _summary(np.where(ended, found.lost, np.inf))["mean"],
        "waited_seconds": _summary(np.where(ended, found.waited, np.inf))["mean"],
        "never": _stuck_step(found),
        "fits": plan.fits,
        "notes": _own_notes(plan),
    }


def _peak(plan: Estimate) -> int:
    """Return the largest number of GPUs that a step holds at once."""
    return max((work.workers * work.gpus for work in plan.works), default=0)


def _stuck_step(found: SimulatedOutcome) -> str:
    return next((name for name, hours in found.gpu_hours.items() if np.isinf(hours).any()), "")


def _own_notes(plan: Estimate) -> list[str]:
    """Return the notes that depend on the number of GPUs; the plan has the others."""
    misfit = f"training does not fit: {plan.remedy}" if plan.remedy else ""
    return [note for note in (plan.idle_shards, misfit) if note]


def _summary(values: NDArray[np.float64]) -> dict[str, float | None]:
    if not np.isfinite(values).all():
        return dict.fromkeys(_STATISTICS)
    mean = float(values.mean())
    error = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    quantiles = np.quantile(values, (0.1, 0.5, 0.9)).tolist()
    return dict(zip(_STATISTICS, (mean, mean - error, mean + error, *quantiles), strict=True))
