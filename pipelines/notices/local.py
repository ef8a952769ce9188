"""Notices of a run on this machine: the process that shows its screen looks at it too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lidr.components.shared.config.notify import Notify
from lidr.components.shared.store.base import Store
from lidr.pipelines.events import Event
from lidr.pipelines.local_status import event_rows
from lidr.pipelines.notices.delivery import deliver
from lidr.pipelines.notices.observing import notices_of, observe
from lidr.pipelines.notices.telling import harmless, send
from lidr.pipelines.status import Status, merged

_SECONDS = 30.0

Watch = Callable[[list[Event]], None]


def noticing(watch: Watch, store: Store, run: str, settings: Notify, url: str) -> Watch:
    """Return a watcher of a run's events that also tells of steps that stand still.

    Args:
        watch: what is to see the events besides.
        store: that the run is on.
        run: its name.
        settings: how long is too long.
        url: the receiver's address.
    """
    events: list[Event] = []
    last = [0.0]
    at_work = threading.Lock()  # a look may take seconds, and the screen is drawn meanwhile

    def look() -> None:
        try:
            with harmless():
                now, rows = time.time(), merged(event_rows(list(events), running=True))
                steps = observe(store, Status(run, "running", store.uri, rows), now)
                for notice in notices_of(run, steps, settings, now):
                    send(store, notice, url)
                deliver(store, run, url)
        finally:
            at_work.release()

    def take(fresh: list[Event]) -> None:
        events.extend(fresh)
        if time.monotonic() - last[0] >= _SECONDS and at_work.acquire(blocking=False):
            last[0] = time.monotonic()
            threading.Thread(target=look, daemon=True).start()
        watch(fresh)

    return take
