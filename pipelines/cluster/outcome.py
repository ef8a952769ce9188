"""How a run ended: Kubeflow's state, corrected from the run's tasks and the store.

Kubeflow takes the state from Argo. If a task fails and the last one is therefore omitted, Argo
calls the run succeeded. It calls a run failed if it was cancelled, or if a pod failed after
finishing its work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.usage import read_budget_stop
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.nodes import WorkflowGraph, read_graph
from lidr.pipelines.cluster.runs import epoch_seconds, first_iteration
from lidr.pipelines.cluster.stuck import STUCK, is_stuck
from lidr.pipelines.cluster.tasks import RUN_STATES, other_tasks, step_tasks
from lidr.pipelines.status import step_title
from lidr.pipelines.stored import StoredRun


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended, or that it has not.

    Attributes:
        state: one of the values of `RUN_STATES`.
        note: how and why Kubeflow's state differs; "" if it does not.
        budget_stopped: whether the budget has stopped the run, so that a larger one lets it
            continue; set by `read_outcome` alone.
    """

    state: str
    note: str = ""
    budget_stopped: bool = False


def outcome_of(
    run: Any, graph: WorkflowGraph, stored: StoredRun | None, *, known: bool
) -> RunOutcome:
    """Return a run's state by Kubeflow, corrected.

    A run that Kubeflow calls failed is done if all its results are on the store, else cancelled if
    it was cancelled. A run whose cancellation never ends is cancelled, too. A run that Kubeflow
    calls succeeded has failed if a task failed or, where `known`, its result is missing.

    Args:
        run: `V2beta1Run`.
        graph: its workflow.
        stored: its folder on the store, or None.
        known: whether a missing result means a failure, because the store can be read and has the
            run under its name in Kubeflow.
    """
    state = RUN_STATES.get(run.state or "PENDING", "waiting")
    complete = stored is not None and _has_results(run, stored)
    if state == "failed" and complete:
        note = "Kubeflow calls the run failed, but all its results are on the store"
        return RunOutcome("done", note)
    if state == "failed" and graph.cancelled:
        return RunOutcome("cancelled")
    if is_stuck(run, graph):
        return RunOutcome("cancelled", STUCK)
    if state != "done":
        return RunOutcome(state)
    if failed := failures(graph, first_iteration(run)):
        what = f"{failed[0]} failed"
    elif known and not complete:
        what = "its result is not on the store"
    else:
        return RunOutcome(state)
    return RunOutcome("failed", f"Kubeflow calls the run succeeded, but {what}")


def _has_results(run: Any, stored: StoredRun) -> bool:
    """Return whether all results of a run are on the store.

    A run that is submitted again after a budget stop first finds the result of the execution that
    was stopped, which is not its own.
    """
    if not stored.complete:
        return False
    return stored.budget_stop is None or stored.result_written >= epoch_seconds(run.created_at)


def failures(graph: WorkflowGraph, first: int) -> list[str]:
    """Return what failed in a run: steps first, then other tasks."""
    parts = step_tasks(graph.nodes, first)
    steps = [step_title(part.iteration, part.step) for part in parts if part.state == "failed"]
    return steps + list(other_tasks(graph.nodes, "failed"))


def read_outcome(client: Client, run: Any, store: str, name: str) -> RunOutcome:
    """Return how a run ended.

    Args:
        run: `V2beta1Run`, with its details.
        store: URI of its store.
        name: of the run in the store.

    Raises:
        BadInput: the store cannot be read, or one of the run's files is damaged.
    """
    home = open_store(store)
    stored = StoredRun.read(home, name)
    found = outcome_of(run, read_graph(client, run), stored, known=True)
    return replace(found, budget_stopped=read_budget_stop(home, name) is not None)
