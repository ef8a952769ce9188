"""What Kubeflow Pipelines 2.17 says of a run, out of the workflow behind it.

As `ReportWorkflowResource` and `toApiPipelineTaskDetail` do it (backend/src/apiserver): each node
is a task; its id in Argo is dropped, its name shortened to the last part, its message left out;
phases become states, and one that KFP does not know (Omitted) becomes none.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import kfp_server_api as kfp

_NEVER = datetime(1, 1, 1, tzinfo=UTC)
_STATES = {
    "Pending": "PENDING",
    "Running": "RUNNING",
    "Succeeded": "SUCCEEDED",
    "Skipped": "SKIPPED",
    "Failed": "FAILED",
    "Error": "FAILED",
}


def task_details(run_id: str, workflow: dict[str, Any]) -> list[Any]:
    """Return a run's tasks, in the order of their ids, which are random."""
    nodes = workflow["status"]["nodes"].values()
    created = _moment(workflow["metadata"]["creationTimestamp"])
    made = [_task(run_id, node, created) for node in nodes]
    return sorted(made, key=lambda task: str(task.task_id))


def _task(run_id: str, node: dict[str, Any], created: datetime) -> Any:
    state = _STATES.get(node["phase"])
    children = [
        kfp.PipelineTaskDetailChildTask(pod_name=child) for child in node.get("children", [])
    ]
    ended = _moment(node["finishedAt"]) if node.get("finishedAt") else _NEVER
    return kfp.V2beta1PipelineTaskDetail(
        run_id=run_id,
        task_id=str(uuid.uuid4()),
        display_name=node["displayName"],
        create_time=created,
        start_time=_moment(node["startedAt"]),
        end_time=ended,
        state=state,
        state_history=[kfp.V2beta1RuntimeStatus(update_time=max(created, ended), state=state)],
        child_tasks=children or None,
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
