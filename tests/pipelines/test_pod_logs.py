"""Which pods' logs `lidr logs` reads, in which order, and what it says of those it cannot read."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from lidr.components.shared.core import retry
from lidr.components.shared.core.errors import BadInput, Unavailable
from lidr.components.shared.core.events import listening
from lidr.pipelines.cluster import logs
from lidr.pipelines.cluster.waiting import CONTAINER
from tests.argo import pod_metadata

CLIENT = SimpleNamespace(settings=SimpleNamespace(experiment="lidr"))
MOMENT = "2026-12-01T00:00:00Z"


class Pods:
    """The pods of one run, and their logs; a pod without a log is on a node that is gone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = SimpleNamespace(run_id="r", state="SUCCEEDED", description="")
        self.found: list[dict] = []
        self.printed: dict[str, str] = {}
        self.asked: list[str] = []
        monkeypatch.setattr(logs.runs, "newest_run", lambda *_: self.run)
        monkeypatch.setattr(logs.runs, "read_run", lambda *_: self.run)

    def put(self, step: str, name: str, minute: int = 0, *, ended: bool = True) -> None:
        metadata = pod_metadata("r", f"w(0).root(0).iteration(0).{step}(0).executor(0)", "impl")
        metadata |= {"name": name, "uid": name, "creationTimestamp": f"2026-12-01T00:{minute:02}"}
        state = {"containerStatuses": [{"name": CONTAINER, "state": {"running": {}}}]}
        status = {"phase": "Succeeded"} if ended else {"phase": "Running", **state}
        self.found.append({"metadata": metadata, "status": status})

    def pods(self, run_id: str) -> list[dict]:
        return self.found

    def log(self, pod: str, container: str, **options: object) -> str:
        self.asked.append(pod)
        if pod not in self.printed:
            raise Unavailable("the Kubernetes API fails (HTTP 500)")
        return f"{MOMENT} {self.printed[pod]}\n"


@pytest.fixture
def pods(monkeypatch) -> Pods:
    return Pods(monkeypatch)


def test_logs_are_in_the_order_of_the_steps_and_of_their_attempts(pods):
    for step, name, minute in (("evaluate", "c", 3), ("train", "a", 2), ("train", "b", 1)):
        pods.put(step, name, minute)
        pods.printed[name] = name
    found = list(logs.read_logs(CLIENT, pods, "mine"))
    assert found == [("M_1 train", "b"), ("M_1 train", "a"), ("M_1 evaluate", "c")]


def test_logs_of_the_others_are_read_where_a_pod_s_node_is_gone(pods):
    pods.put("train", "gone")
    pods.put("evaluate", "there")
    pods.printed["there"] = "score 1"
    lines = logs.read_logs(CLIENT, pods, "mine")
    assert next(lines) == ("M_1 evaluate", "score 1")
    with pytest.raises(Unavailable, match=r"lines of M_1 train \(gone\) are missing: .*HTTP 500"):
        next(lines)


def test_logs_that_cannot_be_read_are_followed_again(pods, monkeypatch):
    heard: list[dict[str, object]] = []
    pods.put("train", "away")
    pods.put("evaluate", "there", ended=False)
    pods.printed["there"] = "score 1"
    pods.run.state = "RUNNING"
    polls = iter(range(4))

    def sleep(_: float) -> None:
        if next(polls) == 2:
            pods.run.state = "FAILED"

    monkeypatch.setattr(logs.time, "sleep", sleep)
    monkeypatch.setattr(retry, "sleep", lambda _: pods.printed.setdefault("away", "loss 0.3"))
    with listening(heard.append):
        found = list(logs.read_logs(CLIENT, pods, "mine", follow=True))
    assert found == [("M_1 evaluate", "score 1"), ("M_1 train", "loss 0.3")]
    assert [event["message"] for event in heard] == [
        "no lines of M_1 train (away) for now: the Kubernetes API fails (HTTP 500)"
    ]


def test_logs_of_an_ended_pod_are_read_once_more(pods, monkeypatch):
    pods.put("train", "old")
    pods.put("evaluate", "new", ended=False)
    pods.printed |= {"old": "loss 0.3", "new": "score 1"}
    pods.run.state = "RUNNING"
    polls = iter(["RUNNING", "RUNNING", "SUCCEEDED"])
    monkeypatch.setattr(logs.time, "sleep", lambda _: setattr(pods.run, "state", next(polls)))
    assert len(list(logs.read_logs(CLIENT, pods, "mine", follow=True))) == 2
    assert (pods.asked.count("old"), pods.asked.count("new")) == (1, 4)


def test_logs_that_do_not_come_name_what_they_are_of(pods, monkeypatch):
    asked = "step 'train' of iteration 7 of run 'mine'"
    with pytest.raises(BadInput, match=f"{asked} has no pods: none has started"):
        list(logs.read_logs(CLIENT, pods, "mine", "train", 7))
    heard: list[dict[str, object]] = []
    told = threading.Event()

    def listener(event: dict[str, object]) -> None:
        heard.append(event)
        told.set()

    def sleep(_: float) -> None:
        assert told.wait(10)
        pods.run.state = "FAILED"

    pods.run.state = "RUNNING"
    monkeypatch.setattr(logs.time, "sleep", sleep)
    monkeypatch.setattr(retry, "REPORT_SECONDS", 0.0)
    with listening(listener), pytest.raises(BadInput, match=asked):
        list(logs.read_logs(CLIENT, pods, "mine", "train", 7, follow=True))
    assert f"no pod of {asked} has started; waiting for one" in [each["message"] for each in heard]
