"""Throughput and failures of a rollout, summed over its workers for the marker, KFP and MLflow.

When it ends, each worker writes a note, `engine/<random name>.json`, to the stage; a repeated shard
adds a second one. They are deleted once the stage's marker has their sums, because a finished
stage's files must not depend on which worker wrote them.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from lidr.components.rollout.engine_session import EngineSession
from lidr.components.shared.core.errors import BadInput, StoreError
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.gpu import gpu_count
from lidr.components.shared.core.json_files import read_object
from lidr.components.shared.records.counts import MEASURED, failure_shares
from lidr.components.shared.store.stage import Stage

_FOLDER = "engine"

NOTES = f"{_FOLDER}/"
"""Prefix of the workers' notes, which are not part of the finished stage."""

_NOTE = {
    "shard": int,
    "held": float,
    "gpus": int,
    "within": str,
    "engine": str,
    "engine_reason": str,
    "engine_starts": int,
    "tokens": int,
    "seconds": float,
}
_OPTIONAL = {"prefix_cache_hit_rate": float}


def write_note(stage: Stage, session: EngineSession, shard: int, *, within: str = "") -> None:
    """Write a note of what this worker's engine measured, if it was started; none to a done stage.

    Args:
        stage: the stage it worked on.
        session: its engine.
        shard: which worker it is, from 0.
        within: the step whose time includes this one's, in a fused rollout; else "".
    """
    if session.starts and not stage.done():
        held = round(time.monotonic() - stage.began, 3)
        facts = {"shard": shard, "held": held, "gpus": gpu_count(), "within": within}
        facts |= session.stats()
        stage.write(f"{_FOLDER}/{uuid4().hex}.json", json.dumps(facts).encode())


def collect_notes(stage: Stage) -> dict[str, object]:
    """Add up the notes of a stage's workers; a damaged one is left out, with a warning.

    Shards run in parallel, so throughput is all tokens divided by the slowest shard's seconds.

    Returns:
        `engine`, `engine_reason`, `engine_starts`, `workers`, `tokens_per_second`, `held_seconds`
        (the slowest shard's), `worker_gpus` (the GPUs that one worker could see), `gpu_seconds`
        (each worker's time multiplied by its GPUs, summed), `within` (see `write_note`) and, if the
        engine measures it, `prefix_cache_hit_rate`; empty if no engine was started.
    """
    noted = list(_read_notes(stage))
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
        "worker_gpus": max(facts["gpus"] for facts in noted),
        "gpu_seconds": round(sum(facts["held"] * facts["gpus"] for facts in noted), 3),
        "within": noted[0]["within"],
    }
    cached = [facts for facts in noted if "prefix_cache_hit_rate" in facts]
    if cached:
        weight = max(sum(facts["tokens"] for facts in cached), 1)
        rate = sum(facts["prefix_cache_hit_rate"] * facts["tokens"] for facts in cached) / weight
        found["prefix_cache_hit_rate"] = round(rate, 4)
    return found


def reuse_done(*stages: Stage) -> bool:
    """Return whether stages are done; if so, say so, and delete notes that are left in them."""
    if not all(stage.done() for stage in stages):
        return False
    emit("reused")
    delete_notes(*stages)
    return True


def delete_notes(*stages: Stage) -> None:
    """Delete the notes of finished stages, also what a kill has left and late workers wrote."""
    for stage in stages:
        for entry in stage.store.list(stage.key(_FOLDER)):
            stage.store.delete(entry.key)


def _read_notes(stage: Stage) -> Iterator[dict[str, Any]]:
    for entry in stage.store.list(stage.key(_FOLDER)):
        place = f"{stage.store.uri}/{entry.key}"
        try:
            note = read_object(stage.store.read(entry.key), place, _NOTE, _OPTIONAL)
        except FileNotFoundError:
            continue  # another worker finishes the same stage at the same time
        except StoreError:
            raise
        except BadInput as error:
            emit("warning", message=f"a worker's figures are left out: {error.message}")
        else:
            yield note


def worker_figures(session: EngineSession) -> dict[str, float]:
    """Return throughput, cache hit rate and failure shares of one worker's requests, by name."""
    facts: dict[str, Any] = session.stats()
    return {
        **{name: float(facts[name]) for name in MEASURED if name in facts},
        **failure_shares(session.failures, session.requests),
    }
