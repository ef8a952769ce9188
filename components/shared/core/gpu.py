"""Finds this machine's GPUs without torch, whose import takes seconds."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

from lidr.components.shared.core.errors import BadInput

TENSOR_PARALLEL = "LIDR_TENSOR_PARALLEL"
"""Environment variable: the tensor-parallel size, i.e. how many GPUs each layer is split over."""

_DRIVERS: tuple[tuple[tuple[str, ...], Path, str], ...] = (
    (("CUDA_VISIBLE_DEVICES",), Path("/dev/nvidiactl"), "nvidia[0-9]*"),
    (("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"), Path("/dev/kfd"), "dri/renderD*"),
)
"""Of each driver: the variables that hide its GPUs from a process, the first one set taking
precedence; its device file; and the pattern of its GPUs' files in the same folder."""

_NO_GPU = ("-1", "NoDevFiles")
"""Ends the list of visible GPUs; Slurm writes the second."""


def gpu_present() -> bool:
    """Return whether a GPU driver is loaded and its GPUs are not hidden from this process."""
    return gpu_count() > 0


def gpu_count() -> int:
    """Return how many GPUs this process may use; 0 without a driver."""
    counts = (
        _visible(names, driver.parent.glob(gpus))
        for names, driver, gpus in _DRIVERS
        if driver.exists()
    )
    return next(filter(None, counts), 0)


def parallel_sizes(gpus: int) -> tuple[int, int]:
    """Return the tensor-parallel and the pipeline-parallel size; together they use all GPUs.

    LIDR_TENSOR_PARALLEL sets the former; by default it is the number of GPUs. 0 GPUs count as 1.

    Raises:
        BadInput: LIDR_TENSOR_PARALLEL does not divide the number of GPUs.
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


def _visible(names: Iterable[str], files: Iterable[Path]) -> int:
    """Return how many GPUs of a loaded driver are visible, given its variables and device files."""
    given = next((os.environ[name] for name in names if name in os.environ), "all")
    if given == "all":
        return len(list(files)) or 1
    parts = filter(None, (part.strip() for part in given.split(",")))
    return len(list(takewhile(lambda part: part not in _NO_GPU, parts)))
