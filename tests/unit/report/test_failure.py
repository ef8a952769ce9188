"""The report of a run that failed: why, how to go on, and whatever there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidr.components.report.run import report_failure
from lidr.components.shared.core.errors import DamagedObject, StoreError
from lidr.components.shared.store.open import open_store
from tests.unit.report.runs import RUN, recipe, write_run

REASON = "train: TrainJob <b>x</b> failed: pod y: OOMKilled (exit code 137)"


def page_of(store: str, reason: str = REASON, *, cancelled: bool = False) -> str:
    text = recipe().model_dump_json()
    report_failure(recipe=text, store=store, run=RUN, reason=reason, cancelled=cancelled)
    assert not Path(store, "runs", RUN, "result.json").exists()
    return Path(store, "runs", RUN, "report.html").read_text()


@pytest.mark.parametrize("iterations", [0, 1])
def test_report_of_a_failed_run_has_the_iterations_that_ended(tmp_path, iterations: int):
    page = page_of(write_run(tmp_path, iterations))
    assert f"The run failed after M{'₀₁'[iterations]}" in page
    assert "TrainJob &lt;b&gt;x&lt;/b&gt; failed: pod y: OOMKilled (exit code 137)" in page
    assert "Run the same command again: it continues where the run stopped" in page
    assert 'id="imbalance"' in page or 'id="accuracy"' in page


def test_report_of_a_run_that_never_measured_its_start_says_so(tmp_path):
    page = page_of(str(tmp_path))
    assert "The run failed before its start was measured" in page
    assert "was to learn Spanish, German and French from its own English" in page
    assert "Recipe as YAML" in page


def test_report_of_a_run_that_failed_of_a_damaged_stage_is_written_all_the_same(tmp_path, capfd):
    store = write_run(tmp_path, 1)
    for items in Path(store, "stages", "evaluate").rglob("items.parquet"):
        items.write_bytes(b"damaged")
    assert "The run failed after M₁" in page_of(store)
    for marker in Path(store, "stages", "evaluate").rglob("_SUCCESS"):
        marker.write_text("{")
    assert REASON.partition("<")[0] in page_of(store)
    assert "the report has no iterations" in capfd.readouterr().err


def test_report_of_a_run_with_a_damaged_usage_note_or_state_is_written_all_the_same(
    tmp_path, capfd, monkeypatch
):
    store = write_run(tmp_path, 1)
    note = {"step": "train", "iteration": 1, "gpus": -1, "seconds": 1.0, "ended": True}
    for text in ("{", json.dumps(note), json.dumps(note | {"gpus": 10**400})):
        open_store(store).write(f"runs/{RUN}/usage/1-train-x.json", text.encode())
        assert "The run failed after M₁" in page_of(store)
        assert "the report has no usage" in capfd.readouterr().err

    def damaged(*_: object) -> None:
        raise DamagedObject("state.json arrived damaged from the store")

    monkeypatch.setattr("lidr.components.report.run.read_history", damaged)
    assert REASON.partition("<")[0] in page_of(store)
    assert "the report has no iterations: state.json arrived damaged" in capfd.readouterr().err


def test_report_of_a_failed_run_needs_a_store_that_answers(tmp_path, monkeypatch):
    def away(*_: object) -> None:
        raise StoreError("the store does not answer")

    monkeypatch.setattr("lidr.components.report.run.read_history", away)
    with pytest.raises(StoreError, match="does not answer"):
        page_of(write_run(tmp_path, 1))


def test_report_of_a_run_that_its_user_cancelled_does_not_call_it_failed(tmp_path):
    said = "train: training was asked to end"  # by the step that was cancelled
    page = page_of(write_run(tmp_path, 1), reason=said, cancelled=True)
    assert "The run was cancelled after M₁" in page
    assert "Why it failed" not in page and said not in page and "To continue" in page


def test_report_of_a_failure_that_nobody_explained_says_so(tmp_path):
    assert "No step said why." in page_of(str(tmp_path), reason="")
