"""How the processes of a training run are started: on this machine, or as a TrainJob.

Both launchers take a `TrainingJob` and return the trainer program's `TrainingSummary`; the one for
TrainJobs returns None where another run has finished the stage meanwhile. Neither writes the
stage's marker. They raise the BadInput or TrainingFailed of a rank, and LaunchFailed if a rank died
or no machine was found for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lidr.components.shared.kubernetes.launcher import TrainJobLauncher
from lidr.components.train.launch.local import LocalLauncher
from lidr.components.train.launch.trainjob import ClusterLauncher

if TYPE_CHECKING:
    from lidr.components.shared.kubernetes.launch import Launch, Placement


def launcher_of(launch: Launch, placement: Placement) -> LocalLauncher | ClusterLauncher:
    """Return the launcher that the profile names.

    Args:
        launch: from the profile.
        placement: of the nodes of a TrainJob.
    """
    if launch.launcher == "trainjob":
        return ClusterLauncher(launch, TrainJobLauncher(launch, placement))
    return LocalLauncher(launch.ranks_per_node)
