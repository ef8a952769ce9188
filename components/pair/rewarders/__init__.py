"""The rewarders, which turn responses into candidate pairs: three, with one interface."""

from __future__ import annotations

from lidr.components.pair.rewarders.base import Rewarder, RewarderInputs
from lidr.components.pair.rewarders.icr.rewarder import IcrRewarder
from lidr.components.pair.rewarders.judge.rewarder import JudgeRewarder
from lidr.components.pair.rewarders.lidr.rewarder import LidrRewarder
from lidr.components.shared.config.pairing import RewarderName

__all__ = ["Rewarder", "RewarderInputs", "rewarder_of"]

_REWARDERS: dict[RewarderName, type[Rewarder]] = {
    "lidr": LidrRewarder,
    "icr": IcrRewarder,
    "judge": JudgeRewarder,
}


def rewarder_of(inputs: RewarderInputs) -> Rewarder:
    """Return the rewarder that a recipe names, with what it reads."""
    return _REWARDERS[inputs.recipe.pairing.rewarder](inputs)
