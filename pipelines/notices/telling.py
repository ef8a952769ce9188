"""Telling of a run's end, from wherever that is noticed. It never fails what it tells of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from lidr.components.shared.config.notify import NOTIFY_URL
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.recipes import resolve_recipe
from lidr.components.shared.store.runs import EXECUTION_VARIABLE, read_failure, read_result
from lidr.pipelines.notices.delivery import Delivered, announce, deliver
from lidr.pipelines.notices.notice import Notice, of_end, of_failure

LOCAL_EXECUTION = "LIDR_EXECUTION"
"""Environment variable: tells one `lidr run` from another of the same name."""


def tell_end(store: Store, run: str, recipe: str, *, well: bool) -> None:
    """Tell of a loop that has ended, if there is an address to send it to.

    Args:
        store: that the run is on.
        run: its name.
        recipe: as JSON, or its reference on the store: its name is in the command that goes on.
        well: whether it ended well.
    """
    url = os.environ.get(NOTIFY_URL, "")
    if not url:
        return
    with harmless():
        result = read_result(store, run) if well else None
        if result:
            send(store, of_end(run, result), url)
        elif not well:
            on_cluster = os.environ.get(EXECUTION_VARIABLE, "")
            name = Recipe.model_validate_json(resolve_recipe(store.uri, recipe)).name
            command = f"lidr {'submit' if on_cluster else 'run'} {name} --run {run}"
            execution = on_cluster or os.environ.get(LOCAL_EXECUTION, "")
            failure = read_failure(store, run, on_cluster)
            send(store, of_failure(run, execution, failure, command), url)


def send(store: Store, notice: Notice, url: str) -> Delivered:
    """Write a notice down and send what waits, within seconds; say what could not be sent."""
    announce(store, notice)
    done = deliver(store, notice.run, url, patient=True)
    if done.left:
        emit("warning", message=f"{done.left} notice(s) wait for the next chance: {done.reason}")
    return done


@contextmanager
def harmless() -> Iterator[None]:
    """Turn whatever goes wrong into a warning: a notice is not what a run is for."""
    try:
        yield
    except (LidrError, OSError, ValueError, KeyError, TypeError) as error:
        what = error.message if isinstance(error, LidrError) else type(error).__name__
        emit("warning", message=f"nobody was told: {what}")
