"""What processes with GPUs would have noted of a run, on a machine without."""

from __future__ import annotations

import json
import uuid

from lidr.components.shared.store.base import Store


def plant_usage(
    store: Store,
    run: str,
    iteration: int,
    *,
    hours: float,
    step: str = "train",
    ended: bool = True,
) -> None:
    """Write what one process has used that held one GPU for some hours."""
    told = {"step": step, "iteration": iteration, "gpus": 1, "seconds": hours * 3600.0}
    key = f"runs/{run}/usage/{iteration}-{step}-{uuid.uuid4().hex[:12]}.json"
    store.write(key, json.dumps({**told, "ended": ended}).encode())
