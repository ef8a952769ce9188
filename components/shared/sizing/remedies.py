"""Settings with which a training run fits its accelerators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lidr.components.shared.config.training import Training
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.sizing.memory import MemoryPlan, batch_bounds


def memory_remedy(
    plan: MemoryPlan, memory: float, config: Mapping[str, Any], settings: Training, launch: Launch
) -> str:
    """Return how to make a plan fit that does not, as the rest of a sentence.

    Args:
        plan: from `plan_for` with the following arguments.
        memory: of an accelerator, in bytes.
        config: the model's config.json.
        settings: the recipe's training section.
        launch: from the profile.
    """
    if nearest := plan.nearest_fit(memory):
        return f"set {', '.join(plan.changes_to(nearest))}, which needs {nearest.memory()}"
    if _fits_smaller(plan, memory):
        smaller = smaller_batch(config, settings, launch)
        return f"set {smaller}, or choose accelerators with more memory"
    return "choose accelerators with more memory, or a smaller model"


def smaller_batch(config: Mapping[str, Any], settings: Training, launch: Launch) -> str:
    """Return the settings with which the micro-batch of `plan_for` has fewer tokens."""
    budget, pair = batch_bounds(config, settings, launch)
    changes = [f"training.max_length below {pair // 2}"] if pair >= budget else []
    if budget >= pair:
        changes.append(f"training.micro_batch_tokens in the profile below {budget}")
    return " and ".join(changes)


def _fits_smaller(plan: MemoryPlan, memory: float) -> bool:
    """Return whether a plan could fit with a smaller micro-batch, down to one token."""
    return replace(plan, tokens=1).nearest_fit(memory) is not None
