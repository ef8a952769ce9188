"""The child process of `lidr run` and `lidr promote --evaluate`: runs pipelines with kfp.local.

The first line on stdin is the job as JSON. The pipe stays open while the parent lives; when it
closes, for any reason, this process kills everything that it started, and itself.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from typing import Any

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.core.processes import kill_marked
from lidr.pipelines.lean import import_kfp


def main() -> None:
    """Run one pipeline to its end; a failed task raises."""
    pipe = os.dup(0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    job = _receive(pipe)
    threading.Thread(target=_die_with_parent, args=(pipe, job["work"]), daemon=True).start()
    _run(job)


def _receive(pipe: int) -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        block = os.read(pipe, 1 << 16)
        if not block:
            sys.exit("the parent process ended before it sent the job")
        line += block
    job: dict[str, Any] = json.loads(line)
    return job


def _die_with_parent(pipe: int, work: str) -> None:
    while os.read(pipe, 1 << 16):
        pass
    kill_marked(EVENTS_VARIABLE, os.environ[EVENTS_VARIABLE])
    shutil.rmtree(work, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def _run(job: dict[str, Any]) -> None:
    import_kfp()
    from kfp import local

    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=f"{job['work']}/outputs",
        workspace_root=f"{job['work']}/workspace",
    )
    pipeline, arguments = _pipeline(job)
    pipeline(recipe=job["recipe"], store=job["store"], **arguments)


def _pipeline(job: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a job's pipeline, and its arguments other than recipe and store."""
    from lidr.pipelines.loop import LoopShape, build_loop
    from lidr.pipelines.placement import place_locally
    from lidr.pipelines.promote import build_promotion

    recipe = Recipe.model_validate_json(job["recipe"])
    if job["promotion"]:
        return build_promotion(recipe, job["store"], place_locally), job["promotion"]
    loop = build_loop(
        recipe,
        job["store"],
        job["run"],
        place_locally,
        LoopShape(job["max_unroll"]),
        job["shards"],
        job["launch"],
    )
    return loop, {"run": job["run"], "max_iterations": job["max_iterations"]}


if __name__ == "__main__":
    main()
