"""The launcher of a training run on a cluster: its ranks are the nodes of a TrainJob."""

from __future__ import annotations

from functools import partial

from lidr.components.shared.core.errors import LaunchFailed
from lidr.components.shared.kubernetes.launch import Launch, Placement
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
        placement: what KFP hands over for the nodes.
        poll_seconds: between two looks at the TrainJob.
        retry_seconds: of API errors after which the launcher gives up; by default
            LIDR_RETRY_SECONDS.
    """

    def __init__(
        self,
        launch: Launch,
        placement: Placement,
        poll_seconds: float = 3.0,
        retry_seconds: float | None = None,
    ) -> None:
        self._launch = launch
        self._launcher = TrainJobLauncher(launch, placement, poll_seconds, retry_seconds)

    def run(self, job: TrainingJob) -> TrainingSummary:
        """Train; see `Launcher.run`."""
        stage = Stage(open_store(job.store), job.stage)
        exchange = TrainExchange(stage)
        self._launcher.run(
            LaunchedWork(
                component="train",
                stage=stage,
                command=node_command(job.store, job.stage, self._launch.ranks_per_node),
                exchange=exchange,
                publish=partial(exchange.publish, job),
                done=lambda: exchange.summary() is not None,
            )
        )
        summary = exchange.summary()
        if summary is None:
            raise LaunchFailed(f"the summary of {stage.uri} is gone", remedy="Run the step again.")
        return summary
