"""Job and outcome of a training run, which launcher and nodes exchange through the store."""

from __future__ import annotations

from lidr.components.shared.kubernetes import exchange
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage
from lidr.components.train.job import TrainingJob, TrainingSummary


class TrainExchange(exchange.Exchange[TrainingJob, TrainingSummary]):
    """The files of one training run.

    Args:
        stage: the train stage being written.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage, TrainingJob, TrainingSummary)


def exchange_of(job: TrainingJob) -> TrainExchange:
    """Return the exchange of a job's stage."""
    return TrainExchange(Stage(open_store(job.store), job.stage))
