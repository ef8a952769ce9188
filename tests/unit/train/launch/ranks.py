"""A trainer that only behaves: `python -m tests.unit.train.launch.ranks JOB SUMMARY`.

RANKS, a JSON object in the environment, says what each rank does, e.g. `{"1": "die"}`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from lidr.components.shared.core.errors import BadInput, LidrError, Stopped, TrainingFailed
from lidr.components.shared.core.events import emit
from lidr.components.shared.kubernetes.failure import record_failure
from tests.unit.train.launch.jobs import SUMMARY


def main(job: Path, summary: Path) -> int:
    rank = os.environ["RANK"]
    assert json.loads(job.read_text())["seed"] == 1
    print(f"hello from rank {rank} of {os.environ['WORLD_SIZE']}", flush=True)
    try:
        behave(json.loads(os.environ.get("RANKS", "{}")).get(rank, ""))
    except LidrError as error:
        record_failure(error)
        return error.exit_code
    if rank == "0":
        emit("progress", done=1, total=2)
        summary.write_text(SUMMARY.model_dump_json())
    return 0


def behave(how: str) -> None:
    if how == "refuse":
        raise BadInput("the pairs are empty", file="pairs.parquet", line=3, remedy="Mend them.")
    if how == "diverge":
        raise TrainingFailed("the loss is NaN in pairs p1, p2")
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "crash":
        raise RuntimeError("something unforeseen")
    if how == "threads":
        print(f"{os.environ['OMP_NUM_THREADS']} threads", flush=True)
    if how == "stop":
        signal.signal(signal.SIGTERM, _stop)
    if how in ("hang", "stop"):
        print("waiting", flush=True)
        time.sleep(600)


def _stop(*_: object) -> None:
    raise Stopped("training was asked to end")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
