"""Notices on their way: written down first, then sent, then marked as sent.

A notice is `runs/<run>/notices/<name>/notice.json`, created once. Every sending is announced by an
object `attempt-<n>.json` that one sender alone can create, so two never send at a time, and
`sent.json` ends it. A sender that is killed between the receiver's answer and `sent.json` leaves an
open attempt: nobody can know whether it arrived. It is then sent again, since a lost notice of a
failure is worse than one that comes twice, with the same `Idempotency-Key`, by which a receiver
that cares takes it once.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import urllib3
from urllib3.exceptions import HTTPError

from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.core.json_files import Fields, read_object
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import run_key
from lidr.pipelines.notices.notice import Notice

SECONDS = 5.0
"""Longest wait for a receiver to be reached."""

ANSWER_SECONDS = 10.0
"""Longest wait for its answer. One that takes a notice and answers later will get it again."""

STALE_SECONDS = 30.0
"""An attempt without an end that is older had a sender that died."""

MAX_ATTEMPTS = 500
"""Then a notice is given up: at one a minute, after eight hours."""

_NOTICE: Fields = {"text": str}
_ATTEMPT: Fields = {"time": float, "failed": str}


class Delivered(NamedTuple):
    """What became of a run's notices.

    Attributes:
        sent: how many were sent now.
        left: how many wait for the next chance.
        reason: why the last one does.
    """

    sent: int = 0
    left: int = 0
    reason: str = ""


def announce(store: Store, notice: Notice) -> bool:
    """Write a notice down, to be sent; return False where it had been before."""
    told = {"text": notice.text, "kind": notice.kind, "about": notice.about}
    key = f"{_folder(notice.run)}/{notice.name}/notice.json"
    if store.exists(key):
        return False
    return store.create(key, json.dumps({**told, "writer": uuid.uuid4().hex}).encode())


def deliver(store: Store, run: str, url: str, *, patient: bool = False) -> Delivered:
    """Send a run's notices that have not been sent.

    Args:
        store: that the run is on.
        run: its name.
        url: the receiver's address, which is a secret; "" leaves everything waiting.
        patient: whether to wait for an attempt of somebody else to end, at most `STALE_SECONDS`.
    """
    sent, left, reason = 0, 0, "" if url else "no address to send it to"
    for name, files in _unsent(store, run):
        fault = _Sending(store, f"{_folder(run)}/{name}", files).send(url, patient) if url else "-"
        if fault is None:
            continue
        sent, left = sent + (not fault), left + bool(fault)
        reason = fault if fault not in ("", "-") else reason
    return Delivered(sent, left, reason)


def _unsent(store: Store, run: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the name of each notice that is not sent, and its files' keys by their names."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for entry in store.list(_folder(run)):
        *_, name, file = entry.key.split("/")
        found[name][file] = entry.key
    for name, files in sorted(found.items()):
        if "notice.json" in files and "sent.json" not in files:
            yield name, files


class _Sending:
    """Sends one notice."""

    def __init__(self, store: Store, folder: str, files: Mapping[str, str]) -> None:
        self._store, self._folder = store, folder
        self._attempts = sorted(
            int(file.removeprefix("attempt-").removesuffix(".json"))
            for file in files
            if file.startswith("attempt-")
        )

    def send(self, url: str, patient: bool) -> str | None:
        """Return "" where it was sent, why it was not, or None where it is not ours to send."""
        number = (self._attempts or [0])[-1]
        if number >= MAX_ATTEMPTS:
            return None
        if number and not self._is_over(number, patient):
            return "another sender is at it"
        attempt = f"{self._folder}/attempt-{number + 1}.json"
        if self._exists("sent.json") or not self._store.create(attempt, _described("")):
            return None
        text = self._read("notice.json", _NOTICE)["text"]
        if fault := post(url, text, digest_of([self._store.uri, self._folder])):
            self._store.write(attempt, _described(fault))
            return fault
        self._store.create(f"{self._folder}/sent.json", _described(""))
        return ""

    def _is_over(self, number: int, patient: bool) -> bool:
        """Return whether an attempt has failed, or its sender must have died."""
        attempt = self._read(f"attempt-{number}.json", _ATTEMPT)
        open_for = STALE_SECONDS - (time.time() - attempt["time"])
        if attempt["failed"] or open_for <= 0:
            return True
        if patient:
            time.sleep(min(open_for, STALE_SECONDS))
        return patient

    def _exists(self, name: str) -> bool:
        return self._store.exists(f"{self._folder}/{name}")

    def _read(self, name: str, fields: Fields) -> dict[str, Any]:
        key = f"{self._folder}/{name}"
        found: dict[str, Any] = read_object(
            self._store.read(key), f"{self._store.uri}/{key}", fields
        )
        return found


def post(url: str, text: str, key: str) -> str:
    """Send one text to a chat's incoming webhook; return "" or why it was not taken.

    The address is a secret, so nothing that could quote it is passed on.

    Args:
        url: of the receiver.
        text: what is said.
        key: by which the receiver knows that it has it already.
    """
    headers = {"Content-Type": "application/json", "Idempotency-Key": key, "User-Agent": "lidr"}
    try:
        answer = urllib3.request(
            "POST",
            url,
            body=json.dumps({"text": text}).encode(),
            headers=headers,
            timeout=urllib3.Timeout(connect=SECONDS, read=ANSWER_SECONDS),
            retries=False,
            redirect=False,
        )
    except (HTTPError, ValueError, UnicodeError) as error:
        return f"the receiver cannot be reached ({type(error).__name__})"
    return "" if 200 <= answer.status < 300 else f"the receiver answered HTTP {answer.status}"


def _described(failed: str) -> bytes:
    told = {"time": time.time(), "failed": failed, "sender": uuid.uuid4().hex}
    return json.dumps(told).encode()


def _folder(run: str) -> str:
    return run_key(run, "notices")
