"""Runs the trainer program in several ranks, under torchrun's agent.

The agent and its ranks are forks of a process that has imported what they import.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Timer
from typing import Any

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import Stage
from tests.unit.train.stages import model_stage, pair_stage, preference, recipe

PAIRS = [preference(number, "es" if number % 2 else "en") for number in range(18)]


def job(
    root: Path,
    reference_seed: int = 0,
    zero: dict[str, Any] | None = None,
    machine: dict[str, Any] | None = None,
    **training: object,
) -> dict[str, Any]:
    """Return a job in a store of its own: batches of 8, 8 and 2 pairs, 4 a pass."""
    settings = Recipe.model_validate_json(recipe(**training)).training
    return {
        "store": str(root),
        "stage": "stages/train/abc",
        "pairs": pair_stage(root, PAIRS),
        "start": model_stage(root),
        "reference": model_stage(root, reference_seed),
        "training": settings.model_dump(mode="json"),
        "seed": 1,
        "machine": {"micro_batch_size": 4, **(machine or {})},
        "zero": zero or {},
    }


def torchrun(*flags: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--max-restarts", "0", *flags]


def environment(**variables: str) -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "LIDR_RANKS_TIMEOUT": "60",
        "TOKENIZERS_PARALLELISM": "false",
        **variables,
    }


class RankGroup:
    """Several ranks of a program on this machine; their agent leads a process group.

    Args:
        given: the job.
        ranks: how many.
        program: a module with a function `main` that takes a list, the job's file and the
            summary's, and returns an exit code.
    """

    def __init__(
        self,
        given: dict[str, Any],
        ranks: int = 2,
        program: str = "lidr.components.train.trainer",
    ) -> None:
        root = Path(given["store"])
        (root / "job.json").write_text(json.dumps(given))
        files = [str(root / name) for name in ("job.json", "summary.json")]
        self._said, theirs = _context.Pipe(duplex=False)
        self._agent: BaseProcess = _context.Process(
            target=_become_agent, args=(theirs, environment(), ranks, program, files)
        )
        self._agent.start()
        theirs.close()

    def finish(self) -> tuple[str, int | None]:
        """Wait for the end; return what all have said, and the agent's exit code.

        All are killed after four minutes.
        """
        assert self._agent.pid
        killer = Timer(240, os.killpg, (self._agent.pid, signal.SIGKILL))
        killer.start()
        try:
            with os.fdopen(os.dup(self._said.fileno()), errors="replace") as said:
                text = said.read()
        finally:
            killer.cancel()
        self._agent.join()
        return text, self._agent.exitcode


_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.warm"])


def run(given: dict[str, Any], ranks: int = 2) -> dict[str, Any]:
    """Run several ranks to their end; return the summary."""
    said, code = RankGroup(given, ranks).finish()
    assert code == 0, said
    return json.loads((Path(given["store"]) / "summary.json").read_text())


def _become_agent(
    said: Connection, variables: dict[str, str], ranks: int, program: str, files: list[str]
) -> None:
    """Do what `python -m torch.distributed.run` does, with forks as ranks."""
    from dataclasses import replace

    from torch.distributed import run as torchrun
    from torch.distributed.launcher.api import elastic_launch

    os.setsid()
    os.dup2(said.fileno(), 1)
    os.dup2(said.fileno(), 2)
    said.close()
    os.environ.clear()
    os.environ.update(variables)
    flags = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "--max-restarts", "0"]
    flags += ["--nproc-per-node", str(ranks), "--module", program]
    config, _, _ = torchrun.config_from_args(torchrun.parse_args([*flags, *files]))
    elastic_launch(replace(config, start_method="fork"), _become_rank)(program, files)


def _become_rank(program: str, files: list[str]) -> None:
    """Run a program as a rank; torchrun wants one that has done well to return."""
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False)
    code = importlib.import_module(program).main(files)
    if code:
        sys.stdout.flush()
        os._exit(code)


def stage_of(given: dict[str, Any]) -> Stage:
    return Stage(LocalStore(Path(given["store"])), given["stage"])


def rows(given: dict[str, Any]) -> list[dict[str, float]]:
    lines = stage_of(given).store.read(stage_of(given).key("metrics.jsonl")).splitlines()
    return [{**json.loads(line), "tokens_per_second": 0} for line in lines]
