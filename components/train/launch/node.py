"""Runs torchrun on one node, for a job from the store; the exit code says why it failed.

`python -m lidr.components.train.launch.node STORE STAGE --processes N` starts N ranks of the
trainer program. Kubeflow Trainer describes the nodes in PET_* variables, which torchrun reads, for
a static rendezvous; with `--alone` the only node needs none of them. torchrun restarts nothing: if
a rank dies, it ends this node's other ranks, and JobSet then restarts all nodes.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lidr.components.shared.core.errors import BadInput, LidrError, Stopped
from lidr.components.shared.core.events import emit
from lidr.components.shared.kubernetes.failure import (
    DIED,
    ENDED,
    FAILED,
    FOLDER_VARIABLE,
    KILLED,
    RecordedFailure,
    failure_of,
    root_cause,
)
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage
from lidr.components.shared.store.usage import counting_gpus
from lidr.components.train.distributed.ranks import rendezvous_failure, rendezvous_timeout
from lidr.components.train.job import TrainingJob, TrainingSummary
from lidr.components.train.launch.exchange import TrainExchange

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

PROGRAM = "lidr.components.train.trainer"
"""`python -m PROGRAM JOB.json SUMMARY.json` is one rank."""

_TAIL_LINES = 20

SHUTDOWN_VARIABLE = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"
"""torchrun's environment variable: whole seconds between SIGTERM and SIGKILL to the ranks. Default
30. A TrainingRuntime sets it to 5 less than the grace period of its pods."""

_MARGIN_SECONDS = 5
"""A rank that dies this much before that time is over, or later, may have got torchrun's SIGKILL:
torchrun's times are whole seconds."""


def main(arguments: list[str]) -> int:
    """Run this node's ranks; return the exit code for its container."""
    options = _parse(arguments)
    if options.alone:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    exchange = None
    try:
        exchange = TrainExchange(Stage(open_store(options.store), options.stage))
        with tempfile.TemporaryDirectory(prefix="lidr-node-") as name:
            failure = _run(exchange, options, Path(name))
    except LidrError as error:
        failure = failure_of(error)
    if failure is None:
        return 0
    print(failure.as_error(), file=sys.stderr)
    if exchange:
        with suppress(LidrError):  # the store may be what failed
            exchange.fail(failure)
    return failure.exit_code


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="node", description=__doc__)
    parser.add_argument("store", help="URI of the store")
    parser.add_argument("stage", help="prefix of the train stage below it")
    parser.add_argument("--processes", type=int, required=True, help="ranks on this node")
    parser.add_argument("--program", default=PROGRAM, help="module that every rank runs")
    parser.add_argument("--alone", action="store_true", help="this is the only node")
    return parser.parse_args(arguments)


def _end_with_parent() -> None:
    """End this node when the launcher ends, for whatever reason: its pipe to stdin closes."""
    while os.read(0, 1 << 10):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _run(
    exchange: TrainExchange, options: argparse.Namespace, scratch: Path
) -> RecordedFailure | None:
    exchange.forget_failure(int(os.environ.get("PET_NODE_RANK", "0")))
    job, summary = scratch / "job.json", scratch / "summary.json"
    training = exchange.job()
    job.write_text(training.model_dump_json(), "utf-8")
    os.environ[FOLDER_VARIABLE] = str(scratch)
    with _counting_gpus(training):
        failure = _torchrun(options, scratch, [str(job), str(summary)])
    if failure is None and summary.is_file():  # only rank 0 writes it
        exchange.succeed(TrainingSummary.model_validate_json(summary.read_text("utf-8")))
    return failure


def _counting_gpus(job: TrainingJob) -> AbstractContextManager[None]:
    """Count this node's GPUs, if the job names a run; on one machine its train step counts them."""
    if not job.run:
        return nullcontext()
    return counting_gpus(open_store(job.store), job.run, job.iteration, "train")


def _torchrun(
    options: argparse.Namespace, scratch: Path, arguments: list[str]
) -> RecordedFailure | None:
    from torch.distributed import DistError, run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import elastic_launch

    logs = scratch / "logs"
    _shutdown_seconds()  # torchrun's own error would be a traceback
    rendezvous = ["--rdzv-conf", f"timeout={rendezvous_timeout().total_seconds():.0f}"]
    if options.alone:
        # The machine's own name may not resolve, so the ranks use the loopback address.
        rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
        rendezvous += ["--local-addr", "127.0.0.1"]
    flags = [
        *("--nproc-per-node", str(options.processes), "--max-restarts", "0", *rendezvous),
        *("--log-dir", str(logs), "--redirects", "3", "--tee", "0:3", "--module", options.program),
    ]
    config, entrypoint, command = run.config_from_args(run.parse_args([*flags, *arguments]))
    config.log_line_prefix_template = "[rank${rank}] "
    try:
        elastic_launch(config, entrypoint)(*command)
    except ChildFailedError as error:
        return _cause(error.failures, scratch)
    except (DistError, RendezvousError) as error:
        raise rendezvous_failure(error) from error
    except SignalException:
        sys.exit(_stopped_code(scratch, options.processes))
    return None


def _shutdown_seconds() -> int:
    given = os.environ.get(SHUTDOWN_VARIABLE, "30")
    if given.isdecimal():
        return int(given)
    raise BadInput(
        f"{SHUTDOWN_VARIABLE} is {given!r}",
        remedy="Set it to whole seconds: 5 less than the pods' terminationGracePeriodSeconds.",
    )


def _stopped_code(scratch: Path, processes: int) -> int:
    """Return the exit code after SIGTERM: 143 if all ranks wrote a last checkpoint, else 1."""
    stopped = sum(failure.kind == "stopped" for failure in _recorded(scratch))
    if stopped == processes:
        return Stopped.exit_code
    emit(
        "warning",
        message=f"asked to end, {processes - stopped} of {processes} ranks wrote no last "
        f"checkpoint within {_shutdown_seconds()} s; if they need longer, raise the pods' "
        f"terminationGracePeriodSeconds and {SHUTDOWN_VARIABLE}",
    )
    return FAILED


def _cause(failures: dict[int, ProcessFailure], scratch: Path) -> RecordedFailure:
    """Return why the ranks ended: what a rank raised, or else how the first one died."""
    began = min(failure.timestamp for failure in failures.values())
    raised = _recorded(scratch)
    explained = {failure.rank for failure in raised}
    died = [
        _record_death(rank, failure, scratch, began)
        for rank, failure in failures.items()
        if rank not in explained
    ]
    return root_cause([*raised, *died])


def _recorded(scratch: Path) -> list[RecordedFailure]:
    """Return what the ranks of this node have raised."""
    records = sorted(scratch.glob("[0-9]*.json"))
    return [RecordedFailure.model_validate_json(path.read_text("utf-8")) for path in records]


def _record_death(
    rank: int, failure: ProcessFailure, scratch: Path, began: float
) -> RecordedFailure:
    """Return how a rank died; `began` is when the first one was seen dead."""
    # Where torchrun keeps what a rank printed: `logs/<run>/attempt_0/<local rank>/`.
    logs = next(scratch.glob(f"logs/*/attempt_0/{failure.local_rank}"), scratch)
    code = failure.exitcode
    manner = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
    last = max(_shutdown_seconds() - _MARGIN_SECONDS, 1)
    ended = code == -signal.SIGTERM or failure.timestamp - began >= last
    killed = code == -signal.SIGKILL and not ended
    remedy = "Give the ranks more memory, or lower training.max_length." if killed else ""
    log = logs / "stderr.log"  # its modification time is finer than torchrun's whole seconds
    return RecordedFailure(
        kind="launch_failed",
        message=f"rank {rank} {manner}",
        remedy=remedy,
        node=int(os.environ.get("PET_NODE_RANK", "0")),
        rank=rank,
        time=log.stat().st_mtime if log.is_file() else time.time(),
        order=ENDED if ended else KILLED if killed else DIED,
        log=_last_lines(logs),
    )


def _last_lines(folder: Path) -> tuple[str, ...]:
    lines: list[str] = []
    for name in ("stdout.log", "stderr.log"):
        path = folder / name
        if path.is_file():
            lines += path.read_text("utf-8", "replace").splitlines()[-_TAIL_LINES:]
    return tuple(lines[-_TAIL_LINES:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
