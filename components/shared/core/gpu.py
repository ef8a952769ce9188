"""Finds this machine's GPUs without torch, whose import takes seconds."""

from __future__ import annotations

import os
from pathlib import Path

from lidr.components.shared.core.errors import BadInput

TENSOR_PARALLEL = "LIDR_TENSOR_PARALLEL"
"""Environment variable: the tensor-parallel size, i.e. how many GPUs each layer is split over."""

_DRIVERS = {
    "CUDA_VISIBLE_DEVICES": Path("/dev/nvidiactl"),
    "HIP_VISIBLE_DEVICES": Path("/dev/kfd"),
}
"""The device file of each driver, and the variable that hides its GPUs from a process."""


def gpu_present() -> bool:
    """Return whether a GPU driver is loaded and its GPUs are not hidden from this process."""
    return any(
        driver.exists() and os.environ.get(variable, "all") not in ("", "-1")
        for variable, driver in _DRIVERS.items()
    )


def gpu_count() -> int:
    """Return how many GPUs this process may use; 0 without a driver."""
    if not gpu_present():
        return 0
    for variable in _DRIVERS:
        if visible := os.environ.get(variable):
            return len(visible.split(",")) if visible != "all" else _devices()
    return _devices()


def parallel_sizes(gpus: int) -> tuple[int, int]:
    """Return the tensor-parallel and the pipeline-parallel size; together they use all GPUs.

    LIDR_TENSOR_PARALLEL sets the first, which else is all GPUs. 0 GPUs count as 1.

    Raises:
        BadInput: LIDR_TENSOR_PARALLEL is not a divisor of the GPUs.
    """
    count = max(1, gpus)
    given = os.environ.get(TENSOR_PARALLEL) or str(count)
    parallel = int(given) if given.isdecimal() else 0
    if not gpus and parallel > 1:
        raise BadInput(
            f"no GPU is visible here, but {TENSOR_PARALLEL} asks for {parallel}",
            remedy="Check the node's driver and device plugin, or the image.",
        )
    if not parallel or count % parallel:
        raise BadInput(
            f"{TENSOR_PARALLEL}={given} does not divide the {gpus} GPU(s) of this machine",
            remedy="Set steps.<kind>.tensor_parallel in the profile to a divisor of accelerators.",
        )
    return parallel, count // parallel


def _devices() -> int:
    nvidia = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return nvidia or len(list(Path("/dev/dri").glob("renderD*"))) or 1
