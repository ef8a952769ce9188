"""Cancelled runs that Argo has left unfinished for good.

Argo does so where it was too busy to end the workflow in one go: it then begins another attempt of
a node that it has just ended. The attempt gets no pod, and Argo never looks at the workflow again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.nodes import WorkflowGraph, read_graph

STUCK = "Argo has left the cancelled run unfinished; `lidr submit` and `lidr cancel` remove it"
"""What the status of a stuck run says."""

UNFINISHED = "Argo had left it unfinished"
"""Why a stuck run is removed."""

STUCK_SECONDS = 300.0
"""A run is stuck once its cancellation and its last pod's end are both longer ago than this.

Even a busy Argo takes only half a minute to end a cancelled workflow.
"""


def was_left(client: Client, run: Any) -> bool:
    """Return whether a run is stuck; the workflow is read only if the run is being cancelled."""
    return run.state == "CANCELING" and is_stuck(run, read_graph(client, run))


def is_stuck(run: Any, graph: WorkflowGraph) -> bool:
    """Return whether a run was cancelled long ago, and all its pods ended long ago.

    Both times count: a run that was cancelled while it waited for another attempt may have had no
    pod for a long time before.
    """
    if run.state != "CANCELING":
        return False
    asked = [
        each.update_time for each in run.state_history or [] if each and each.state == run.state
    ]
    return is_idle(graph) and any(at and _is_long_ago(at) for at in asked)


def is_idle(graph: WorkflowGraph) -> bool:
    """Return whether all pods ended longer ago than `STUCK_SECONDS`; False if there are none."""
    pods = [node for node in graph.nodes if node.pod]
    return bool(pods) and all(node.ended and _is_long_ago(node.ended) for node in pods)


def _is_long_ago(moment: datetime) -> bool:
    return (datetime.now(UTC) - moment).total_seconds() > STUCK_SECONDS
