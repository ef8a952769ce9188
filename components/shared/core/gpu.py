"""Whether this machine has a GPU, without asking torch: importing it takes seconds."""

from __future__ import annotations

import os
from pathlib import Path

from lidr.components.shared.core.errors import BadInput

TENSOR_PARALLEL = "LIDR_TENSOR_PARALLEL"
"""Environment variable: GPUs that a layer is split over, in a process that has several."""

_DRIVERS = {
    "CUDA_VISIBLE_DEVICES": Path("/dev/nvidiactl"),
    "HIP_VISIBLE_DEVICES": Path("/dev/kfd"),
}
"""The device file of each driver, and the variable that hides its GPUs from a process."""


def gpu_present() -> bool:
    """Return whether a GPU driver is here and its GPUs are not hidden."""
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


def split_of(gpus: int) -> tuple[int, int]:
    """Return over how many GPUs a layer is split, and into how many stages the layers are.

    LIDR_TENSOR_PARALLEL says the first; unset or empty, all GPUs share every layer.

    Args:
        gpus: how many there are; 0 counts as one processor.

    Raises:
        BadInput: they cannot be shared out so.
    """
    count = max(1, gpus)
    given = os.environ.get(TENSOR_PARALLEL) or str(count)
    parallel = int(given) if given.isdecimal() else 0
    if not parallel or count % parallel:
        raise BadInput(
            f"{TENSOR_PARALLEL}={given} does not divide the {gpus} GPU(s) of this machine",
            remedy="Set steps.<kind>.tensor_parallel in the profile to a divisor of accelerators.",
        )
    return parallel, count // parallel


def _devices() -> int:
    nvidia = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return nvidia or len(list(Path("/dev/dri").glob("renderD*"))) or 1
