"""Refuses a training run that cannot fit its accelerators, before anything is started."""

from __future__ import annotations

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import emit
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.models.sources import model_config
from lidr.components.shared.sizing.memory import GIB, MemoryPlan, plan_for, usable_bytes
from lidr.components.shared.sizing.remedies import memory_remedy
from lidr.components.train.job import TrainingJob


def require_fit(job: TrainingJob, launch: Launch) -> None:
    """Check a job against the profile's `training.gpu_memory_gib`; 0 checks nothing.

    Raises:
        BadInput: it does not fit; the remedy is what makes it fit.
    """
    if not launch.gpu_memory_gib:
        return
    plan = plan_of(job, launch)
    memory = launch.gpu_memory_gib * GIB
    if plan.fits(memory):
        has = f"its accelerator has {launch.gpu_memory_gib:g} GiB"
        emit("note", message=f"each rank needs {plan.memory()}; {has}")
        return
    remedy = memory_remedy(plan, memory, model_config(job.start), job.training, launch)
    raise BadInput(
        f"each rank of training would need {plan.memory()}; an accelerator of "
        f"{launch.gpu_memory_gib:g} GiB leaves {usable_bytes(memory) / GIB:.1f}",
        remedy=f"{remedy[0].upper()}{remedy[1:]}.",
    )


def plan_of(job: TrainingJob, launch: Launch) -> MemoryPlan:
    """Return the plan of a job on the profile's machines."""
    return plan_for(model_config(job.start), job.training, launch)
