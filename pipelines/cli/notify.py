"""lidr notify: look at all runs of a profile, and tell what is to be told."""

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
from lidr.pipelines.notices.lookout import Look, Lookout
from lidr.pipelines.notices.metrics import exposition, serve


def notify_command(
    profile: ProfileOption = CLUSTER,
    every: Annotated[
        float, typer.Option("--every", min=0, metavar="SECONDS", help="Look again and again.")
    ] = 0.0,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Serve /metrics on it; 0 does not.")
    ] = 0,
) -> None:
    """Tell of runs that ended, failed, wait or stand still; nothing is told twice."""
    place = read_profile(*profile)
    if place.runner != "kubeflow":
        raise BadInput(
            f"profile {place.name!r} is for this machine, where `lidr run` tells of its run itself",
            remedy="Name a profile of a cluster.",
        )
    url = os.environ.get(NOTIFY_URL, "")
    if not url:
        emit("note", message=f"{NOTIFY_URL} is empty: runs are looked at, and nobody is told")
    lookout, store, text = Lookout(place, url), open_store(place.store), [""]
    if port:
        serve(port, lambda: text[0])
    while True:
        looks = _look(lookout, once=not every)
        if looks is not None:
            text[0] = exposition(looks, time.time(), store)
        if not every:
            return
        time.sleep(every)


def _look(lookout: Lookout, *, once: bool) -> list[Look] | None:
    """Return what one look has found; None where Kubeflow or the store does not answer now."""
    try:
        looks = lookout.look(time.time())
    except LidrError as error:
        if once or not isinstance(error, Unavailable):
            raise
        emit("warning", message=error.message)
        return None
    if once:
        for look in looks:
            say(f"{look.run} {look.state}" + (f", {look.unsent} unsent" if look.unsent else ""))
    return looks
