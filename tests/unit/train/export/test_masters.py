from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lidr.components.shared.core.events import listening
from lidr.components.shared.models.sources import ModelFiles
from lidr.components.train.export.masters import MasterWeights, master_weights


@pytest.mark.parametrize(
    ("precision", "adapter", "exact", "warned"),
    [
        (torch.float32, False, True, False),
        (torch.bfloat16, False, False, False),
        (torch.bfloat16, True, False, False),
        (torch.float32, True, False, True),
    ],
)
def test_files_that_lack_the_start_s_adapter_set_no_master_weights(
    precision, adapter: bool, exact: bool, warned: bool, tmp_path: Path
):
    save_file({"weight": torch.ones(2, dtype=precision)}, tmp_path / "model.safetensors")
    start = ModelFiles(tmp_path, tmp_path / "adapter" if adapter else None)
    events: list[dict[str, object]] = []
    with listening(events.append):
        found = master_weights(start)
    assert [type(each) for each in found] == [MasterWeights] * exact
    assert ["model.adapter is in no file" in str(event) for event in events] == [True] * warned
