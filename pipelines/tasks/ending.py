"""What follows a run, however it ended: half-made files are removed, and the report is written."""

from __future__ import annotations

import os
from pathlib import Path

from lidr.components.cleanup.run import cleanup
from lidr.components.report.run import report, report_failure
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.kubernetes.runs import own_namespace, was_cancelled
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import (
    EXECUTION_VARIABLE,
    forget_failure,
    forget_scheduled,
    overview_key,
    read_failure,
    read_states,
    scheduled_run,
)
from lidr.components.shared.store.usage import read_budget_stop
from lidr.components.shared.tracking.step_tracking import ENDED_WELL
from lidr.components.state.run import GO_ON
from lidr.pipelines.notices.telling import tell_end

_CANCELLED = ("CANCELED", "CANCELLED", "CANCELING")

_UNFINISHED = "RUNNING"
"""What Kubeflow calls a loop of which a task was left out or cancelled, and none has failed."""


def finish(
    recipe: str, store: str, run: str, state: str, error: str = "", overview: str = ""
) -> str:
    """Clean up behind a loop that has ended, however it has, and write its report.

    Args:
        recipe: the resolved recipe as JSON, or its reference on the store.
        store: URI of the store.
        run: name of the run; "" where a look at the inputs has chosen it, or found nothing new.
        state: how the loop ended, as KFP names it.
        error: what KFP says of a failure.
        overview: the file that Kubeflow's page shows; "" for none.

    Returns:
        URI of the final model's folder; "" where there is none.
    """
    home = open_store(store)
    name = run or scheduled_run(home)
    state = _how_ended(home, name, state)
    cleanup(store=store, state=state, run=name)
    if not name:
        return ""
    well = state in ENDED_WELL
    if well:
        forget_failure(home, name)
        final = report(recipe=recipe, store=store, run=name)
    else:
        final = report_failure(
            recipe=recipe, store=store, run=name, reason=_reason(home, name, state, error)
        )
    if overview:
        _show(home, name, Path(overview))
    if state not in _CANCELLED:  # who cancels a run knows
        tell_end(home, name, recipe, well=well)
    if not run:
        forget_scheduled(home)
    return final


def _show(store: Store, run: str, file: Path) -> None:
    """Copy the report's overview to where Kubeflow takes it from; what fails there fails no run."""
    try:
        page = store.read(overview_key(run))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(page)
    except (OSError, LidrError) as error:  # the report itself has failed, or is of an older version
        emit("warning", message=f"Kubeflow's page shows no report: {error}")


def _how_ended(store: Store, run: str, state: str) -> str:
    """Return how the loop has ended, where Kubeflow calls it running."""
    if state != _UNFINISHED:
        return state
    if _has_stopped(store, run):
        return ENDED_WELL[0]
    own = os.environ.get(EXECUTION_VARIABLE, "")
    return _CANCELLED[0] if was_cancelled(own_namespace(), own) else state


def _has_stopped(store: Store, run: str) -> bool:
    """Return whether the loop has stopped, by verdict or budget, before the last round compiled in.

    Kubeflow waits for the rounds behind it, which Argo leaves out, and calls the loop running.
    """
    if not run:
        return False
    states = read_states(store, run)
    stopped = bool(states) and states[-1]["verdict"] != GO_ON
    return stopped or read_budget_stop(store, run) is not None


def _reason(store: Store, run: str, state: str, error: str) -> str:
    """Return why the loop did not end well: the failed step's own words, else KFP's."""
    failure = read_failure(store, run, os.environ.get(EXECUTION_VARIABLE, ""))
    reason = f"{failure['step']}: {failure['message']}" if failure else error
    if not reason and state in _CANCELLED:
        reason = "it was cancelled"
    emit("note", message=f"the loop ended as {state}: {reason or 'no step said why'}")
    return reason
