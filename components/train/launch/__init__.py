"""How the processes of a training run are started: on this machine, or as a TrainJob.

Both launchers keep one contract. They get a `TrainingJob`, they return its `TrainingSummary`, or
they raise what went wrong in the ranks; neither writes the stage's marker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lidr.components.shared.kubernetes.launcher import TrainJobLauncher
from lidr.components.train.launch.local import LocalLauncher
from lidr.components.train.launch.trainjob import ClusterLauncher

if TYPE_CHECKING:
    from lidr.components.shared.kubernetes.launch import Launch, Placement
    from lidr.components.train.job import TrainingJob, TrainingSummary


class Launcher(Protocol):
    """Starts the ranks of one training run and waits for them."""

    def run(self, job: TrainingJob) -> TrainingSummary:
        """Train, and return what the trainer program counted.

        Raises:
            BadInput: a rank refused its input.
            TrainingFailed: the loss was not finite, or the model failed its checks.
            LaunchFailed: a rank died, or no machine was found for it.
        """


def launcher_of(launch: Launch, placement: Placement) -> Launcher:
    """Return the launcher that the profile names.

    Args:
        launch: from the profile.
        placement: what KFP hands over for the nodes of a TrainJob.
    """
    if launch.launcher == "trainjob":
        return ClusterLauncher(launch, TrainJobLauncher(launch, placement))
    return LocalLauncher(launch.ranks_per_node)
