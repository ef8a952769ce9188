"""What a run has really used: the GPUs of each of its processes, interrupted ones too.

A stage's marker knows the attempt that finished it. What an attempt used that was killed stands
nowhere else, so each process that holds GPUs writes `runs/<run>/usage/<iteration>-<step>-<id>.json`
and renews it every minute. Beside them stands `budget.json` where the budget has stopped the run.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lidr.components.shared.config.budget import NOTHING, Account, Amount
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.gpu import gpu_count
from lidr.components.shared.core.json_files import Fields, read_object
from lidr.components.shared.steps import step_named
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import run_key

RENEWAL_SECONDS = 60.0
"""What a process that is killed has used since goes uncounted."""

BUDGET_STOP = "the budget stopped the loop"
"""How the reason of such a stop begins."""

_COUNTED = "LIDR_GPUS_COUNTED"
"""Environment variable: a process above this one counts the GPUs that both can see."""

_USAGE: Fields = {"step": str, "iteration": int, "gpus": int, "seconds": float, "ended": bool}
_STOP: Fields = {"iteration": int, "reason": str}


@dataclass(frozen=True)
class Usage:
    """What one process has used.

    Attributes:
        step: that it did.
        iteration: t of the model it worked for.
        gpu_seconds: its GPUs, by the seconds that it held them.
        ended: whether it has come to its end: what has not is under way, or was killed.
    """

    step: str
    iteration: int
    gpu_seconds: float
    ended: bool


@contextmanager
def counting_gpus(store: Store, run: str, iteration: int, step: str) -> Iterator[None]:
    """Count the GPUs of this process for a run, as long as it is inside.

    Args:
        store: that the run is on.
        run: its name.
        iteration: t of the model that the process works for.
        step: that it does.
    """
    gpus = gpu_count()
    if not gpus or os.environ.get(_COUNTED):
        yield
        return
    counter = _Counter(store, run, {"step": step, "iteration": max(iteration, 0), "gpus": gpus})
    os.environ[_COUNTED] = "1"
    try:
        with counter.renewing():
            yield
    finally:
        del os.environ[_COUNTED]


class _Counter:
    def __init__(self, store: Store, run: str, about: Mapping[str, Any]) -> None:
        self._store, self._about = store, about
        name = f"{about['iteration']}-{about['step']}-{uuid.uuid4().hex[:12]}.json"
        self._key = f"{_folder(run)}/{name}"
        self._began = time.monotonic()

    @contextmanager
    def renewing(self) -> Iterator[None]:
        end = threading.Event()
        thread = threading.Thread(target=self._renew, args=(end,), daemon=True)
        self._write(ended=False)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()
            self._write(ended=True)

    def _renew(self, end: threading.Event) -> None:
        while not end.wait(RENEWAL_SECONDS):
            self._write(ended=False)

    def _write(self, *, ended: bool) -> None:
        seconds = round(time.monotonic() - self._began, 3)
        told = {**self._about, "seconds": seconds, "ended": ended}
        try:
            self._store.write(self._key, json.dumps(told).encode())
        except LidrError as error:  # the step meets the same store, and says so where it must
            emit("warning", message=f"GPU time is not noted: {error.message}")


def read_usage(store: Store, run: str) -> list[Usage]:
    """Return what every process of a run has used that held GPUs.

    Raises:
        BadInput: a file is no such note.
    """
    found = []
    for entry in store.list(_folder(run)):
        told = read_object(store.read(entry.key), f"{store.uri}/{entry.key}", _USAGE)
        seconds = told["gpus"] * told["seconds"]
        found.append(Usage(told["step"], told["iteration"], seconds, told["ended"]))
    return found


def amounts(usages: Iterable[Usage], account: Account) -> dict[int, Amount]:
    """Return what was used by iteration, priced by the kind of step."""
    found: dict[int, Amount] = {}
    for usage in usages:
        hours = usage.gpu_seconds / 3600
        cost = hours * account.prices.get(step_named(usage.step).kind, 0.0)
        before = found.get(usage.iteration, NOTHING)
        found[usage.iteration] = before.plus(Amount(gpu_hours=hours, cost=cost))
    return found


def total(parts: Iterable[Amount]) -> Amount:
    """Return the sum of amounts."""
    whole = NOTHING
    for part in parts:
        whole = whole.plus(part)
    return whole


def to_come(used: Mapping[int, Amount], planned: Amount, iteration: int) -> Amount:
    """Return what an iteration will take: as much as the dearest one before it, less what it has.

    Args:
        used: by iteration.
        planned: what the first one takes.
        iteration: that is to begin, or to go on.
    """
    made = [amount for number, amount in used.items() if 0 < number < iteration]
    most = made[0] if made else planned
    for amount in made[1:]:
        most = most.most(amount)
    return most.less(used.get(iteration, NOTHING))


def note_budget_stop(store: Store, run: str, iteration: int, reason: str) -> None:
    """Write down that the budget has stopped a run before an iteration, and why."""
    told = {"iteration": iteration, "reason": reason}
    store.write(_stop_key(run), json.dumps(told).encode())


def read_budget_stop(store: Store, run: str) -> dict[str, Any] | None:
    """Return the iteration before which the budget has stopped a run, and why; None for not."""
    key = _stop_key(run)
    try:
        told: dict[str, Any] = read_object(store.read(key), f"{store.uri}/{key}", _STOP)
    except FileNotFoundError:
        return None
    return told


def forget_budget_stop(store: Store, run: str) -> None:
    """Remove the note of a stop: the run goes on."""
    store.delete(_stop_key(run))


def _folder(run: str) -> str:
    return run_key(run, "usage")


def _stop_key(run: str) -> str:
    return run_key(run, "budget.json")
