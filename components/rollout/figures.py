"""What a rollout measures: noted by every worker, added up in the marker, shown in KFP and MLflow.

Each worker leaves `engine/<name>.json` on the stage when it is through. The name is of its own, so
that a worker that does its shard a second time adds to what the first one measured; the notes are
gone when the stage is finished, whose files are the same whichever worker wrote them.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from lidr.components.rollout.engine_session import EngineSession
from lidr.components.shared.core.gpu import gpu_count
from lidr.components.shared.records.counts import MEASURED, failure_shares
from lidr.components.shared.store.stage import Stage

_FOLDER = "engine"

NOTES = f"{_FOLDER}/"
"""What the names of the workers' notes begin with; they are no part of the finished stage."""


def note(stage: Stage, session: EngineSession, shard: int, *, within: str = "") -> None:
    """Leave what this worker's engine measured, if it was started.

    Args:
        stage: what it worked on.
        session: its engine.
        shard: which worker it is.
        within: the step in whose time this one was done as well; that step counts the time.
    """
    if session.starts and not stage.done():
        held = round(time.monotonic() - stage.began, 3)
        facts = {"shard": shard, "held": held, "gpus": gpu_count(), "within": within}
        facts |= session.stats()
        stage.write(f"{_FOLDER}/{uuid4().hex}.json", json.dumps(facts).encode())


def gather(stage: Stage) -> dict[str, object]:
    """Add up what the workers of a stage have noted, and remove their notes.

    Shards work side by side, so the stage's throughput is all tokens by the slowest one's seconds.

    Returns:
        `engine`, `engine_reason`, `engine_starts`, `workers`, `tokens_per_second`, `held_seconds`
        (the slowest worker's), `gpu_seconds` (all workers', by the GPUs each could see), `within`
        (see `note`) and, where the engine measures it, `prefix_cache_hit_rate`; empty where no
        engine was started.
    """
    noted = list(_take(stage))
    if not noted:
        return {}
    seconds: dict[int, float] = defaultdict(float)
    held: dict[int, float] = defaultdict(float)
    for facts in noted:
        seconds[facts["shard"]] += facts["seconds"]
        held[facts["shard"]] += facts["held"]
    tokens = sum(facts["tokens"] for facts in noted)
    found = {
        "engine": noted[0]["engine"],
        "engine_reason": noted[0]["engine_reason"],
        "engine_starts": sum(facts["engine_starts"] for facts in noted),
        "workers": len(seconds),
        "tokens_per_second": round(tokens / max(*seconds.values(), 1e-9), 1),
        "held_seconds": round(max(held.values()), 3),
        "gpu_seconds": round(sum(facts["held"] * facts["gpus"] for facts in noted), 3),
        "within": noted[0]["within"],
    }
    cached = [facts for facts in noted if "prefix_cache_hit_rate" in facts]
    if cached:
        weight = max(sum(facts["tokens"] for facts in cached), 1)
        rate = sum(facts["prefix_cache_hit_rate"] * facts["tokens"] for facts in cached) / weight
        found["prefix_cache_hit_rate"] = round(rate, 4)
    return found


def clear(stage: Stage) -> None:
    """Remove notes that came when another execution had finished the stage."""
    for entry in stage.store.list(stage.key(_FOLDER)):
        stage.store.delete(entry.key)


def _take(stage: Stage) -> Iterator[dict[str, Any]]:
    for entry in stage.store.list(stage.key(_FOLDER)):
        try:
            facts = json.loads(stage.store.read(entry.key))
        except FileNotFoundError:
            continue  # another worker finishes the same stage
        stage.store.delete(entry.key)
        yield facts


def worker_figures(session: EngineSession) -> dict[str, float]:
    """Return the same figures of one worker's own requests."""
    facts: dict[str, Any] = session.stats()
    return {
        **{name: float(facts[name]) for name in MEASURED if name in facts},
        **failure_shares(session.failures, session.requests),
    }
