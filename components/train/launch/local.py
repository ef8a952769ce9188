"""The launcher for one machine: this process, or several under torchrun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid

from lidr.components.shared.core.errors import LaunchFailed
from lidr.components.shared.core.events import events_environment
from lidr.components.shared.core.processes import end_group, kill_marked
from lidr.components.shared.core.termination import raising_terminated
from lidr.components.shared.core.threads import threads_of_each
from lidr.components.train.job import TrainingJob, TrainingSummary
from lidr.components.train.launch.exchange import exchange_of
from lidr.components.train.trainer import run_training

_MARK = "LIDR_LAUNCH"
"""Environment variable by which ranks are found that have left the process group."""


class LocalLauncher:
    """Runs the ranks on this machine.

    Args:
        processes: ranks; a single one that needs no DeepSpeed runs in this process.
        options: further options of `node.py`.
    """

    def __init__(self, processes: int, *options: str) -> None:
        self._processes = processes
        self._options = options

    def run(self, job: TrainingJob) -> TrainingSummary:
        """Start the ranks and wait for them; errors as in `launch`."""
        alone = self._processes == 1 and not job.zero.stage
        return run_training(job) if alone else self._run_ranks(job)

    def _run_ranks(self, job: TrainingJob) -> TrainingSummary:
        exchange = exchange_of(job)
        exchange.clear()
        exchange.publish(job)
        code = self._run_node(job)
        if summary := exchange.summary():
            return summary
        if failure := exchange.failure():
            raise failure.as_error()
        raise LaunchFailed(
            f"the training processes ended {_ending(code)} without an error record",
            remedy="See the log above; after SIGKILL, check the machine's memory.",
        )

    def _run_node(self, job: TrainingJob) -> int:
        mark, threads = uuid.uuid4().hex, threads_of_each(self._processes)
        with raising_terminated():
            node = subprocess.Popen(
                node_command(job.store, job.stage, self._processes, "--alone", *self._options),
                stdin=subprocess.PIPE,
                env={**os.environ, **events_environment(), **threads, _MARK: mark},
                start_new_session=True,
            )
            try:
                return node.wait()
            finally:
                if node.poll() is None:
                    end_group(node)
                node.communicate()
                kill_marked(_MARK, mark)


def node_command(store: str, stage: str, processes: int, *options: str) -> list[str]:
    """Return the command that runs the ranks of one node."""
    program = [sys.executable, "-m", "lidr.components.train.launch.node"]
    return [*program, store, stage, "--processes", str(processes), *options]


def _ending(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
