"""The exit task: what it makes of the state that Kubeflow gives it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidr.components.shared.config.notify import NOTIFY_URL
from lidr.components.shared.core.errors import CorruptStage, LaunchFailed, StoreError
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import note_failure, overview_key, state_key
from lidr.components.shared.store.usage import note_budget_stop
from lidr.pipelines.notices import notify
from lidr.pipelines.tasks import ending
from tests.fakes import make_recipe
from tests.receivers import receiving

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


def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, **more: str) -> None:
    """Let a loop end whose report writes the overview, or none."""
    page = more.pop("page", "")
    store = open_store(str(tmp_path / "store"))

    def report(**_: str) -> str:
        if page:
            store.write(overview_key("mine"), page.encode())
        return ""

    monkeypatch.setattr(ending, "report", report)
    monkeypatch.setattr(ending, "report_failure", report)
    ending.finish(recipe=RECIPE, store=store.uri, run="mine", state=state, **more)


@pytest.mark.parametrize("state", ["COMPLETE", "FAILED"])
def test_overview_is_put_where_kubeflow_takes_it_from(tmp_path, monkeypatch, state: str):
    target = tmp_path / "outputs" / "overview"
    ended(tmp_path, monkeypatch, state, page="<h1>It</h1>", overview=str(target))
    assert target.read_text() == "<h1>It</h1>"


def test_run_whose_report_has_no_overview_ends_all_the_same(tmp_path, monkeypatch, capsys):
    ended(tmp_path, monkeypatch, "COMPLETE", overview=str(tmp_path / "overview"))
    assert "Kubeflow's page shows no report" in capsys.readouterr().err


RECIPE = make_recipe().model_dump_json()


def test_failure_on_a_cluster_is_told_with_the_submit_that_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("KFP_RUN_ID", "an-id")
    store = open_store(str(tmp_path / "store"))
    note_failure(store, "mine", "train", 2, LaunchFailed("no machine was found"))
    with receiving() as receiver:
        monkeypatch.setenv(NOTIFY_URL, receiver.url)
        for _ in range(2):  # the exit task is tried again
            ended(tmp_path, monkeypatch, "FAILED")
    assert receiver.texts == [
        "lidr: run mine has failed at M_2 train: no machine was found. `lidr submit RECIPE "
        "--run mine` resumes it."
    ]


@pytest.mark.parametrize(
    ("step", "told"),
    [("report_failure", True), ("cleanup", False)],
    ids=["the report fails too", "the run may be another execution's"],
)
def test_failure_is_told_once_the_run_is_known_to_be_ours(
    tmp_path, monkeypatch, step: str, told: bool
):
    monkeypatch.setenv("KFP_RUN_ID", "an-id")
    store = open_store(str(tmp_path))
    note_failure(store, "mine", "train", 2, LaunchFailed("no machine was found"))

    def fail(**_: str) -> str:
        error = CorruptStage("a marker was changed")
        note_failure(store, "mine", step, -1, error)  # as the steps' decorator does
        raise error

    monkeypatch.setattr(ending, step, fail)
    with receiving() as receiver:
        monkeypatch.setenv(NOTIFY_URL, receiver.url)
        for _ in range(2):  # the exit task is tried again
            with pytest.raises(CorruptStage, match="a marker was changed"):
                ending.finish(recipe=RECIPE, store=store.uri, run="mine", state="FAILED")
    words = (
        "lidr: run mine has failed at M_2 train: no machine was found. `lidr submit RECIPE "
        "--run mine` resumes it."
    )
    assert receiver.texts == ([words] if told else [])


@pytest.mark.parametrize("state", ["CANCELED", "CANCELLED", "RUNNING"])
def test_run_that_somebody_cancelled_is_told_to_nobody(tmp_path, monkeypatch, state: str):
    monkeypatch.setenv("KFP_RUN_ID", "an-id")
    monkeypatch.setattr(ending, "own_namespace", lambda: "lidr")
    monkeypatch.setattr(ending, "was_cancelled", lambda *asked: asked == ("lidr", "an-id"))
    with receiving() as receiver:
        monkeypatch.setenv(NOTIFY_URL, receiver.url)
        ended(tmp_path, monkeypatch, state)
    assert receiver.received == []


def test_run_that_was_cancelled_is_so_though_an_earlier_execution_had_stopped(
    tmp_path, monkeypatch
):
    store = open_store(str(tmp_path))
    for number, verdict in enumerate(("continue", "stop")):
        written = {**STATE, "iteration": number, "verdict": verdict}
        store.write(state_key("mine", number), json.dumps(written).encode())
    monkeypatch.setattr(ending, "report", lambda **_: "well")
    monkeypatch.setattr(ending, "report_failure", lambda **_: "failed")
    end = {"recipe": "", "store": str(tmp_path), "run": "mine", "state": "RUNNING"}
    assert ending.finish(**end) == "well"
    monkeypatch.setattr(ending, "was_cancelled", lambda *_: True)
    assert ending.finish(**end) == "failed"


def test_loop_whose_pod_was_killed_is_a_failure_though_kubeflow_calls_it_running(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(ending, "was_cancelled", lambda *_: False)
    with receiving() as receiver:
        monkeypatch.setenv(NOTIFY_URL, receiver.url)
        ended(tmp_path, monkeypatch, "RUNNING")
    assert [text[:30] for text in receiver.texts] == ["lidr: run mine has failed: no "]


def test_notice_that_cannot_be_written_down_harms_no_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(NOTIFY_URL, "http://127.0.0.1:9/planted")
    monkeypatch.setattr(notify, "enqueue", _full)
    ended(tmp_path, monkeypatch, "FAILED")
    told = capsys.readouterr().err
    assert "no notice was sent: the disk is full" in told and "planted" not in told


def _full(*_: object) -> bool:
    raise StoreError("the disk is full")


def test_stop_by_the_budget_is_an_end_though_kubeflow_waits_for_further_rounds(
    tmp_path, monkeypatch
):
    store = open_store(str(tmp_path))
    for number in (0, 1):
        written = {**STATE, "iteration": number, "verdict": "continue"}
        store.write(state_key("mine", number), json.dumps(written).encode())
    monkeypatch.setattr(ending, "report", lambda **_: "well")
    monkeypatch.setattr(ending, "report_failure", lambda **_: "failed")
    end = {"recipe": "", "store": str(tmp_path), "run": "mine", "state": "RUNNING"}
    assert ending.finish(**end) == "failed"
    note_budget_stop(store, "mine", 2, "too dear")
    assert ending.finish(**end) == "well"
