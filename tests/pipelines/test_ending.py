"""The exit task: what it makes of the state that Kubeflow gives it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import state_key
from lidr.pipelines.tasks import ending

STATE = {
    **dict.fromkeys(("model", "evaluation", "version", "reason"), ""),
    "iteration": 0,
    "promoted": False,
}


@pytest.mark.parametrize(
    ("verdicts", "state", "well"),
    [
        (["continue", "stop"], "RUNNING", True),  # rounds behind it are left out, for good
        (["continue", "continue"], "RUNNING", False),  # a pod of the next round has not ended
        ([], "RUNNING", False),
        (["continue", "stop"], "FAILED", False),
        (["continue", "continue"], "COMPLETE", True),
    ],
)
def test_a_loop_that_stopped_early_ended_well(
    verdicts: list[str],
    state: str,
    well: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    store = open_store(str(tmp_path))
    for number, verdict in enumerate(verdicts):
        written = {**STATE, "iteration": number, "verdict": verdict}
        store.write(state_key("mine", number), json.dumps(written).encode())
    monkeypatch.setattr(ending, "report", lambda **_: "well")
    monkeypatch.setattr(ending, "report_failure", lambda **_: "failed")
    found = ending.finish(recipe="", store=str(tmp_path), run="mine", state=state)
    assert found == ("well" if well else "failed")
