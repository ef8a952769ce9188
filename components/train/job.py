"""A training run as plain values: what its ranks read, and what they leave."""

from __future__ import annotations

from typing import Any

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.machine import TrainingSettings
from lidr.components.shared.config.profile import Zero
from lidr.components.shared.config.training import Training
from lidr.components.shared.models.chat import ChatSettings


class TrainingJob(Strict):
    """Everything a training run reads, as plain values that travel between machines."""

    store: str
    """URI of the store."""
    stage: str
    """Prefix of the train stage below the store, `stages/train/<digest>`."""
    pairs: str
    """URI of the pair stage."""
    start: str
    """URI of the stage with the model that training starts from."""
    reference: str
    """URI of the stage with DPO's reference model."""
    training: Training
    """The recipe's settings."""
    chat: ChatSettings = ChatSettings()
    """How the model's chats are written."""
    seed: int
    """Seed of the order of the pairs, of new adapters and of the export's rounding."""
    dtype: str = "auto"
    """Precision of inference, the recipe's `model.dtype`."""
    machine: TrainingSettings = TrainingSettings()
    """How the ranks use their machines, from the profile."""
    zero: Zero = Zero()
    """DeepSpeed's ZeRO settings, from the profile."""
    run: str = ""
    """Name of the run, for live metrics and the count of GPUs; "" outside a run."""
    iteration: int = 0
    """t + 1."""


class TrainingSummary(Strict):
    """What a training run leaves besides the model."""

    counts: dict[str, Any]
    """For the stage's marker."""
    digests: dict[str, tuple[int, str]]
    """Size and SHA-256 of each file it wrote."""
