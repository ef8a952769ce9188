"""Encodes finished chunks, for long rollouts in a process of its own.

Python runs one thread at a time: what a thread spends on identifying languages and on Parquet, the
engine's loop waits for. A process costs a second to start and nothing after that.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from threading import Thread
from typing import Any

from lidr.components.shared.core.events import emit

Finish = Callable[[Sequence[Any]], Sequence[Any]]

MIN_RECORDS = 1000
"""Records from which on a process of its own pays."""

_WATCH_SECONDS = 1.0


def encode(finish: Finish, records: Sequence[Any], kind: type) -> bytes:
    """Complete a chunk's records and return them as a Parquet file."""
    from lidr.components.shared.records.parquet import to_parquet

    return to_parquet(finish(records), kind)


def encode_beside(finish: Finish, records: Sequence[Any], kind: type) -> bytes:
    """Do the same in the process beside this one; here, where that one has died."""
    try:
        return _process().submit(encode, finish, records, kind).result()
    except BrokenProcessPool:
        _process.cache_clear()
        emit("warning", message="the process that encodes chunks died; encoding this chunk here")
        return encode(finish, records, kind)


def start_beside() -> None:
    """Start that process, unless it runs: its imports take as long as an engine's start."""
    _process().submit(_warm)


@cache
def _process() -> ProcessPoolExecutor:
    """The process, which ends with this one, also where this one is killed."""
    return ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=_prepare, initargs=(os.getpid(),)
    )


def _prepare(parent: int) -> None:
    """Leave the terminal's interrupts and the engine's cores alone, and end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["RAYON_NUM_THREADS"] = "1"  # the language identifier's
    Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(0)


def _warm() -> None:
    """Import what encoding needs."""
    import lidr.components.shared.records.parquet  # noqa: F401
