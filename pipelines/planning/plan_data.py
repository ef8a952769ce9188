"""A plan as plain data, as in `lidr plan --output json`, which adds simulation and power."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lidr.pipelines.planning.estimate import Estimate, PlanInputs, PlannedStep


def as_data(inputs: PlanInputs, plan: Estimate) -> dict[str, Any]:
    """Return a plan as JSON values.

    Returns:
        `recipe`, `profile`, `currency`, `parameters`, `calibration`; `stages`, one for each kind of
        step, summed over the iterations (`stage`, `times` that it runs, `pods` that it starts,
        `gpus` at once, `requests`, `prompt_tokens`, `output_tokens`, `seconds`, `gpu_hours`,
        `cost`) and `total` with the same keys; `memory`
        of a training rank in bytes, with `fits` and `remedy`; `store_bytes` by kind; `notes` and
        `sources` of the figures.
    """
    stages = _stages(plan)
    return {
        "recipe": inputs.recipe.name,
        "profile": inputs.profile.name,
        "currency": inputs.profile.prices.currency,
        "parameters": plan.parameters,
        "calibration": inputs.calibration.source if inputs.calibration else "",
        "stages": stages,
        "total": _total(plan, stages),
        "memory": {
            **asdict(plan.memory),
            "peak": plan.memory.peak,
            "fits": plan.fits,
            "remedy": plan.remedy,
        },
        "store_bytes": {name: round(size) for name, size in plan.store_bytes.items()},
        "notes": list(plan.notes),
        "sources": [source.model_dump() for source in inputs.figures.sources.values()],
    }


def _stages(plan: Estimate) -> list[dict[str, Any]]:
    names = dict.fromkeys(step.work.stage for step in plan.steps)
    return [_stage(name, [s for s in plan.steps if s.work.stage == name]) for name in names]


def _stage(name: str, steps: list[PlannedStep]) -> dict[str, Any]:
    works = [step.work for step in steps]
    return {
        "stage": name,
        "times": len(steps),
        "pods": sum(work.pods for work in works),
        "gpus": max(work.workers * work.gpus for work in works),
        "requests": sum(step.load.requests for step in steps),
        "prompt_tokens": round(sum(step.load.prompt_tokens for step in steps)),
        "output_tokens": round(sum(step.load.output_tokens for step in steps)),
        "seconds": sum(work.seconds for work in works),
        "gpu_hours": sum(work.gpu_hours for work in works),
        "cost": sum(work.gpu_hours * work.price for work in works),
    }


def _total(plan: Estimate, stages: list[dict[str, Any]]) -> dict[str, Any]:
    counted = ("requests", "prompt_tokens", "output_tokens")
    return {
        "stage": "total",
        "times": sum(stage["times"] for stage in stages),
        "pods": sum(stage["pods"] for stage in stages),
        "gpus": max(stage["gpus"] for stage in stages),
        **{name: sum(stage[name] for stage in stages) for name in counted},
        "seconds": plan.seconds,
        "gpu_hours": plan.gpu_hours,
        "cost": plan.cost,
    }
