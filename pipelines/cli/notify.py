"""lidr notify: check all runs of a profile, and send the notices that are due."""

from __future__ import annotations

import os
import time
from typing import Annotated

import typer

from lidr.components.shared.config.notify import NOTIFY_URL
from lidr.components.shared.core.errors import BadInput, LidrError, Unavailable
from lidr.components.shared.core.events import emit
from lidr.components.shared.store.open import open_store
from lidr.pipelines.cli.inputs import CLUSTER, ProfileOption, read_profile
from lidr.pipelines.cli.outputs import say
from lidr.pipelines.notices.metrics import exposition, serve
from lidr.pipelines.notices.monitor import ObservedRun, RunMonitor


def notify_command(
    profile: ProfileOption = CLUSTER,
    every: Annotated[
        float,
        typer.Option("--every", min=0, metavar="SECONDS", help="Repeat after this long; 0: once."),
    ] = 0.0,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Serve /metrics on this; 0: do not.")
    ] = 0,
) -> None:
    """Send notices of runs that ended, failed, wait or stand still; each is sent once."""
    place = read_profile(*profile)
    if place.runner != "kubeflow":
        raise BadInput(
            f"profile {place.name!r} is for this machine, where `lidr run` sends its own notices",
            remedy="Name a profile of a cluster.",
        )
    if port and not every:
        raise BadInput("--port serves while runs are checked", remedy="Add --every SECONDS.")
    url = os.environ.get(NOTIFY_URL, "")
    if not url:
        emit("note", message=f"{NOTIFY_URL} is empty: runs are checked, but no notices are sent")
    monitor, store, text = RunMonitor(place, url), open_store(place.store), [""]
    if port:
        try:
            serve(port, lambda: text[0])
        except OSError as error:
            reason = f"port {port} cannot be listened on: {error.strerror}"
            raise BadInput(reason, remedy="Name a free one under --port.") from error
    while True:
        observed = _check(monitor, once=not every)
        if observed is not None:
            text[0] = exposition(observed, time.time(), store)
        if not every:
            return
        time.sleep(every)


def _check(monitor: RunMonitor, *, once: bool) -> list[ObservedRun] | None:
    """Return the runs as one check found them; None if Kubeflow does not answer.

    A run that the store does not answer for is left out.
    """
    try:
        observed = monitor.check(time.time())
    except LidrError as error:
        if once or not isinstance(error, Unavailable):
            raise
        emit("warning", message=error.message)
        return None
    if once:
        for each in observed:
            say(f"{each.run} {each.state}" + (f", {each.unsent} unsent" if each.unsent else ""))
    return observed
