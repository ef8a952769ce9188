"""A lease on the store: one owner at a time, even if an owner dies.

The store only has to create an object where none exists (on S3 `If-None-Match`), and clocks need
not agree. The lease is the object `lease/<n>.json` with the highest n. A process acquires it by
creating n + 1, once n was released (`lease/<n>.free` exists) or was not renewed for the seconds
that it states. The highest object is never deleted, so a number is never used twice.

A waiting process measures by its own clock how long the lease was not renewed: the two clocks may
show any time of day, but must run at about the same pace (25% slower or faster does no harm).
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lidr.components.shared.core.actor import actor
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.json_files import is_finite
from lidr.components.shared.core.retry import report_wait
from lidr.components.shared.store.base import Store

_FOLDER = "lease"
_LEASE_SECONDS = 15.0
_TIMEOUT_SECONDS = 300.0
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.05, 3.0
_TURNS = 4
"""A waiting process asks once in the time in which so many others hold the lease in turn."""
_SAFE_SHARE = 0.7
"""Share of a lease's seconds for which its owner relies on a renewal."""
_READ_SHARE = 0.1
"""Share of a lease's seconds between two readings of its object by a waiting process."""
_LATE_SHARE, _LATE_SECONDS = 0.25, 5.0
"""Share of a lease's seconds, and least seconds, after which a store's answer is late."""
_MAX_KEYS = 40
_MAX_SECONDS = 3600.0
_NAME = re.compile(rf"{_FOLDER}/\d{{12}}\.(?:json|free)")


@dataclass(frozen=True, slots=True)
class LeaseHead:
    """The highest lease object: its number (0 if none), whether the lease is free, and all keys."""

    number: int
    free: bool
    keys: tuple[str, ...]


class Lease:
    """A lease that this process holds; a thread renews it.

    Args:
        store: the folder.
        number: of the lease object.
        seconds: after which it is lost unless it is renewed.
        facts: further fields of the object, about the owner.
    """

    def __init__(
        self,
        store: Store,
        number: int,
        seconds: float,
        facts: Mapping[str, object] | None = None,
    ) -> None:
        self.number = number
        self.lost = False
        self._store = store
        self._seconds = seconds
        self._facts = facts or {}
        self._token = uuid.uuid4().hex
        self._renewals = 0
        self._valid_until = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def acquire(self) -> bool:
        """Create the object; False if another process was first."""
        began = time.monotonic()
        if not self._store.create(_key(self.number), self._text()):
            return False
        if find_head(self._store).number != self.number:  # the number was used, and deleted since
            self._store.delete(_key(self.number))
            return False
        self._valid_until = began + _SAFE_SHARE * self._seconds
        self._thread.start()
        return True

    def start_renewing(self) -> None:
        """Renew a lease that another process acquired and shares with this one."""
        self._thread.start()

    def valid(self) -> bool:
        """Return whether it is certain that no other process has acquired the lease."""
        return not self.lost and time.monotonic() < self._valid_until

    def require(self) -> None:
        """Raise LidrError if another process may hold the lease by now."""
        if not self.valid():
            raise LidrError(
                f"the lease at {self._store.uri} could not be renewed in time",
                remedy="Run the same command again.",
            )

    def release(self) -> None:
        """Release the lease; if the store fails, it runs out instead."""
        self.stop_renewing()
        try:
            self._store.create(_key(self.number, "free"), self._text())
        except LidrError as error:
            emit("note", message=f"the lease was not released: {error}")

    def stop_renewing(self) -> None:
        """Stop renewing the lease; it runs out unless other processes renew it."""
        self._ended.set()
        self._thread.join()

    def _text(self) -> bytes:
        fields = {
            **self._facts,
            "owner": actor(),
            "token": self._token,
            "seconds": self._seconds,
            "renewals": self._renewals,
        }
        return json.dumps(fields).encode()

    def _renew(self) -> None:
        while not self._ended.wait(self._seconds / 5):
            began = time.monotonic()
            self._renewals += 1
            try:
                if find_head(self._store).number > self.number:
                    self.lost = True
                    return
                self._store.write(_key(self.number), self._text())
            except LidrError as error:  # the store may answer again before the lease is over
                emit("note", message=f"the lease was not renewed: {error}")
                continue
            self._valid_until = began + _SAFE_SHARE * self._seconds


@contextmanager
def exclusive(
    store: Store, *, seconds: float = _LEASE_SECONDS, timeout: float = _TIMEOUT_SECONDS
) -> Iterator[Lease]:
    """Hold the lease of a folder.

    Args:
        store: the folder.
        seconds: after which the lease is lost unless it is renewed.
        timeout: longest wait for it, in seconds.

    Raises:
        LidrError: others held it for the whole timeout.
    """
    with report_wait(f"others have the lease at {store.uri}; waiting for it"):
        lease = _acquire(store, seconds, timeout)
    try:
        yield lease
    finally:
        lease.release()


def _acquire(store: Store, seconds: float, timeout: float) -> Lease:
    """Wait for the lease; ask once in `_TURNS` turns of others, so that the store keeps up."""
    began = time.monotonic()
    wait, first = _FIRST_WAIT_SECONDS, -1
    seen = _Observation(began)
    while True:
        asked = time.monotonic()
        head = find_head(store)
        first = head.number if first < 0 else first
        if head.free or seen.stale(store, head, seconds, asked):
            lease = Lease(store, head.number + 1, seconds)
            if lease.acquire():
                clear_earlier(store, head)
                return lease
        if time.monotonic() > began + timeout:
            raise LidrError(
                f"the lease at {store.uri} is held by {seen.owner(store, head)}",
                remedy="Run the same command again.",
            )
        turns = head.number - first
        wait = _TURNS * (time.monotonic() - began) / turns if turns else 1.5 * wait
        wait = min(wait, _MAX_WAIT_SECONDS)
        time.sleep(random.uniform(wait / 2, wait))


class _Observation:
    """What a waiting process has observed of the lease, timed by its own clock."""

    def __init__(self, now: float) -> None:
        self._number = 0
        self._text = b""
        self._since = now
        self._read = 0.0

    def stale(self, store: Store, head: LeaseHead, seconds: float, asked: float) -> bool:
        """Return whether the lease was not renewed for the seconds that it states.

        Args:
            store: the folder.
            head: its highest lease object.
            seconds: of a lease that states none.
            asked: monotonic time at which the store was asked for the head.
        """
        now = time.monotonic()
        if head.number != self._number:
            self._number, self._text, self._since, self._read = head.number, b"", now, now
            return False
        if now - self._read < _READ_SHARE * self._seconds(seconds):
            return False
        self._read = now
        text = read_lease(store, head.number)
        if text != self._text or answered_late(asked, self._seconds(seconds)):
            self._text, self._since = text, time.monotonic()
        return now - self._since > self._seconds(seconds)

    def owner(self, store: Store, head: LeaseHead) -> str:
        """Return the owner, for a message."""
        text = read_lease(store, head.number)
        return str(_parse(text).get("owner", "nobody known")) if text else "others in turn"

    def _seconds(self, default: float) -> float:
        stated = _parse(self._text).get("seconds", default)
        return min(float(stated), _MAX_SECONDS) if is_finite(stated) and stated > 0 else default


def answered_late(asked: float, seconds: float) -> bool:
    """Return whether the store was so slow that an owner could not renew its lease either.

    Args:
        asked: monotonic time at which it was asked.
        seconds: that the lease lasts.
    """
    return time.monotonic() - asked > max(_LATE_SECONDS, _LATE_SHARE * seconds)


def _parse(text: bytes) -> dict[str, Any]:
    """Return a lease object's fields; {} for a damaged object, whose lease runs out."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def find_head(store: Store) -> LeaseHead:
    """Return the highest lease object of a folder."""
    listed = (entry.key for entry in store.list(_FOLDER))
    keys = tuple(key for key in listed if _NAME.fullmatch(key))  # other files are not ours
    numbers = [_number(key) for key in keys]
    highest = max(numbers, default=0)
    return LeaseHead(highest, free=not highest or _key(highest, "free") in keys, keys=keys)


def clear_earlier(store: Store, head: LeaseHead) -> None:
    """Delete the earlier leases' objects that `head` lists, if they are many: listing is slow."""
    if len(head.keys) >= _MAX_KEYS:
        for key in head.keys:
            store.delete(key)


def read_lease(store: Store, number: int) -> bytes:
    """Return a lease object's bytes; empty if it is gone."""
    try:
        return store.read(_key(number))
    except FileNotFoundError:  # a process has acquired the next one and deleted this one
        return b""


def _number(key: str) -> int:
    return int(key.rpartition("/")[2].partition(".")[0])


def _key(number: int, kind: str = "json") -> str:
    return f"{_FOLDER}/{number:012d}.{kind}"
