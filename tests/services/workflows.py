"""Workflows that tests lay out behind the one run there is, and what its pods print."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.argo import Workflow
from tests.services.kubeflow import Cluster

RUN = "mine"
LOOP = "root.exit-handler-1"
ROUND = f"{LOOP}.iteration.condition-1"
ROUND_2 = f"{LOOP}.iteration-2.condition-1"
TENSE = "\x1b[2J"
"""Clears a terminal, where it gets there."""


def task(path: str, phase: str = "Succeeded", **how: Any) -> tuple[str, str, dict[str, Any]]:
    """Return what `Workflow.task` takes."""
    return path, phase, how


class Laid(NamedTuple):
    """A workflow, and the pods of its tasks by their paths."""

    flow: Workflow
    pods: dict[str, str]


def set_tasks(
    cluster: Cluster,
    *tasks: tuple[str, str, dict[str, Any]],
    frozen: bool = False,
    cancelled: bool = False,
) -> Laid:
    """Give the one run its workflow."""
    flow = Workflow(cluster.kubeflow.run.run_id)
    flow.cancelled = cancelled
    pods = {path: flow.task(path, phase, **how) for path, phase, how in tasks}
    cluster.kubeflow.set_workflow(flow, frozen=frozen)
    return Laid(flow, pods)


def rows(status: dict) -> dict[tuple[int | None, str], dict]:
    return {(row["iteration"], row["step"]): row for row in status["rows"]}


LAUNCHED = (
    "I1129 13:49:01.123456      10 main.go:75] Setting log level to: '1'",
    '[KFP Executor 2026-11-29 13:49:02,123 INFO]: Loading KFP component "train" from /tmp/x.py',
    "[KFP Executor 2026-11-29 13:49:02,124 INFO]: Got executor_input:",
    "{",
    '    "inputs": {',
    '        "parameterValues": {}',
    "    }",
    "}",
)
ENDED = (
    "[KFP Executor 2026-11-29 13:49:06,500 INFO]: Wrote executor output file to /tmp/x.json.",
    "I1129 13:49:06.600000      10 launcher_v2.go:1230] ExecutorOutput: {",
    '  "parameterValues": {}',
    "}",
    "E1129 13:49:06.700000      10 launcher_v2.go:449] Component failed to execute: exit status 1",
    'time=2026-11-29T13:49:07.123Z level=INFO msg="sub-process exited" argo=true error="exit 1"',
    "Error: exit status 1",
)
