"""The exit task of a run, however it ended: removes half-written files, writes the report."""

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
    own_execution,
    read_failure,
    read_states,
    scheduled_run,
)
from lidr.components.shared.store.usage import read_budget_stop
from lidr.components.shared.tracking.step_tracking import ENDED_WELL
from lidr.components.state.run import CONTINUE
from lidr.pipelines.notices.notify import notify_end

_CANCELLED = ("CANCELED", "CANCELLED", "CANCELING")

_UNFINISHED = "RUNNING"
"""Kubeflow's state of a loop in which some task was omitted or cancelled and no task failed."""


def finish(
    recipe: str, store: str, run: str, state: str, error: str = "", overview: str = ""
) -> str:
    """Clean up after a loop, however it ended, and write its report.

    Args:
        recipe: the resolved recipe as JSON, or its reference on the store.
        store: URI of the store.
        run: name of the run; "" on a schedule, where `check_inputs` has chosen the name, found
            nothing new, or failed.
        state: how the loop ended, as KFP names it.
        error: what KFP says of a failure.
        overview: path of the file that Kubeflow's page shows; "" for none.

    Returns:
        URI of the final model's folder; "" if there is none.
    """
    home = open_store(store)
    name = run or scheduled_run(home)
    state = _final_state(home, name, state)
    well = state in ENDED_WELL
    cleanup(store=store, state=state, run=name)  # refused if the run is another execution's
    if not name:
        return ""
    if not well and state not in _CANCELLED:  # the user who cancelled it knows
        # Before the report: should that fail too, its error would replace the run's.
        notify_end(home, name, well=False)
    if well:
        forget_failure(home, name)
        final = report(recipe=recipe, store=store, run=name)
    else:
        final = report_failure(
            recipe=recipe,
            store=store,
            run=name,
            reason=_reason(home, name, state, error),
            cancelled=state in _CANCELLED,
        )
    if overview:
        _copy_overview(home, name, Path(overview))
    if well:
        notify_end(home, name, well=True)
    if not run:
        forget_scheduled(home)
    return final


def _copy_overview(store: Store, run: str, file: Path) -> None:
    """Copy the report's overview to where Kubeflow reads it; a failure is only a warning."""
    try:
        page = store.read(overview_key(run))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(page)
    except (OSError, LidrError) as error:  # the store, or Kubeflow's file
        emit("warning", message=f"Kubeflow's page shows no report: {error}")


def _final_state(store: Store, run: str, state: str) -> str:
    """Return the loop's state, corrected if Kubeflow still calls it running."""
    if state != _UNFINISHED:
        return state
    if was_cancelled(own_namespace(), os.environ.get(EXECUTION_VARIABLE, "")):
        return _CANCELLED[0]
    return ENDED_WELL[0] if _has_stopped(store, run) else state


def _has_stopped(store: Store, run: str) -> bool:
    """Return whether the verdict or the budget stopped the loop before its last compiled round.

    Kubeflow waits for the later rounds, which Argo omits, and calls the loop running.
    """
    if not run:
        return False
    states = read_states(store, run)
    stopped = bool(states) and states[-1]["verdict"] != CONTINUE
    return stopped or read_budget_stop(store, run) is not None


def _reason(store: Store, run: str, state: str, error: str) -> str:
    """Return why the loop failed: the failed step's message, else KFP's."""
    failure = read_failure(store, run, own_execution())
    reason = f"{failure['step']}: {failure['message']}" if failure else error
    if not reason and state in _CANCELLED:
        reason = "it was cancelled"
    emit("note", message=f"the loop ended as {state}: {reason or 'no step said why'}")
    return reason
