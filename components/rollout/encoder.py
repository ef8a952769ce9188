"""Encodes finished chunks; in long rollouts, in a separate process.

Python runs one thread at a time: the engine's loop would wait while another thread identifies
languages and writes Parquet. A process costs a second to start and nothing after that.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

from lidr.components.shared.core.events import emit

Finish = Callable[[Sequence[Any]], Sequence[Any]]

MIN_RECORDS = 1000
"""Fewest records of a rollout for which a separate process is worth its start."""


def encode(finish: Finish, records: Sequence[Any], kind: type) -> bytes:
    """Complete a chunk's records and return them as a Parquet file."""
    from lidr.components.shared.records.parquet import to_parquet

    return to_parquet(finish(records), kind)


def encode_in_subprocess(finish: Finish, records: Sequence[Any], kind: type) -> bytes:
    """Do what `encode` does in the encoding process, or here if that process has died."""
    try:
        return _process().submit(encode, finish, records, kind).result()
    except BrokenProcessPool:
        _process.cache_clear()
        emit("warning", message="the process that encodes chunks died; encoding this chunk here")
        return encode(finish, records, kind)


def start_subprocess() -> None:
    """Start the encoding process early, so that its imports run while the engine starts."""
    try:
        _process().submit(_warm)
    except BrokenProcessPool:  # it died with the engine before this one
        _process.cache_clear()
        _process().submit(_warm)


@cache
def _process() -> ProcessPoolExecutor:
    """Return the encoding process, which ends with this one, even if this one is killed."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_initialize)


def _initialize() -> None:
    """Ignore Ctrl-C, leave the engine its cores, and exit when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["RAYON_NUM_THREADS"] = "1"  # threads of the language identifier
    Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent: Any = parent_process()
    try:
        select.select([os.pidfd_open(parent.pid)], [], [])
    except ProcessLookupError:
        pass  # the parent has ended
    except (AttributeError, OSError):  # no pidfd_open; `join` waits for the parent's forks, too
        parent.join()
    os._exit(0)


def _warm() -> None:
    """Import what encoding needs, in the encoding process."""
    import lidr.components.shared.records.parquet  # noqa: F401
