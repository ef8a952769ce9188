from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from errno import ENOSPC
from io import StringIO
from os import strerror

import pytest

from lidr.components.shared.core import events as module
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import EVENTS_VARIABLE, Meter, emit, tick
from lidr.components.shared.step import step


@pytest.fixture
def events(tmp_path, monkeypatch):
    """The events of this test, read from the file on each call."""
    path = tmp_path / "events.jsonl"
    monkeypatch.setenv(EVENTS_VARIABLE, str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def clock(monkeypatch):
    """A clock that only this test moves."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_step_reports_its_start_and_end(events):
    @step("demo")
    def work(*, iteration: int) -> str:
        """Docstring."""
        return f"done {iteration}"

    assert work(iteration=3) == "done 3"
    started, finished = events()
    assert (started["event"], started["step"], started["iteration"]) == ("started", "demo", 3)
    assert (finished["event"], finished["step"]) == ("finished", "demo")
    assert finished["seconds"] >= 0
    assert work.__doc__ == "Docstring."


def test_a_failure_on_purpose_is_reported_and_raised(events):
    @step("demo")
    def work() -> str:
        raise BadInput("wrong", file="f.yaml", line=3, remedy="Mend it.")

    with pytest.raises(BadInput):
        work()
    failed = events()[-1]
    assert (failed["event"], failed["exit_code"]) == ("failed", 2)
    assert failed["message"] == "f.yaml:3: wrong. Mend it."


def test_a_bug_is_raised_as_it_is(events):
    @step("demo")
    def work() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    _, failed = events()
    told = {"event": "failed", "message": "ZeroDivisionError", "exit_code": 1, "unexpected": True}
    assert told.items() <= failed.items()


@pytest.mark.parametrize("place", ["/dev/full", "absent/events.jsonl"])
def test_events_that_cannot_be_written_change_no_outcome(place, monkeypatch, tmp_path, capsys):
    @step("demo")
    def work(*, wrong: bool) -> str:
        if wrong:
            raise BadInput("wrong", remedy="Fix it.")
        return "done"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(EVENTS_VARIABLE, place)
    assert work(wrong=False) == "done"
    with pytest.raises(BadInput, match="wrong"):
        work(wrong=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["started", "finished", "started", "failed"]
    assert lines[-1] == "lidr failed step=demo message=wrong. Fix it. exit_code=2"


class Full(StringIO):
    """A file on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(ENOSPC, strerror(ENOSPC))


def test_events_that_stderr_does_not_take_either_change_no_outcome(monkeypatch):
    monkeypatch.setattr("sys.stderr", Full())
    monkeypatch.setenv(EVENTS_VARIABLE, "/dev/full")
    emit("note", message="lost")


def test_any_text_is_one_line(events):
    emit("note", message="two\nlines \u2028 \ud800 \0 👋")
    [note] = events()
    assert note["message"] == "two\nlines \u2028 \ud800 \0 👋"


def test_events_of_many_writers_do_not_mix(events):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: emit("note", message="x" * 2000, number=n), range(200)))
    assert sorted(event["number"] for event in events()) == list(range(200))


def test_without_a_file_events_are_log_lines(monkeypatch, capsys):
    monkeypatch.delenv(EVENTS_VARIABLE, raising=False)
    emit("warning", message="look here")
    assert capsys.readouterr().err == "lidr warning message=look here\n"


def test_a_meter_reports_twice_a_second_and_at_the_end(events, clock):
    meter = Meter(100, "requests", "tokens")
    for _ in range(100):
        clock[0] += 0.1
        meter.advance(1, 50)
    found = events()
    assert 15 <= len(found) <= 25
    assert (found[-1]["done"], found[-1]["total"]) == (100, 100)
    assert found[-1]["rate"] == pytest.approx(500)
    assert (found[-1]["unit"], found[-1]["rate_unit"]) == ("requests", "tokens")


def test_a_meter_s_guess_follows_the_pace(clock, events):
    meter = Meter(10, "steps")
    assert meter.seconds_left == 0
    clock[0] += 8
    meter.advance(4)
    assert meter.seconds_left == pytest.approx(12)
    assert events()[0]["seconds_left"] == 12


def test_a_meter_is_told_of_work_that_is_under_way(events, clock):
    meter = Meter(2, "requests", "tokens")
    tick(99)
    with meter.watching():
        for _ in range(10):
            clock[0] += 1
            tick(3)
    tick(99)
    found = events()
    assert [event["amount"] for event in found] == list(range(3, 31, 3))
    assert {event["done"] for event in found} == {0}
    assert not any("seconds_left" in event for event in found), "nothing is known of the rest"
    assert found[-1]["rate"] == pytest.approx(3)
    meter.advance(1, 30)
    meter.advance(1, 12)
    assert events()[-1]["amount"] == 42, "what is finished was told of before"


def test_a_meter_in_a_pod_is_quieter(monkeypatch, clock, capsys):
    monkeypatch.delenv(EVENTS_VARIABLE, raising=False)
    meter = Meter(1000, "steps")
    for _ in range(600):
        clock[0] += 0.1
        meter.advance()
    assert 6 <= len(capsys.readouterr().err.splitlines()) <= 7
