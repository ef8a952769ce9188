"""The device that torch computes on."""

from __future__ import annotations

from typing import Literal


def best_device() -> Literal["cuda", "mps", "cpu"]:
    """Return the kind of the fastest device here: an NVIDIA or AMD GPU, a Mac's GPU, or the CPU.

    A precision of `auto` is bfloat16 on `cuda` only, and float32 elsewhere.
    """
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
