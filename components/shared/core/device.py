"""The device that torch computes on."""

from __future__ import annotations

from typing import Literal


def best_device() -> Literal["cuda", "mps", "cpu"]:
    """Return the kind of the fastest device here: a GPU, a Mac's, or the processor.

    What `auto` makes of a precision is bfloat16 on `cuda` alone.
    """
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
