"""Notices of a run on this machine, sent by the process that shows its screen."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

from lidr.components.shared.config.notify import Notify
from lidr.components.shared.store.base import Store
from lidr.pipelines.events import Event
from lidr.pipelines.local_status import event_rows
from lidr.pipelines.notices.delivery import deliver
from lidr.pipelines.notices.notify import end_notice, errors_as_warnings, send
from lidr.pipelines.notices.observing import notices_of, observe
from lidr.pipelines.status import Status, merged

_CHECK_SECONDS = 30.0

Watch = Callable[[list[Event]], None]


def with_notices(watch: Watch, store: Store, run: str, settings: Notify, url: str) -> Watch:
    """Return a function that passes a run's events on and sends notices of waits and stalls.

    Args:
        watch: takes the events.
        store: that the run is on.
        run: its name.
        settings: after how many minutes a notice is due.
        url: the receiver's address.
    """
    events: list[Event] = []
    progress: dict[tuple[str, str], Event] = {}  # the latest alone: it comes twice a second
    execution = uuid.uuid4().hex
    last = [0.0]
    checking = threading.Lock()  # a check may take seconds, and the screen is drawn meanwhile

    def check() -> None:
        try:
            with errors_as_warnings("no notice was sent"):
                now, rows = (
                    time.time(),
                    merged(event_rows([*events, *progress.values()], running=True)),
                )
                status = Status(run, "running", store.uri, rows)
                steps = observe(store, status, execution, now)
                for notice in notices_of(run, steps, settings, now):
                    send(store, notice, url)
                deliver(store, run, url)
        finally:
            checking.release()

    def take(fresh: list[Event]) -> None:
        for event in fresh:
            step = event.get("step", ""), event.get("shard", "")
            if event["event"] == "progress":
                progress[step] = event
                continue
            if event["event"] == "started":
                progress.pop(step, None)
            events.append(event)
        if time.monotonic() - last[0] >= _CHECK_SECONDS and checking.acquire(blocking=False):
            last[0] = time.monotonic()
            threading.Thread(target=check, daemon=True).start()
        watch(fresh)

    return take


def notify_failure(store: Store, run: str, execution: str, url: str) -> None:
    """Send the notice of a failed execution, in case its last task died before sending it.

    Args:
        store: that the run is on.
        run: its name.
        execution: id of the one that failed; both name the notice by it, so it is sent once.
        url: the receiver's address.
    """
    with errors_as_warnings("no notice was sent"):
        if notice := end_notice(store, run, execution, "run", well=False):
            send(store, notice, url)
