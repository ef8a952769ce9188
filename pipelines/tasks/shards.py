"""One shard of a rollout, and the files it exchanges with its launcher.

`python -m lidr.pipelines.tasks.shards STORE STAGE SHARDS --shard K` generates and translates the
K-th part of an iteration's chunks; in a TrainJob, K is the pod's completion index.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from typing import Any

from lidr.components.generate.run import generate
from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.kubernetes.exchange import FOLDER, Exchange
from lidr.components.shared.kubernetes.failure import failure_of
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import EXECUTION_VARIABLE
from lidr.components.shared.store.stage import Stage
from lidr.components.translate.run import translate

INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
"""Environment variable that numbers the pods of an Indexed Job (batch/v1)."""


class ShardJob(Strict):
    """The work of a rollout, the same for all its shards."""

    recipe: str
    """The resolved recipe as JSON."""
    store: str
    """URI of the store."""
    run: str
    """Name of the run."""
    inputs: str
    """URI of the stage `prepare`, which holds the prompts."""
    model: str
    """URI of the stage that holds M_t."""
    iteration: int
    """t + 1."""
    shards: int
    """How many there are."""
    execution: str = ""
    """Id of the KFP run, whose lease the shards share."""


class ShardDone(Strict):
    """Says that a shard's chunks are written; its address names the rollout (`exchange_of`)."""


Shards = Exchange[ShardJob, ShardDone]


def exchange_of(stage: Stage, shards: int) -> Shards:
    """Return the files that a rollout exchanges with its shards.

    Rollouts that share these files write the same chunks, shard by shard.

    Args:
        stage: the last one that the rollout makes; its digest covers any generate stage before it.
        shards: how many there are; if their number changes, so do the chunks of each shard.
    """
    return Exchange(stage, ShardJob, ShardDone, f"{FOLDER}/{shards}")


def main(arguments: list[str]) -> int:
    """Do one shard; return the exit code for its container."""
    options = _parse(arguments)
    exchange = None
    try:
        stage = Stage(open_store(options.store), options.stage)
        exchange = exchange_of(stage, options.shards)
        exchange.forget_failure(options.shard)
        exchange.succeed(work(exchange.job(), options.shard), options.shard)
    except LidrError as error:
        failure = failure_of(error).model_copy(update={"node": options.shard})
        print(failure.as_error(), file=sys.stderr)
        if exchange:
            with suppress(LidrError):  # the store may be what failed
                exchange.fail(failure)
        return failure.exit_code
    return 0


def work(job: ShardJob, shard: int) -> ShardDone:
    """Write one shard's missing chunks of generate and translate.

    Args:
        job: the work of all shards.
        shard: its number, from 0.
    """
    if job.execution:
        os.environ[EXECUTION_VARIABLE] = job.execution
    common: dict[str, Any] = {
        "recipe": job.recipe,
        "store": job.store,
        "run": job.run,
        "inputs": job.inputs,
        "model": job.model,
        "iteration": job.iteration,
        "shard": shard,
        "shards": job.shards,
    }
    responses = generate(**common)
    settings = Recipe.model_validate_json(job.recipe)
    if settings.pairing.reward_step == "translate":
        translate(**common, responses=responses)
    return ShardDone()


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="shards", description=__doc__)
    parser.add_argument("store", help="URI of the store with the job")
    parser.add_argument("stage", help="prefix of the rollout's last stage on the store")
    parser.add_argument("shards", type=int, help="how many shards there are")
    parser.add_argument(
        "--shard",
        type=int,
        default=int(os.environ.get(INDEX_VARIABLE, "0")),
        help="number of the shard; default: the pod's completion index",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
