"""What follows a run, however it ended: half-made files are removed, and the report is written."""

from __future__ import annotations

import os

from lidr.components.cleanup.run import cleanup
from lidr.components.report.run import report, report_failure
from lidr.components.shared.core.events import emit
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import (
    EXECUTION_VARIABLE,
    forget_failure,
    forget_scheduled,
    read_failure,
    read_states,
    scheduled_run,
)
from lidr.components.shared.tracking.step_tracking import ENDED_WELL
from lidr.components.state.run import GO_ON

_UNFINISHED = "RUNNING"
"""What Kubeflow calls a loop of which a task was left out, and none has failed."""


def finish(recipe: str, store: str, run: str, state: str, error: str = "") -> str:
    """Clean up behind a loop that has ended, however it has, and write its report.

    Args:
        recipe: the resolved recipe as JSON, or its reference on the store.
        store: URI of the store.
        run: name of the run; "" where a look at the inputs has chosen it, or found nothing new.
        state: how the loop ended, as KFP names it.
        error: what KFP says of a failure.

    Returns:
        URI of the final model's folder; "" where there is none.
    """
    home = open_store(store)
    name = run or scheduled_run(home)
    state = ENDED_WELL[0] if _has_stopped(home, name, state) else state
    cleanup(store=store, state=state, run=name)
    if not name:
        return ""
    if state in ENDED_WELL:
        forget_failure(home, name)
        final = report(recipe=recipe, store=store, run=name)
    else:
        final = report_failure(
            recipe=recipe, store=store, run=name, reason=_reason(home, name, state, error)
        )
    if not run:
        forget_scheduled(home)
    return final


def _has_stopped(store: Store, run: str, state: str) -> bool:
    """Return whether the loop has ended by its own verdict, before the last round compiled in.

    Kubeflow waits for the rounds behind it, which Argo leaves out, and calls the loop running.
    """
    states = read_states(store, run) if run and state == _UNFINISHED else []
    return bool(states) and states[-1]["verdict"] != GO_ON


def _reason(store: Store, run: str, state: str, error: str) -> str:
    """Return why the loop did not end well: the failed step's own words, else KFP's."""
    failure = read_failure(store, run, os.environ.get(EXECUTION_VARIABLE, ""))
    reason = f"{failure['step']}: {failure['message']}" if failure else error
    emit("note", message=f"the loop ended as {state}: {reason or 'no step said why'}")
    return reason
