"""Why pods fail and wait, as the API server's JSON says it."""

from __future__ import annotations

import pytest

from lidr.components.shared.kubernetes import pods


def pod(**statuses: object) -> pods.Pod:
    return {"metadata": {"name": "p"}, "status": {"phase": "Failed", **statuses}}


def status(name: str, code: int, reason: str = "Error", message: str = "") -> dict[str, object]:
    ended = {"exitCode": code, "reason": reason, "message": message}
    return {"name": name, "state": {"terminated": ended}}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (pod(containerStatuses=[status("node", 137, "OOMKilled")]), "OOMKilled (exit code 137)"),
        (
            pod(initContainerStatuses=[status("fetch", 2, message="no such model\n")]),
            "fetch: Error (exit code 2): no such model",
        ),
        (
            pod(containerStatuses=[status("wait", 64), status("node", 0, "Completed")]),
            "wait: Error (exit code 64)",
        ),
        (
            pod(containerStatuses=[status("wait", 64), status("node", 137, "OOMKilled")]),
            "OOMKilled (exit code 137)",
        ),
        (pod(reason="Evicted", message="low on memory"), "Evicted: low on memory"),
        (pod(), "failed without a reason"),
    ],
    ids=["its own", "init", "Argo's", "both", "evicted", "nothing"],
)
def test_the_container_that_failed_is_named(found, why: str):
    assert pods.why_failed(found) == why


def test_a_pod_that_ended_well_has_not_failed():
    ended = pod(containerStatuses=[status("node", 0, "Completed")])
    ended["status"]["phase"] = "Succeeded"
    assert pods.why_failed(ended) == ""


@pytest.mark.parametrize(
    ("reason", "message", "why"),
    [
        ("Unschedulable", "0/3 nodes match", "unschedulable: 0/3 nodes match"),
        (
            "Unschedulable",
            "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
            "unschedulable, too little nvidia.com/gpu: 0/3 nodes are available: 3 Insufficient "
            "nvidia.com/gpu.",
        ),
        ("SchedulingGated", "waiting for gates", "held by a scheduling gate: waiting for gates"),
        ("SchedulerError", "it broke", "unschedulable, SchedulerError: it broke"),
    ],
)
def test_why_a_pod_has_no_node(reason: str, message: str, why: str):
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": message,
    }
    waiting = pod(conditions=[condition])
    waiting["status"]["phase"] = "Pending"
    assert pods.why_waiting(waiting) == why
