"""DeepSpeed's configuration, and checkpoints that fit it; tests/e2e/test_ranks.py runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from lidr.components.shared.config.profile import Zero
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.marker import sealed
from lidr.components.shared.store.stage import new_stage
from lidr.components.train.distributed.checkpoints import Checkpoints, Topology
from lidr.components.train.distributed.zero import deepspeed_config


def test_a_checkpoint_of_other_ranks_is_refused(tmp_path: Path):
    stage = new_stage(LocalStore(tmp_path / "store"), "train", 1, {}, {})
    stage.write("checkpoints/00000004/COMPLETE", sealed({"world": 4, "zero": 2, "files": {}}))
    for topology in (Topology(), Topology(2, 2), Topology(4, 3)):
        with pytest.raises(BadInput, match=r"step 4 was written by 4 rank\(s\) at ZeRO stage 2"):
            Checkpoints(stage, topology=topology).restore(tmp_path / "back")


def test_configurations_come_from_the_profile():
    assert deepspeed_config(Zero(), 1, False) is None
    assert deepspeed_config(Zero(), 2, False)["zero_optimization"]["stage"] == 1
    assert deepspeed_config(Zero(stage=2), 1, False)["zero_optimization"]["stage"] == 2
    config = deepspeed_config(Zero(stage=3, offload="all"), 8, True)
    assert config["zero_optimization"]["offload_param"]["device"] == "cpu"
    assert config["zero_optimization"]["offload_optimizer"]["device"] == "cpu"
    assert config["bf16"] == {"enabled": True}
    assert config["data_types"] == {"grad_accum_dtype": "fp32"}
    assert "optimizer" not in config
    with pytest.raises(ValidationError, match="offload all needs stage 3"):
        Zero(stage=2, offload="all")
    with pytest.raises(ValidationError, match="offload optimizer needs stage 1"):
        Zero(offload="optimizer")
