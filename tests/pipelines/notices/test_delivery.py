"""Notices on their way: once each, whoever is killed when, and to nobody's harm."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lidr.components.shared.store.local import LocalStore
from lidr.pipelines.notices import delivery
from lidr.pipelines.notices.delivery import Unsent, deliver, enqueue
from lidr.pipelines.notices.notice import Notice
from tests.receivers import Receiver, receiving
from tests.warm import python

NOTICES = [Notice("mine", "ended", f"n{number}", f"lidr: told {number}") for number in range(5)]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def test_notice_is_sent_once_in_words_that_chats_take(store, receiver):
    assert enqueue(store, NOTICES[0]) and not enqueue(store, NOTICES[0])
    assert deliver(store, "mine", receiver.url) == Unsent()
    assert deliver(store, "mine", receiver.url) == Unsent()
    ((key, body),) = receiver.received
    assert body == {"text": "lidr: told 0"} and len(key) == 64


def test_notice_of_another_text_and_the_same_cause_is_the_first_one(store, receiver):
    enqueue(store, NOTICES[0])
    assert not enqueue(store, Notice("mine", "ended", "n0", "in other words"))
    deliver(store, "mine", receiver.url)
    assert receiver.texts == ["lidr: told 0"]


@pytest.mark.parametrize("status", [404, 429, 500, 302])
def test_receiver_that_refuses_is_asked_again_at_the_next_chance(store, receiver, status):
    enqueue(store, NOTICES[0])
    receiver.status = status
    reason = f"the receiver answered HTTP {status}"
    assert deliver(store, "mine", receiver.url) == Unsent(1, reason)
    receiver.status = 200
    assert deliver(store, "mine", receiver.url) == Unsent()
    assert len({key for key, _ in receiver.received}) == 1


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/planted-path", "http://[::1/planted-path", "planted-path", "é"]
)
def test_receiver_that_is_away_costs_seconds_and_its_address_is_not_told(
    store, url, capsys, monkeypatch
):
    monkeypatch.setattr(delivery, "CONNECT_SECONDS", 1.0)
    enqueue(store, NOTICES[0])
    done = deliver(store, "mine", url)
    assert done.left == 1
    kept = [path.read_text() for path in store.root.rglob("*.json")]
    told = "".join([done.reason, *capsys.readouterr(), *kept])
    assert "planted" not in told and "cannot be reached" in told


def test_receiver_that_never_answers_costs_seconds(store, receiver, monkeypatch):
    monkeypatch.setattr(delivery, "ANSWER_SECONDS", 0.3)
    enqueue(store, NOTICES[0])
    receiver.before = lambda: time.sleep(1.0)
    began = time.monotonic()
    assert deliver(store, "mine", receiver.url).left == 1
    assert time.monotonic() - began < 1.0


def test_without_an_address_notices_wait(store):
    enqueue(store, NOTICES[0])
    assert deliver(store, "mine", "") == Unsent(1, "no address to send it to")


def test_two_senders_never_send_the_same_notice_at_a_time(store, receiver):
    enqueue(store, NOTICES[0])
    other: list[Unsent] = []
    receiver.before = lambda: other.append(deliver(store, "mine", receiver.url))
    assert deliver(store, "mine", receiver.url) == Unsent()
    assert other == [Unsent(1, "another sender is sending it")]
    assert len(receiver.received) == 1


_SENDER = """
import sys
from pathlib import Path
from lidr.components.shared.store.local import LocalStore
from lidr.pipelines.notices import delivery
from lidr.pipelines.notices.notice import Notice
delivery.STALE_SECONDS = 0.2
store, url = LocalStore(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(5):
    notice = Notice("mine", "ended", f"n{number}", f"lidr: told {number}")
    delivery.enqueue(store, notice)
    delivery.deliver(store, "mine", url, wait=True)
print("done", flush=True)
"""


def start(store: LocalStore, url: str) -> subprocess.Popen[str]:
    """Start a sender of all notices, up to where it begins."""
    command = [python(), "-c", _SENDER, str(store.root), url]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> bool:
    """Let a sender go on to its end; return whether it got there."""
    out, _ = process.communicate("\n")
    return out == "done\n"


def test_each_notice_is_received_once_while_its_sender_is_killed_at_ten_moments(store, receiver):
    """A receiver of Idempotency-Keys takes each once; any other at most once more a kill."""
    chance = random.Random(0)
    for _ in range(10):
        process = start(store, receiver.url)
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(chance.uniform(0.0, 0.05))
        process.kill()
        process.communicate()
    assert finish(start(store, receiver.url))
    assert sorted(receiver.texts) == [notice.text for notice in NOTICES]
    assert len(receiver.received) <= len(NOTICES) + 10
    before = len(receiver.received)
    assert finish(start(store, receiver.url))
    assert len(receiver.received) == before, "what was sent is not sent again"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_notice_of_a_sender_killed_around_the_answer_has_the_same_key_again(
    store, receiver, moment
):
    """Killed once the request had come, or once it was answered: nobody can tell which."""
    process = start(store, receiver.url)
    left = [process]

    def kill() -> None:
        if left:
            left.pop().kill()

    setattr(receiver, moment, kill)
    assert not finish(process)
    assert finish(start(store, receiver.url))
    counts = Counter(key for key, _ in receiver.received)
    assert len(counts) == len(NOTICES) and max(counts.values()) <= 2
    assert sorted(receiver.texts) == [notice.text for notice in NOTICES]


def test_notice_is_tried_less_often_after_many_attempts(store, receiver, monkeypatch):
    monkeypatch.setattr(delivery, "QUICK_ATTEMPTS", 2)
    enqueue(store, NOTICES[0])
    receiver.status = 500
    told = [deliver(store, "mine", receiver.url) for _ in range(4)]
    assert told == [(1, "the receiver answered HTTP 500")] * 4
    assert len(receiver.received) == 2
    monkeypatch.setattr(delivery, "PAUSE_SECONDS", 0.0)
    receiver.status = 200
    assert deliver(store, "mine", receiver.url).left == 0


def test_what_is_kept_of_a_notice_names_no_address(store, receiver):
    enqueue(store, NOTICES[0])
    deliver(store, "mine", receiver.url)
    kept = [json.loads(path.read_text()) for path in store.root.rglob("*.json")]
    assert len(kept) == 3 and "secret-part" not in json.dumps(kept)
