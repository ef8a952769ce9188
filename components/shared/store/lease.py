"""A lease on the store: one owner at a time, also where the owner dies.

It needs no more of a store than creating an object where none exists (on S3 `If-None-Match`), and
no clocks that agree. The lease is the object `lease/<n>.json` with the highest n. A process that
wants it creates n + 1 once n was released (`lease/<n>.free` exists) or was not renewed for as long
as it says. The highest object is never deleted, so a number is never used twice.

The waiting process measures how long it was not renewed: the two clocks must run at about the same
pace (a quarter slower or faster does no harm), and may show any time of day.
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
from lidr.components.shared.core.retry import reported
from lidr.components.shared.store.base import Store

_FOLDER = "lease"
_SECONDS = 15.0
_TIMEOUT = 300.0
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 3.0
_TURNS = 4
_SAFE_SHARE = 0.7
_READ_SHARE = 0.1
_LATE_SHARE, _LATE_SECONDS = 0.25, 5.0
_MAX_KEYS = 40
_LONGEST_SECONDS = 3600.0
_NAME = re.compile(rf"{_FOLDER}/\d{{12}}\.(?:json|free)")


@dataclass(frozen=True, slots=True)
class Head:
    """The highest lease object: its number (0 for none yet), and whether it was released."""

    number: int
    free: bool
    keys: tuple[str, ...]


class Lease:
    """A lease that this process holds; a thread renews it.

    Args:
        store: the folder.
        number: of the lease object.
        seconds: after which it is lost when it is no longer renewed.
        facts: what else the object says of its owner.
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
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def acquire(self) -> bool:
        """Create the object; False where another one was faster."""
        began = time.monotonic()
        if not self._store.create(_key(self.number), self._text()):
            return False
        if find_head(self._store).number != self.number:  # the number was used, and cleared away
            self._store.delete(_key(self.number))
            return False
        self._valid_until = began + _SAFE_SHARE * self._seconds
        self._thread.start()
        return True

    def join(self) -> None:
        """Renew a lease that this process shares with the one that took it."""
        self._thread.start()

    def valid(self) -> bool:
        """Return whether no other process can hold the lease yet."""
        return not self.lost and time.monotonic() < self._valid_until

    def require(self) -> None:
        """Refuse to go on where another process may hold the lease by now.

        Raises:
            LidrError: it could not be renewed in time.
        """
        if not self.valid():
            raise LidrError(
                f"the lease at {self._store.uri} could not be renewed in time",
                remedy="Run the same command again.",
            )

    def release(self) -> None:
        """Release the lease; where the store fails, it runs out instead."""
        self.stop_renewing()
        try:
            self._store.create(_key(self.number, "free"), self._text())
        except LidrError as error:
            emit("note", message=f"the lease was not given back: {error}")

    def stop_renewing(self) -> None:
        """Renew it no longer; it runs out unless others share it."""
        self._ended.set()
        self._thread.join()

    def _text(self) -> bytes:
        held = {
            **self._facts,
            "owner": actor(),
            "token": self._token,
            "seconds": self._seconds,
            "renewals": self._renewals,
        }
        return json.dumps(held).encode()

    def _keep(self) -> None:
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
    store: Store, *, seconds: float = _SECONDS, timeout: float = _TIMEOUT
) -> Iterator[Lease]:
    """Hold the lease of a folder.

    Args:
        store: the folder.
        seconds: after which an owner that no longer renews it has lost it.
        timeout: longest wait for it, in seconds.

    Raises:
        LidrError: others held it all the time.
    """
    with reported(f"others have the lease at {store.uri}: they are waited for"):
        lease = _acquire(store, seconds, timeout)
    try:
        yield lease
    finally:
        lease.release()


def _acquire(store: Store, seconds: float, timeout: float) -> Lease:
    """Wait for the lease, asking once in a few turns of others: many must not crowd the store."""
    began = time.monotonic()
    wait, first = _FIRST_WAIT, -1
    seen = _Seen(began)
    while True:
        asked = time.monotonic()
        head = find_head(store)
        first = head.number if first < 0 else first
        if head.free or seen.stale(store, head, seconds, asked):
            lease = Lease(store, head.number + 1, seconds)
            if lease.acquire():
                clear(store, head)
                return lease
        if time.monotonic() > began + timeout:
            raise LidrError(
                f"the lease at {store.uri} is held by {seen.owner(store, head)}",
                remedy="Run the same command again.",
            )
        turns = head.number - first
        wait = _TURNS * (time.monotonic() - began) / turns if turns else 1.5 * wait
        wait = min(wait, _LONGEST_WAIT)
        time.sleep(random.uniform(wait / 2, wait))


class _Seen:
    """What a waiting process has seen of the lease, by its own clock."""

    def __init__(self, now: float) -> None:
        self._number = 0
        self._text = b""
        self._since = now
        self._read = 0.0

    def stale(self, store: Store, head: Head, seconds: float, asked: float) -> bool:
        """Return whether the same owner has not renewed the lease for as long as it says.

        Args:
            store: the folder.
            head: its highest lease object.
            seconds: that a lease lasts which does not say.
            asked: when the store was asked for the head.
        """
        now = time.monotonic()
        if head.number != self._number:
            self._number, self._text, self._since, self._read = head.number, b"", now, now
            return False
        if now - self._read < _READ_SHARE * self._seconds(seconds):
            return False
        self._read = now
        text = read_text(store, head.number)
        if text != self._text or answered_late(asked, self._seconds(seconds)):
            self._text, self._since = text, time.monotonic()
        return now - self._since > self._seconds(seconds)

    def owner(self, store: Store, head: Head) -> str:
        """Return the owner, for a message."""
        text = read_text(store, head.number)
        return str(held(text).get("owner", "nobody known")) if text else "others in turn"

    def _seconds(self, default: float) -> float:
        stated = held(self._text).get("seconds", default)
        return min(float(stated), _LONGEST_SECONDS) if is_finite(stated) and stated > 0 else default


def answered_late(asked: float, seconds: float) -> bool:
    """Return whether the store took so long that an owner could not renew its lease either.

    Args:
        asked: when it was asked, by the monotonic clock.
        seconds: that the lease lasts.
    """
    return time.monotonic() - asked > max(_LATE_SECONDS, _LATE_SHARE * seconds)


def held(text: bytes) -> dict[str, Any]:
    """Return what a lease says of its owner; a damaged one says nothing, and runs out."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def find_head(store: Store) -> Head:
    """Return the highest lease object of a folder."""
    listed = (entry.key for entry in store.list(_FOLDER))
    keys = tuple(key for key in listed if _NAME.fullmatch(key))  # what else lies there is not ours
    numbers = [_number(key) for key in keys]
    highest = max(numbers, default=0)
    return Head(highest, free=not highest or _key(highest, "free") in keys, keys=keys)


def clear(store: Store, head: Head) -> None:
    """Remove the objects of earlier leases occasionally: a long list is slow to read."""
    if len(head.keys) >= _MAX_KEYS:
        for key in head.keys:
            store.delete(key)


def read_text(store: Store, number: int) -> bytes:
    """Return a lease object's bytes, empty where it is gone."""
    try:
        return store.read(_key(number))
    except FileNotFoundError:  # somebody has taken the next one and cleared this away
        return b""


def _number(key: str) -> int:
    return int(key.rpartition("/")[2].partition(".")[0])


def _key(number: int, kind: str = "json") -> str:
    return f"{_FOLDER}/{number:012d}.{kind}"
