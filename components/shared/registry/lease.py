"""A lease on the store: one holder at a time, also where the holder dies.

It needs no more of a store than creating an object where none exists (on S3 `If-None-Match`), and
no clocks that agree. The lease is the object `lease/<n>.json` with the highest n. Who wants it
creates n + 1, as soon as n was given back (`lease/<n>.free` exists) or has not been renewed for as
long as it says. The highest object is never deleted, so a number is never given twice.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from components.shared.errors import LidrError
from components.shared.progress import emit
from components.shared.registry.actor import actor
from components.shared.store import Store

_FOLDER = "lease"
_SECONDS = 15.0
_PATIENCE = 300.0
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 1.0
_SAFE_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class _Head:
    """The highest lease object: its number (0 for none yet), and whether it was given back."""

    number: int
    free: bool


class Lease:
    """A lease that this process holds; a thread renews it."""

    def __init__(self, store: Store, number: int, seconds: float) -> None:
        self.number = number
        self._store = store
        self._seconds = seconds
        self._token = uuid.uuid4().hex
        self._renewals = 0
        self._valid_until = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def take(self) -> bool:
        """Create the object; False where another one was faster."""
        began = time.monotonic()
        if not self._store.create(_key(self.number), self._text()):
            return False
        if _head(self._store).number != self.number:  # the number was used, and cleared away
            self._store.delete(_key(self.number))
            return False
        self._valid_until = began + _SAFE_SHARE * self._seconds
        self._thread.start()
        return True

    def require(self) -> None:
        """Refuse to go on where another process may hold the lease by now.

        Raises:
            LidrError: it could not be renewed in time.
        """
        if time.monotonic() >= self._valid_until:
            raise LidrError(
                f"the lease at {self._store.uri} could not be renewed in time",
                remedy="Run the same command again.",
            )

    def give_back(self) -> None:
        """Let the next one have it at once; where the store fails, when it runs out."""
        self._ended.set()
        self._thread.join()
        try:
            self._store.create(_key(self.number, "free"), self._text())
        except LidrError as error:
            emit("note", message=f"the lease was not given back: {error}")

    def _text(self) -> bytes:
        held = {
            "holder": actor(),
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
                self._store.write(_key(self.number), self._text())
            except LidrError as error:  # the store may answer again before the lease is over
                emit("note", message=f"the lease was not renewed: {error}")
                continue
            self._valid_until = began + _SAFE_SHARE * self._seconds


@contextmanager
def exclusive(
    store: Store, *, seconds: float = _SECONDS, patience: float = _PATIENCE
) -> Iterator[Lease]:
    """Hold the lease of a folder.

    Args:
        store: the folder.
        seconds: after which a holder that no longer renews it has lost it.
        patience: longest wait for it, in seconds.

    Raises:
        LidrError: others held it all the time.
    """
    lease = _acquire(store, seconds, patience)
    try:
        yield lease
    finally:
        lease.give_back()


def _acquire(store: Store, seconds: float, patience: float) -> Lease:
    deadline = time.monotonic() + patience
    wait = _FIRST_WAIT
    seen: tuple[bytes, float] = (b"", time.monotonic())
    while True:
        head = _head(store)
        if not head.free:
            seen = _watch(store, head, seen)
        if head.free or time.monotonic() - seen[1] > _seconds_of(seen[0], seconds):
            lease = Lease(store, head.number + 1, seconds)
            if lease.take():
                _clear(store, head.number)
                return lease
        if time.monotonic() > deadline:
            raise LidrError(
                f"the lease at {store.uri} is held by {_holder(seen[0])}",
                remedy="Run the same command again.",
            )
        time.sleep(random.uniform(wait / 2, wait))
        wait = min(wait * 1.5, _LONGEST_WAIT)


def _head(store: Store) -> _Head:
    numbers: dict[int, set[str]] = {}
    for entry in store.list(_FOLDER):
        number, _, kind = entry.key.rpartition("/")[2].partition(".")
        numbers.setdefault(int(number), set()).add(kind)
    if not numbers:
        return _Head(0, free=True)
    highest = max(numbers)
    return _Head(highest, free="free" in numbers[highest])


def _watch(store: Store, head: _Head, seen: tuple[bytes, float]) -> tuple[bytes, float]:
    """Return what the lease says, and since when it has said so by this process's own clock."""
    try:
        text = store.read(_key(head.number))
    except FileNotFoundError:  # somebody has taken the next one and cleared this away
        text = b""
    return seen if text == seen[0] else (text, time.monotonic())


def _clear(store: Store, upto: int) -> None:
    for entry in store.list(_FOLDER):
        if int(entry.key.rpartition("/")[2].partition(".")[0]) <= upto:
            store.delete(entry.key)


def _seconds_of(text: bytes, default: float) -> float:
    return float(json.loads(text)["seconds"]) if text else default


def _holder(text: bytes) -> str:
    return str(json.loads(text)["holder"]) if text else "others in turn"


def _key(number: int, kind: str = "json") -> str:
    return f"{_FOLDER}/{number:012d}.{kind}"
