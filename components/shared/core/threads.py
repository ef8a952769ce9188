"""How many CPU threads a model is worth."""

from __future__ import annotations

import os

_SMALL = 10_000_000
"""Parameters below which handing work to a second thread costs more than it saves: measured on the
tiny world, one thread is as fast as two idle ones and many times faster than two busy ones."""


def fit_threads(parameters: int) -> None:
    """Use one thread for a small model on a CPU, unless OMP_NUM_THREADS says otherwise.

    Args:
        parameters: of the model that is about to run.
    """
    import torch

    if parameters < _SMALL and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
