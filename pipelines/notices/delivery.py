"""Delivers notices: each is written to the store, then sent, then marked as sent.

A notice is `runs/<run>/notices/<name>/notice.json`, created once. Before each attempt to send it, a
sender creates `attempt-<n>.json`; only one can, so two never send at a time. `sent.json` marks
success. A sender that is killed between the receiver's answer and `sent.json` leaves an open
attempt, and nobody can know whether the notice arrived. It is then sent again, since a lost notice
of a failure is worse than a repeated one, and with the same `Idempotency-Key`, by which a receiver
can drop the second one.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import defaultdict
from collections.abc import Collection
from typing import Any, NamedTuple

import urllib3
from urllib3.exceptions import HTTPError

from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.core.json_files import Fields, read_object
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import run_key
from lidr.pipelines.notices.notice import Notice

CONNECT_SECONDS = 5.0
"""Timeout for connecting to a receiver."""

ANSWER_SECONDS = 10.0
"""Timeout for its answer; a receiver that answers later gets the notice again."""

STALE_SECONDS = 30.0
"""The sender of an open attempt that is older than this has died."""

QUICK_ATTEMPTS = 10
PAUSE_SECONDS = 600.0
"""After so many attempts a notice is tried only so often: each attempt leaves a file."""

_NOTICE: Fields = {"text": str}
_ATTEMPT: Fields = {"time": float, "failed": str}


class Unsent(NamedTuple):
    """The result of delivering a run's notices.

    Attributes:
        left: how many wait for the next attempt.
        reason: why the last of them does.
    """

    left: int = 0
    reason: str = ""


def enqueue(store: Store, notice: Notice) -> bool:
    """Write a notice to the store, to be sent; return False if it was there before."""
    key = f"{_folder(notice.run)}/{notice.name}/notice.json"
    if store.exists(key):
        return False
    content = {"text": notice.text, "kind": notice.kind, "about": notice.about}
    return store.create(key, json.dumps({**content, "writer": uuid.uuid4().hex}).encode())


def deliver(store: Store, run: str, url: str, *, wait: bool = False) -> Unsent:
    """Send a run's notices that have not been sent.

    Args:
        store: that the run is on.
        run: its name.
        url: the receiver's address, which is a secret; "" sends nothing.
        wait: whether to wait for another sender's open attempt, at most `STALE_SECONDS`.
    """
    unsent = _unsent(store, run)
    if not url:
        return Unsent(len(unsent), "no address to send it to")
    faults = [
        _Sender(store, f"{_folder(run)}/{name}", files).send(url, wait)
        for name, files in unsent.items()
    ]
    failed = [fault for fault in faults if fault]
    return Unsent(len(failed), failed[-1] if failed else "")


def _unsent(store: Store, run: str) -> dict[str, set[str]]:
    """Return the names of a run's unsent notices by their alphabet, each with its files' names."""
    found: dict[str, set[str]] = defaultdict(set)
    for entry in store.list(_folder(run)):
        *_, name, file = entry.key.split("/")
        found[name].add(file)
    return {
        name: files
        for name, files in sorted(found.items())
        if "notice.json" in files and "sent.json" not in files
    }


class _Sender:
    """Sends one notice."""

    def __init__(self, store: Store, folder: str, files: Collection[str]) -> None:
        self._store, self._folder = store, folder
        attempts = [file.removesuffix(".json") for file in files if file.startswith("attempt-")]
        self._last = max((int(each.removeprefix("attempt-")) for each in attempts), default=0)

    def send(self, url: str, wait: bool) -> str | None:
        """Return "" if it was sent, why it failed, or None if it is not to be sent now."""
        if self._last:
            before = self._read(f"attempt-{self._last}.json", _ATTEMPT)
            if not _is_over(before, wait):
                return "another sender is sending it"
            if self._last >= QUICK_ATTEMPTS and time.time() - before["time"] < PAUSE_SECONDS:
                return str(before["failed"])
        attempt = f"{self._folder}/attempt-{self._last + 1}.json"
        sent = f"{self._folder}/sent.json"
        if self._store.exists(sent) or not self._store.create(attempt, _attempt_content("")):
            return None
        text = self._read("notice.json", _NOTICE)["text"]
        if fault := _post(url, text, digest_of([self._store.uri, self._folder])):
            self._store.write(attempt, _attempt_content(fault))
            return fault
        self._store.create(sent, _attempt_content(""))
        return ""

    def _read(self, name: str, fields: Fields) -> dict[str, Any]:
        key = f"{self._folder}/{name}"
        found: dict[str, Any] = read_object(
            self._store.read(key), f"{self._store.uri}/{key}", fields
        )
        return found


def _is_over(attempt: dict[str, Any], wait: bool) -> bool:
    """Return whether an attempt has failed, or its sender must have died."""
    open_for = STALE_SECONDS - (time.time() - attempt["time"])
    if attempt["failed"] or open_for <= 0:
        return True
    if wait:
        time.sleep(min(open_for, STALE_SECONDS))
    return wait


def _post(url: str, text: str, key: str) -> str:
    """Send a text to a chat's incoming webhook; return "", or why it was not accepted.

    The address is a secret, so that reasons name only the type of an error. By `key` the receiver
    recognizes a repeated notice.
    """
    headers = {"Content-Type": "application/json", "Idempotency-Key": key, "User-Agent": "lidr"}
    try:
        answer = urllib3.request(
            "POST",
            url,
            body=json.dumps({"text": text}).encode(),
            headers=headers,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS),
            retries=False,
            redirect=False,
        )
    except (HTTPError, ValueError) as error:
        return f"the receiver cannot be reached ({type(error).__name__})"
    return "" if 200 <= answer.status < 300 else f"the receiver answered HTTP {answer.status}"


def _attempt_content(failed: str) -> bytes:
    content = {"time": time.time(), "failed": failed, "sender": uuid.uuid4().hex}
    return json.dumps(content).encode()


def _folder(run: str) -> str:
    return run_key(run, "notices")
