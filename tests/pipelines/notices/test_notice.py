"""What notices say: names, numbers and our own words."""

from __future__ import annotations

import pytest

from lidr.components.shared.config.notify import Notify
from lidr.components.shared.store.local import LocalStore
from lidr.pipelines.notices.notice import chat_safe, of_end, of_failure, of_silence, of_wait
from lidr.pipelines.notices.observing import notices_of, observe
from lidr.pipelines.status import END, Status, StepRow


def model(iteration: int, value: float, **changes: object) -> dict[str, object]:
    return {
        "iteration": iteration,
        "average": {"value": value},
        "version": f"tiny/{iteration + 1}",
        "verdict": "continue",
        "promoted": True,
        "decision": "promote",
        "reason": "the gain is real",
        **changes,
    }


def result(*models: dict[str, object], **changes: object) -> dict[str, object]:
    return {"iterations": list(models), "final_model": "m", "report": "s3://b/r.html", **changes}


def test_end_says_what_was_gained_and_where_the_report_is():
    told = of_end("mine", result(model(0, 0.461), model(1, 0.95), used={"gpu_hours": 12.34}))
    assert told.kind == "ended"
    assert told.text == (
        "lidr: run mine has ended. Other languages' average 46.1% → 95.0% (M_1, tiny/2). "
        "M_1: the gain is real. Used: 12.3 GPU hours. Report: s3://b/r.html"
    )


def test_stop_by_gate_reward_check_or_budget_is_told_as_one():
    rejected = model(1, 0.2, verdict="stop", promoted=False, decision="stop", reason="de fell")
    gate = of_end("mine", result(model(0, 0.4), rejected))
    assert gate.kind == "stopped" and "No model was promoted" in gate.text
    assert "M_1: de fell." in gate.text
    stop = {"iteration": 1, "reason": "the budget stopped the loop before M_1: too dear"}
    budget = of_end("mine", result(model(0, 0.4), stopped=stop))
    assert budget.kind == "stopped"
    assert "M_1 was not made: the budget stopped the loop before M_1: too dear." in budget.text
    assert budget.name != of_end("mine", result(model(0, 0.4), stopped=None)).name


def test_run_that_only_measured_its_start_had_no_model_to_promote():
    told = of_end("mine", result(model(0, 0.4, verdict="stop", decision="start"))).text
    assert "Only the start was measured; the other languages' average is 40.0%." in told


def test_bound_of_the_iterations_is_an_end_and_no_stop():
    promoted = model(1, 0.9, verdict="stop", promoted=True)
    kept = model(1, 0.9, verdict="stop", promoted=False, decision="keep")
    for last in (promoted, kept):
        assert of_end("mine", result(model(0, 0.4), last)).kind == "ended"


def test_failure_says_why_and_the_command_that_resumes():
    failure = {
        "step": "train",
        "iteration": 1,
        "message": "no GPU is free. Wait.\nlog",
        "expected": True,
    }
    told = of_failure("mine", "id", failure, "lidr submit r --run mine")
    assert told.text == (
        "lidr: run mine has failed at M_1 train: no GPU is free. Wait. `lidr submit r --run mine` "
        "resumes it."
    )


def test_failure_that_nobody_foresaw_quotes_nothing():
    """A library's message may hold a model's text."""
    failure = {
        "step": "pair",
        "iteration": 2,
        "message": "KeyError: 'model text'",
        "expected": False,
    }
    told = of_failure("mine", "id", failure, "lidr run r --run mine").text
    assert "model text" not in told and "at M_2 pair: an unexpected error" in told
    assert "no step said why" in of_failure("mine", "id", None, "c").text


def test_words_of_others_are_short_and_mention_nobody(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_planted0token")
    told = chat_safe("<!channel> @here `rm` s3://a:b@c hf_planted0token\x1b[0m\nsecond")
    assert told == "‹!channel› (at)here 'rm' s3://(redacted)(at)c (redacted)\ufffd(0m"
    assert chat_safe("[click](http://x.y)") == "(click)(http://x.y)", "a link to elsewhere"
    assert len(chat_safe("x" * 1000)) == 400


def status(*rows: StepRow) -> Status:
    return Status("mine", "running", "", rows)


def test_wait_and_silence_are_told_once_for_as_long_as_they_last(tmp_path):
    store, settings = LocalStore(tmp_path), Notify(waiting_minutes=10, silent_minutes=20)

    def look(now: float, *rows: StepRow) -> list[str]:
        steps = observe(store, status(*rows), "first", now)
        return [notice.name for notice in notices_of("mine", steps, settings, now)]

    waits = StepRow(1, "train", "waiting", note="queue lidr: no quota")
    runs = StepRow(1, "generate", "running", done=120, total=400, unit="requests")
    assert look(0.0, waits, runs) == []
    first = look(660.0, waits, runs)
    assert len(first) == 1 and first[0].startswith("waits-")
    both = look(1300.0, waits, runs)
    assert both[0] == first[0] and both[1].startswith("silent-")
    moved = StepRow(1, "generate", "running", done=121, total=400)
    assert look(1400.0, waits, moved) == first
    assert look(1500.0, StepRow(1, "train", "running"), moved) == []
    assert look(1600.0, waits) == []
    later = look(2300.0, waits)
    assert len(later) == 1 and later != first, "another wait is another notice"


def test_a_run_that_is_begun_again_has_not_waited_since_the_time_before(tmp_path):
    store, waits = LocalStore(tmp_path), StepRow(0, "prepare", "waiting")
    observe(store, status(waits), "first", 0.0)
    assert observe(store, status(waits), "first", 60.0)[0].since == 0.0
    assert observe(store, status(waits), "second", 36_000.0)[0].since == 36_000.0


def test_setting_of_zero_tells_nothing(tmp_path):
    store, settings = LocalStore(tmp_path), Notify(waiting_minutes=0, silent_minutes=0)
    observe(store, status(StepRow(END, "report", "waiting")), "first", 0.0)
    steps = observe(store, status(StepRow(END, "report", "waiting")), "first", 9e9)
    assert steps[0].place == "report" and list(notices_of("mine", steps, settings, 9e9)) == []


SEEN = [
    b"",
    b"[]",
    b'{"execution": "first", "steps": 3}',
    b'{"execution": "first", "steps": {"1/train": 3}}',
    b'{"execution": "first", "steps": {"1/train": {"since": "x"}}}',
]


@pytest.mark.parametrize("data", SEEN)
def test_what_was_seen_and_cannot_be_read_is_seen_again(tmp_path, data):
    store = LocalStore(tmp_path)
    store.write("runs/mine/notices/seen.json", data)
    (step,) = observe(store, status(StepRow(1, "train", "waiting")), "first", 100.0)
    assert step.since == 100.0


def test_words_of_waits_and_silence():
    waits = of_wait("mine", "M_1 train", 61.2, 0.0, "queue lidr: no quota.")
    assert waits.text == (
        "lidr: M_1 train of run mine has waited for 61 minutes: queue lidr: no quota."
    )
    silent = of_silence("mine", "M_1 generate", 130.0, 0.0, "120 of 400 requests")
    assert silent.text == (
        "lidr: M_1 generate of run mine has made no progress for 130 minutes, at 120 of 400 "
        "requests."
    )
