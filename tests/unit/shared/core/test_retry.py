"""Asking again: how long, with which pauses, and what the user hears of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from lidr.components.shared.core import retry as module
from lidr.components.shared.core.errors import BadInput, Unavailable
from lidr.components.shared.core.events import listening
from lidr.components.shared.core.retry import (
    RETRY_VARIABLE,
    Wait,
    report_wait,
    retry,
    retry_seconds,
)
from lidr.pipelines.placement import SETTINGS
from tests.yaml_text import read_documents

WHO = "the store at http://s3"


class Clock:
    """Time that passes in pauses alone."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "monotonic", made.monotonic)
    monkeypatch.setattr(module, "sleep", made.sleep)
    return made


@pytest.fixture
def heard():
    events: list[dict[str, object]] = []
    with listening(events.append):
        yield events


def explain(error: Exception) -> Unavailable | None:
    return Unavailable("it is away") if isinstance(error, OSError) else None


class Service:
    """Fails a number of times."""

    def __init__(self, failures: int, seconds: float = 0.0) -> None:
        self.failures = failures
        self.seconds = seconds
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            time.sleep(self.seconds)
            raise ConnectionError
        return "answer"


def test_retry_asks_with_growing_pauses_until_it_is_answered(clock):
    service = Service(failures=12)
    assert retry(service, WHO, explain, 900) == "answer"
    assert len(clock.pauses) == 12
    for number, pause in enumerate(clock.pauses):
        most = min(30.0, 0.2 * 2**number)
        assert most / 2 <= pause <= most
    assert clock.now > 100  # two minutes of outage are survived


def test_retry_ends_with_the_explanation_when_the_time_is_over(clock):
    service = Service(failures=10**6)
    with pytest.raises(Unavailable, match="it is away") as caught:
        retry(service, WHO, explain, 900)
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert clock.now == pytest.approx(900)
    assert service.calls > 900 / 30


def test_retry_does_not_repeat_what_waiting_cannot_mend(clock):
    calls = []

    def refused() -> None:
        calls.append(1)
        raise ValueError

    with pytest.raises(ValueError):
        retry(refused, WHO, explain, 900)
    assert (len(calls), clock.pauses) == (1, [])


@pytest.mark.parametrize(("seconds", "until"), [(None, 215), (600, 600)])
def test_retry_under_way_ends_soon_once_answers_are_wanted_quickly(
    clock, monkeypatch, seconds, until
):
    """A step's threads may wait for the store when the step fails; a stated time stays."""
    monkeypatch.setenv(RETRY_VARIABLE, "900")

    def fails() -> None:
        monkeypatch.setattr(module, "_answering_quickly", clock.now >= 200)
        raise ConnectionError

    with pytest.raises(Unavailable):
        retry(fails, WHO, explain, seconds)
    assert until <= clock.now <= until + 30


def test_retry_without_time_asks_once(clock):
    service = Service(failures=3)
    with pytest.raises(Unavailable):
        retry(service, WHO, explain, 0)
    assert service.calls == 1


def test_retry_reports_a_wait_and_its_end(monkeypatch, heard):
    monkeypatch.setattr(module, "REPORT_SECONDS", 0.2)
    assert retry(Service(failures=3, seconds=0.1), WHO, explain, 900) == "answer"
    warning, note = heard
    assert warning["event"] == "warning"
    assert warning["message"] == "it is away (for 0.2 s now); asking again for up to 15 minutes"
    assert note["event"] == "note"
    assert str(note["message"]).startswith(f"{WHO} answers again, after ")


def test_retry_reports_a_request_that_stalls_before_it_fails(monkeypatch, heard):
    monkeypatch.setattr(module, "REPORT_SECONDS", 0.1)
    retry(lambda: time.sleep(0.4), WHO, explain, 60)
    assert heard[0]["message"] == f"{WHO} has not answered for 0.1 s; asking again for up to 60 s"
    assert "answers again" in str(heard[1]["message"])


def test_retry_says_nothing_of_an_answer_that_makes_progress(monkeypatch, heard):
    monkeypatch.setattr(module, "REPORT_SECONDS", 0.3)
    wait = Wait(WHO, 60)

    def transfer() -> None:
        for _ in range(12):
            time.sleep(0.05)
            wait.note_progress(100)

    wait.call(transfer, explain)
    assert heard == []


def test_retry_reports_only_failures_of_what_may_take_long(monkeypatch, heard):
    monkeypatch.setattr(module, "REPORT_SECONDS", 0.1)
    retry(lambda: time.sleep(0.4), WHO, explain, 60, long=True)
    assert heard == []
    retry(Service(failures=3, seconds=0.1), WHO, explain, 60, long=True)
    assert [event["event"] for event in heard] == ["warning", "note"]


def test_retry_reports_one_service_once_however_many_threads_wait(monkeypatch, heard):
    monkeypatch.setattr(module, "REPORT_SECONDS", 0.1)
    start = Barrier(8)

    def ask(_: int) -> None:
        start.wait()
        retry(lambda: time.sleep(0.4), WHO, explain, 60)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert [event["event"] for event in heard] == ["warning", "note"]
    retry(lambda: time.sleep(0.2), WHO, explain, 60)
    assert len(heard) == 4, "the next wait is another one"


def test_retry_seconds_are_set_and_short_for_commands(monkeypatch):
    monkeypatch.delenv(RETRY_VARIABLE)
    assert retry_seconds() == 900
    monkeypatch.setenv(RETRY_VARIABLE, "120")
    assert retry_seconds() == 120
    with module.answering_quickly():
        assert retry_seconds() == 15
        monkeypatch.setenv(RETRY_VARIABLE, "0")
        assert retry_seconds() == 0
        monkeypatch.setenv(RETRY_VARIABLE, "120")
    assert retry_seconds() == 120


def test_retry_seconds_reach_pods_from_the_shipped_settings(monkeypatch):
    assert RETRY_VARIABLE in SETTINGS
    manifests = Path(__file__).resolve().parents[4] / "manifests" / "base" / "environment.yaml"
    shipped = next(read_documents(manifests.read_text("utf-8")))["data"][RETRY_VARIABLE]
    monkeypatch.delenv(RETRY_VARIABLE)
    assert float(shipped) == retry_seconds()


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1e999"])
def test_retry_seconds_must_be_a_number_of_seconds(monkeypatch, text):
    monkeypatch.setenv(RETRY_VARIABLE, text)
    with pytest.raises(BadInput, match=f"LIDR_RETRY_SECONDS is '{text}'. Set it to seconds"):
        retry_seconds()


def test_a_wait_of_another_kind_is_reported_once_it_lasts(monkeypatch, heard):
    monkeypatch.setattr(module, "REPORT_SECONDS", 0.1)
    with report_wait("short"):
        pass
    with report_wait("others have the lease"):
        time.sleep(0.3)
    assert heard == [{"event": "note", "message": "others have the lease"}]
