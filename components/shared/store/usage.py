"""The GPU time that a run has used, including that of interrupted processes.

A stage's marker covers only the attempt that finished it. So each process that holds GPUs writes
`runs/<run>/usage/<iteration>-<step>-<id>.json` and renews it every minute. `runs/<run>/budget.json`
exists where the budget has stopped the run, and holds the `Account` that was applied.
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
from functools import reduce
from typing import Any

from pydantic import ValidationError

from lidr.components.shared.config.budget import NOTHING, Account, Amount
from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.gpu import gpu_count
from lidr.components.shared.core.json_files import Fields, read_object
from lidr.components.shared.steps import step_named
from lidr.components.shared.store.base import Store, read_json
from lidr.components.shared.store.runs import run_key

RENEWAL_SECONDS = 60.0
"""Between two records; what a killed process used after its last one is not counted."""

BUDGET_STOP = "the budget stopped the loop"
"""First words of the reason that is recorded when the budget stops a run."""

_COUNTED = "LIDR_GPUS_COUNTED"
"""Environment variable, set if a parent process already counts the GPUs that both see."""

_USAGE: Fields = {"step": str, "iteration": int, "gpus": int, "seconds": float, "ended": bool}
_STOP: Fields = {"iteration": int, "reason": str}

_TOO_MANY = 1 << 31
"""Bound of the numbers in a record, which no process reaches."""

_REMEDY = "It was damaged or edited: remove it and run again."


@dataclass(frozen=True)
class Usage:
    """The GPU time of one process.

    Attributes:
        step: that it ran.
        iteration: t of the model it worked for.
        gpu_seconds: number of its GPUs times the seconds that it held them.
        ended: whether it has recorded its end; otherwise it is running, or was killed.
    """

    step: str
    iteration: int
    gpu_seconds: float
    ended: bool


@contextmanager
def counting_gpus(store: Store, run: str, iteration: int, step: str) -> Iterator[None]:
    """Record the GPU time that this process spends in the block, for a run.

    `iteration` is the t of the model that the process works for.
    """
    gpus = gpu_count()
    if not gpus or os.environ.get(_COUNTED):
        yield
        return
    about = {"step": step, "iteration": max(iteration, 0), "gpus": gpus}
    os.environ[_COUNTED] = "1"
    try:
        with _recording(store, run, about):
            yield
    finally:
        del os.environ[_COUNTED]


@contextmanager
def _recording(store: Store, run: str, about: Mapping[str, Any]) -> Iterator[None]:
    key = f"{_folder(run)}/{about['iteration']}-{about['step']}-{uuid.uuid4().hex[:12]}.json"
    began, end = time.monotonic(), threading.Event()

    def write(*, ended: bool) -> None:
        seconds = round(time.monotonic() - began, 3)
        record = {**about, "seconds": seconds, "ended": ended}
        try:
            store.write(key, json.dumps(record).encode())
        except LidrError as error:  # the step meets the same store, and fails where it must
            emit("warning", message=f"GPU time is not recorded: {error.message}")

    def renew() -> None:
        while not end.wait(RENEWAL_SECONDS):
            write(ended=False)

    thread = threading.Thread(target=renew, daemon=True)
    write(ended=False)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        write(ended=True)


def read_usage(store: Store, run: str) -> list[Usage]:
    """Return the GPU time of every process of a run.

    Raises:
        BadInput: a file is damaged.
    """
    found = []
    for entry in store.list(_folder(run)):
        place = f"{store.uri}/{entry.key}"
        record = read_object(store.read(entry.key), place, _USAGE)
        for name in ("iteration", "gpus", "seconds"):
            if not 0 <= record[name] < _TOO_MANY:
                raise BadInput(f"has {name!r} outside its range", file=place, remedy=_REMEDY)
        seconds = record["gpus"] * record["seconds"]
        found.append(Usage(record["step"], record["iteration"], seconds, record["ended"]))
    return found


def amounts(usages: Iterable[Usage], account: Account) -> dict[int, Amount]:
    """Return GPU hours and cost by iteration; the kind of a step sets its price."""
    found: dict[int, Amount] = {}
    for usage in usages:
        hours = usage.gpu_seconds / 3600
        cost = hours * account.prices.get(step_named(usage.step).kind, 0.0)
        before = found.get(usage.iteration, NOTHING)
        found[usage.iteration] = before.plus(Amount(gpu_hours=hours, cost=cost))
    return found


def total(parts: Iterable[Amount]) -> Amount:
    """Return the sum of amounts."""
    return reduce(Amount.plus, parts, NOTHING)


def estimate_remaining(used: Mapping[int, Amount], planned: Amount, iteration: int) -> Amount:
    """Estimate what an iteration still needs: the most that one before it used, less its own use.

    Iteration 0, which is M_0's, does not count as one before it.

    Args:
        used: by iteration.
        planned: for one iteration; taken if `used` has none before it.
        iteration: about to begin, or to go on.
    """
    earlier = [amount for number, amount in used.items() if 0 < number < iteration]
    most = reduce(Amount.maximum, earlier) if earlier else planned
    return most.minus(used.get(iteration, NOTHING))


def note_budget_stop(
    store: Store, run: str, iteration: int, reason: str, account: Account | None = None
) -> None:
    """Record that the budget has stopped a run before an iteration, why, and by which account."""
    stop: dict[str, Any] = {"iteration": iteration, "reason": reason}
    if account:
        stop["account"] = account.model_dump(mode="json")
    store.write(_stop_key(run), json.dumps(stop).encode())


def read_budget_stop(store: Store, run: str) -> dict[str, Any] | None:
    """Return before which iteration the budget stopped a run, and why; None if it did not."""
    found = read_json(store, _stop_key(run), _STOP)
    return {name: found[name] for name in _STOP} if found else None


def read_stop_account(store: Store, run: str) -> Account | None:
    """Return the account by which the budget stopped a run; None where none is recorded.

    Raises:
        BadInput: it is damaged.
    """
    found = read_json(store, _stop_key(run), _STOP) or {}
    try:
        return Account.model_validate(found["account"]) if "account" in found else None
    except ValidationError as error:
        raise BadInput(
            "has a field 'account' that cannot be read",
            file=f"{store.uri}/{_stop_key(run)}",
            remedy=_REMEDY,
        ) from error


def forget_budget_stop(store: Store, run: str) -> None:
    """Delete the record of a stop: the run goes on."""
    store.delete(_stop_key(run))


def _folder(run: str) -> str:
    return run_key(run, "usage")


def _stop_key(run: str) -> str:
    return run_key(run, "budget.json")
