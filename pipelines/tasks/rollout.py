"""M_t answers and translates in several shards: processes on this machine, or pods of a TrainJob.

Argo keeps more than a kilobyte of every task in its Workflow, and a ParallelFor makes three tasks
of each shard. As pods of one TrainJob, all shards are one task, wait in a queue together, and are
restarted one by one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from lidr.components.merge.run import Merged, merge
from lidr.components.rollout.figures import reuse_done
from lidr.components.rollout.stages import generate_stage, translate_stage
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import LaunchFailed
from lidr.components.shared.core.events import events_environment
from lidr.components.shared.core.processes import kill_marked
from lidr.components.shared.core.termination import raising_terminated
from lidr.components.shared.core.threads import SHARING
from lidr.components.shared.kubernetes.launch import Launch, Placement, TaskConfig
from lidr.components.shared.kubernetes.launcher import LaunchedWork, TrainJobLauncher
from lidr.components.shared.records.counts import Log, ignore, stage_figures
from lidr.components.shared.step import step
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.runs import EXECUTION_VARIABLE, step_of
from lidr.components.shared.store.stage import Stage, open_stage
from lidr.pipelines.tasks.shards import ShardJob, Shards, exchange_of

_MARK_VARIABLE = "LIDR_SHARDS"
"""Environment variable with the same value in all processes of one rollout."""

_MAX_PARALLEL_SHARDS = 2
"""Shards that run at once on one machine, as each holds a copy of the model."""


@step("rollout")
def roll_out(
    recipe: str,
    store: str,
    run: str,
    inputs: str,
    model: str,
    iteration: int,
    shards: int,
    launch: str = "",
    placement: TaskConfig | None = None,
    log: Log = ignore,
) -> Merged:
    """Let M_t answer and translate in several shards, and finish both stages.

    Finished stages, and finished chunks of unfinished ones, are reused.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run.
        inputs: URI of the stage `prepare`, which holds the prompts.
        model: URI of the stage that holds M_t.
        iteration: t + 1.
        shards: how many there are.
        launch: how they are started, from `Launch.text`; "": on this machine.
        placement: resources and node selection for the pods of a TrainJob, from KFP.
        log: called with throughput, cache hit rate and failure shares of both stages.

    Returns:
        URIs of the generate and, if the rewarder needs it, the translate stage.

    Raises:
        LaunchFailed: a shard died, or could not be scheduled.
        LidrError: what a shard raised, e.g. that its engine died; finished chunks are kept.
        EngineFailed: a chunk is missing after all shards ended.
    """
    settings = Recipe.model_validate_json(recipe)
    stages = [generate_stage(settings, store, inputs, model, iteration)]
    if settings.pairing.reward_step == "translate":
        stages.append(translate_stage(settings, store, stages[0].uri, model, iteration))
    exchange = exchange_of(stages[-1], shards)
    if reuse_done(*stages):
        exchange.clear()  # files that a killed run has left
        return Merged(stages[0].uri, stages[1].uri if len(stages) > 1 else "")
    place = Launch.parse(launch)
    job = ShardJob(
        recipe=recipe,
        store=store,
        run=run,
        inputs=inputs,
        model=model,
        iteration=iteration,
        shards=shards,
        execution=os.environ.get(EXECUTION_VARIABLE, ""),
    )
    if place.launcher == "trainjob":
        _run_as_pods(stages, job, exchange, place, Placement.of(placement))
    else:
        _run_here(stages[-1], job)
    try:
        merged = merge(
            recipe=recipe, store=store, run=run, inputs=inputs, model=model, iteration=iteration
        )
    finally:  # until here, other runs that follow the same TrainJob read the summaries
        exchange.clear()
    for uri in filter(None, merged):
        for name, value in stage_figures(open_stage(uri).counts()).items():
            log(f"{step_of(uri)}/{name}", value)
    return merged


def _run_as_pods(
    stages: Sequence[Stage], job: ShardJob, exchange: Shards, launch: Launch, placement: Placement
) -> None:
    TrainJobLauncher(launch, placement).run(
        LaunchedWork(
            component="rollout",
            stage=stages[-1],
            command=_command(stages[-1], job.shards),
            exchange=exchange,
            publish=partial(exchange.publish, job),
            # Another run that followed the same TrainJob may have merged the chunks already.
            done=lambda: exchange.done() >= job.shards or all(stage.done() for stage in stages),
            sharded=True,
        )
    )


def _run_here(stage: Stage, job: ShardJob) -> None:
    """Run every shard as a process of this machine, a few at a time.

    The shards' files are in a folder of this rollout alone, as another may make the same stages.
    """
    mark = uuid.uuid4().hex
    parallel = min(_MAX_PARALLEL_SHARDS, job.shards)
    own = {SHARING: str(parallel), _MARK_VARIABLE: mark}
    environment = {**os.environ, **events_environment(), **own}
    with raising_terminated(), tempfile.TemporaryDirectory(prefix="lidr-shards-") as folder:
        here = Stage(LocalStore(Path(folder)), stage.prefix)
        exchange = exchange_of(here, job.shards)
        exchange.publish(job)

        def run(shard: int) -> int:
            command = [*_command(here, job.shards), "--shard", str(shard)]
            return subprocess.run(command, env=environment, check=False).returncode

        with ThreadPoolExecutor(parallel) as pool:
            try:
                codes = list(pool.map(run, range(job.shards)))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                kill_marked(_MARK_VARIABLE, mark)
                raise
        if failure := exchange.failure():
            raise failure.as_error()
    for shard, code in enumerate(codes):
        if code:
            raise LaunchFailed(
                f"shard {shard} {_exit_text(code)} without a message",
                remedy="Read the log above; after SIGKILL, check the machine's memory.",
            )


def _command(stage: Stage, shards: int) -> list[str]:
    program = [sys.executable, "-m", "lidr.pipelines.tasks.shards"]
    return [*program, stage.store.uri, stage.prefix, str(shards)]


def _exit_text(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
