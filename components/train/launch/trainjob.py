"""The launcher of a training run on a cluster: its ranks run on the nodes of a TrainJob."""

from __future__ import annotations

from functools import partial

from lidr.components.shared.core.errors import LaunchFailed
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.kubernetes.launcher import LaunchedWork, TrainJobLauncher
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage
from lidr.components.train.job import TrainingJob, TrainingSummary
from lidr.components.train.launch.exchange import TrainExchange
from lidr.components.train.launch.local import node_command


class ClusterLauncher:
    """Runs the ranks as a Kubeflow TrainJob.

    Args:
        launch: from the profile.
        launcher: runs a program on the nodes of a TrainJob.
    """

    def __init__(self, launch: Launch, launcher: TrainJobLauncher) -> None:
        self._launch = launch
        self._launcher = launcher

    def run(self, job: TrainingJob) -> TrainingSummary | None:
        """Start the ranks and wait for them; None if another run has finished the same stage.

        Raises as `lidr.components.train.launch` does.
        """
        stage = Stage(open_store(job.store), job.stage)
        exchange = TrainExchange(stage)
        self._launcher.run(
            LaunchedWork(
                component="train",
                stage=stage,
                command=node_command(job.store, job.stage, self._launch.ranks_per_node),
                exchange=exchange,
                publish=partial(exchange.publish, job),
                done=lambda: exchange.summary() is not None or stage.done(),
            )
        )
        summary = exchange.summary()
        if summary is None and not stage.done():
            raise LaunchFailed(f"the summary of {stage.uri} is gone", remedy="Run the step again.")
        return summary
