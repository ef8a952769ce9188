"""Training jobs without training, and a launcher as a process of its own.

`python -m tests.unit.train.launch.jobs STORE` launches a TrainJob and waits for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from lidr.components.shared.config.training import Training
from lidr.components.shared.kubernetes.launch import Launch, Placement
from lidr.components.shared.kubernetes.launcher import TrainJobLauncher, job_name
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import Stage
from lidr.components.train.job import TrainingJob, TrainingSummary
from lidr.components.train.launch.exchange import TrainExchange
from lidr.components.train.launch.trainjob import ClusterLauncher
from tests.warm import python

SUMMARY = TrainingSummary(counts={"steps": 7}, digests={"metrics.jsonl": (1, "ab")})

LAUNCH = Launch(launcher="trainjob", nodes=2, processes=4, image="r/train:1", queue="gpus")


NAME = ""
"""Name of the TrainJob of the last job that was made: it depends on where the store is."""


def make_job(root: Path, digest: str = "0123456789abcdef" * 4) -> TrainingJob:
    global NAME
    NAME = job_name("train", Stage(LocalStore(root), f"stages/train/{digest}"))
    return TrainingJob(
        store=str(root),
        stage=f"stages/train/{digest}",
        pairs="pairs",
        start="start",
        reference="start",
        training=Training(),
        seed=1,
    )


def exchange(job: TrainingJob) -> TrainExchange:
    return TrainExchange(Stage(LocalStore(Path(job.store)), job.stage))


def launcher(launch: Launch = LAUNCH, **options: float) -> ClusterLauncher:
    return ClusterLauncher(
        launch, TrainJobLauncher(launch, Placement(), **{"poll_seconds": 0.05, **options})
    )


def start(root: Path, kubeconfig: Path) -> subprocess.Popen[str]:
    """Start a launcher as a process of its own."""
    return subprocess.Popen(
        [python(), "-m", "tests.unit.train.launch.jobs", str(root)],
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """Send a signal, wait, and return what the process said."""
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


if __name__ == "__main__":
    launcher().run(make_job(Path(sys.argv[1])))
