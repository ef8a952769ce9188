"""Whether this machine has the disk and the memory that a local run takes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.gpu import gpu_present
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, unknown
from lidr.pipelines.planning.estimate import PlanInputs as Planned
from lidr.pipelines.planning.estimate import needs
from lidr.pipelines.planning.figures import figures
from lidr.pipelines.planning.requests import read_prompts
from lidr.pipelines.planning.shapes import model_config

_GIB = 1 << 30


def findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield what is free here, against what the run leaves and training needs."""
    try:
        store, rank = _needs(inputs)
    except LidrError as error:
        yield unknown("disk space", f"{_free(inputs) / _GIB:,.1f} GiB are free; {error.message}")
        yield unknown("memory", f"{_memory() / _GIB:,.1f} GiB are free")
        return
    if "://" not in inputs.profile.store:
        free = _free(inputs)
        told = f"the run leaves {store / _GIB:,.1f} GiB, {free / _GIB:,.1f} are free"
        remedy = "Free some space, or set store to another place; lidr prune removes old stages."
        yield ok("disk space", told) if store < free else missing("disk space", told, remedy)
    if gpu_present():
        yield ok("memory", "training uses the GPU's; lidr plan says what it needs")
        return
    free, need = _memory(), rank * max(1, inputs.profile.training.processes)
    told = f"training needs {need / _GIB:,.1f} GiB, {free / _GIB:,.1f} are free"
    remedy = "Use training.lora or a smaller model, end other programs, or choose another machine."
    yield ok("memory", told) if need < free else missing("memory", told, remedy)


def _needs(inputs: CheckInputs) -> tuple[float, float]:
    """Return the bytes that a run leaves on the store, and those of one rank while training."""
    config = model_config(inputs.recipe.model)
    planned = Planned(inputs.recipe, inputs.profile, config, read_prompts(inputs.recipe), figures())
    return needs(planned)


def _free(inputs: CheckInputs) -> int:
    place = Path(inputs.profile.store).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _memory() -> int:
    """Return the bytes that programs could have now."""
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
