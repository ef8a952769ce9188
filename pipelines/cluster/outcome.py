"""How a run ended: what Kubeflow calls it, compared with its tasks and the store.

Kubeflow takes its word from Argo, which calls a run succeeded whose last task was left out because
another one had failed, and failed one that was cancelled, or whose pod ended badly after its work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.usage import read_budget_stop
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.nodes import WorkflowGraph, read_graph
from lidr.pipelines.cluster.runs import first_iteration
from lidr.pipelines.cluster.tasks import RUN_STATES, TaskPart, beside_steps, parts_of
from lidr.pipelines.status import END
from lidr.pipelines.stored import StoredRun


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        state: in lidr's words.
        note: why that is not what Kubeflow calls it; "" where it is.
        may_go_on: whether it is done because its budget has stopped it.
    """

    state: str
    note: str = ""
    may_go_on: bool = False


def outcome_of(run: Any, graph: WorkflowGraph, stored: StoredRun | None, *, known: bool) -> Outcome:
    """Return a run's state: an ended one is done if its result is there and no task failed.

    Args:
        run: `V2beta1Run`.
        graph: its workflow.
        stored: its folder on the store; None where there is none.
        known: whether the store could be read, and keeps the run under the name it has in Kubeflow.
    """
    state = RUN_STATES.get(run.state or "PENDING", "waiting")
    complete = stored is not None and stored.complete
    if state == "failed" and complete:
        return Outcome("done", "Kubeflow calls the run failed, but all its results are written")
    if state == "failed" and graph.cancelled:
        return Outcome("cancelled")
    if state != "done":
        return Outcome(state)
    if failed := failures(graph, first_iteration(run)):
        what = f"{failed[0]} failed"
    elif known and not complete:
        what = "its result is not on the store"
    else:
        return Outcome(state)
    return Outcome("failed", f"Kubeflow calls the run succeeded, but {what}")


def failures(graph: WorkflowGraph, first: int) -> list[str]:
    """Return what failed in a run: steps first, then the loop's own tasks."""
    steps = [_label(part) for part in parts_of(graph.nodes, first) if part.state == "failed"]
    return steps + list(beside_steps(graph.nodes, "failed"))


def _label(part: TaskPart) -> str:
    return part.step if part.iteration == END else f"M_{part.iteration} {part.step}"


def read_outcome(client: Client, run: Any, store: str, name: str) -> Outcome:
    """Return what became of a run that has ended.

    Args:
        client: the connection.
        run: `V2beta1Run`, with its details.
        store: URI of its store.
        name: of the run in the store.

    Raises:
        BadInput: the store cannot be read, or one of the run's files is damaged.
    """
    home = open_store(store)
    stored = StoredRun.read(home, name)
    found = outcome_of(run, read_graph(client, run), stored, known=True)
    return replace(found, may_go_on=read_budget_stop(home, name) is not None)
