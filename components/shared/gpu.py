"""Whether this machine has a GPU, without asking torch: importing it takes seconds."""

from __future__ import annotations

import os
from pathlib import Path

_DRIVERS = {
    "CUDA_VISIBLE_DEVICES": Path("/dev/nvidiactl"),
    "HIP_VISIBLE_DEVICES": Path("/dev/kfd"),
}
"""The device file of each driver, and the variable that hides its GPUs from a process."""


def gpu_present() -> bool:
    """Tell whether a GPU driver is here and its GPUs are not hidden."""
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


def _devices() -> int:
    nvidia = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return nvidia or len(list(Path("/dev/dri").glob("renderD*"))) or 1
