"""The stand-ins of Kubeflow and Argo, and what lidr reads, held against recordings of real ones.

A recording is a run that Kubeflow Pipelines 2.17 and Argo 4.0 executed; `python -m tests.cluster
--record` renews them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from types import SimpleNamespace
from typing import Any

import kfp_server_api as kfp
import pytest

from lidr.pipelines.cluster.nodes import WorkflowGraph, parse_workflow, task_graph
from lidr.pipelines.cluster.outcome import outcome_of
from lidr.pipelines.cluster.tasks import other_tasks, rows_of, step_tasks
from lidr.pipelines.status import END, STEP_NAMES
from lidr.pipelines.step_log import OwnLines, last_words
from tests.argo import Workflow, pod_metadata
from tests.cluster.recording import FOLDER, read, trimmed, trimmed_log, trimmed_workflow
from tests.kfp_runs import task_details

NAMES = sorted(file.stem.removeprefix("run-") for file in FOLDER.glob("run-*.json"))
"""`succeeded` and `failed` are of today's loop and can be renewed; others are of an earlier one."""

WHOLE = [name for name in NAMES if "nodes" in read(f"workflow-{name}")["status"]]
"""Those whose tasks Kubeflow knew to the end; of others Argo has begun to compress the nodes."""

LAID_OUT = [name for name in WHOLE if name not in ("forbidden", "cancelled")]
"""Those in which nothing was attempted twice or cut short."""

CLIENT = kfp.ApiClient(kfp.Configuration(host="http://unused"))
COMPARED = (
    "id",
    "name",
    "displayName",
    "type",
    "phase",
    "message",
    "boundaryID",
    "templateName",
)


@pytest.fixture(autouse=True)
def recorded_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings of an earlier loop call its first task by another name."""
    monkeypatch.setitem(STEP_NAMES, "build-world", "prepare")


def recorded_run(name: str) -> Any:
    text = json.dumps(read(f"run-{name}"))
    return CLIENT.deserialize(SimpleNamespace(data=text), "V2beta1Run")


def recorded_nodes(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read(f"workflow-{name}")["status"]["nodes"]
    return found


def seen(tasks: list[Any]) -> Counter[tuple[Any, ...]]:
    """Return what can be said of tasks whose ids are random."""
    return Counter(
        (
            task.display_name,
            task.create_time,
            task.start_time,
            task.end_time,
            task.state,
            tuple(child.pod_name for child in task.child_tasks or []),
            task.task_id is None,
            task.parent_task_id,
            task.error,
        )
        for task in tasks
    )


@pytest.mark.parametrize("name", WHOLE)
def test_kubeflow_stand_in_makes_the_recorded_tasks_of_the_recorded_workflow(name: str):
    run = recorded_run(name)
    made = task_details(run.run_id, read(f"workflow-{name}"))
    assert seen(made) == seen(run.run_details.task_details)


@pytest.mark.parametrize("name", LAID_OUT)
def test_argo_stand_in_lays_out_the_recorded_workflow(name: str):
    recorded = recorded_nodes(name)
    made = replayed(read(f"workflow-{name}")).settled()
    assert set(made) == set(recorded)
    for key, node in recorded.items():
        mine = {field: made[key].get(field) for field in COMPARED}
        assert mine == {field: node.get(field) for field in COMPARED}
        assert set(made[key].get("children", [])) == set(node.get("children", [])), node["name"]


def replayed(recorded: dict[str, Any]) -> Workflow:
    """Lay out a recorded workflow's tasks as a test would, in the order in which they started."""
    nodes = recorded["status"]["nodes"].values()
    order = {
        template["name"]: {task["name"]: task for task in template.get("tasks", [])}
        for template in recorded["spec"]["templates"]
    }
    named = {node["name"]: node for node in nodes}
    flow = Workflow("r", recorded["metadata"]["name"])
    for name in in_order(named, order):
        node = named[name]
        outer, _, own = name.rpartition(".")
        outside = named[outer]["templateName"]
        depends = order[outside][f"{own}-driver"].get("depends", "") if own != "onExit" else ""
        after = tuple(re.findall(r"([\w-]+)\.Succeeded", depends))
        path = re.sub(r"\(\d+\)", "", name.partition(".")[2])
        template = node["templateName"]
        if template.endswith("-executor"):
            add_task(flow, path, after, named, name)
        else:
            flow.group(path, after=after, template=template, omitted=node["phase"] == "Omitted")
    for path, phase in (("", named[flow.name]["phase"]), ("root", named[flow.name]["phase"])):
        flow.called[path] = phase
    return flow


def in_order(named: dict[str, dict[str, Any]], order: dict[str, Any]) -> list[str]:
    """Return the names of tasks and groups; what a task follows comes before it."""
    tasks = [
        name
        for name, node in named.items()
        if f"{name}-driver" in named or node["displayName"].endswith(".onExit")
    ]
    depth = {name: name.count(".") for name in tasks}
    return sorted(tasks, key=lambda name: (named[name]["startedAt"], depth[name], name))


def add_task(
    flow: Workflow,
    path: str,
    after: tuple[str, ...],
    named: dict[str, dict[str, Any]],
    name: str,
) -> None:
    driver, pod = named[f"{name}-driver"], named.get(f"{name}(0).executor(0)")
    teller = pod or named.get(f"{name}-driver(0)", {})
    flow.task(
        path,
        pod["phase"] if pod else "Omitted",
        after=after,
        message=teller.get("message", ""),
        driver=driver["phase"],
        template=named[name]["templateName"].removesuffix("-executor"),
    )


def known(name: str) -> WorkflowGraph:
    """Return what Kubeflow's v2beta1 API tells of a recorded run's workflow."""
    return task_graph(recorded_run(name))


def whole(name: str) -> WorkflowGraph:
    """Return what its v1beta1 API tells."""
    return parse_workflow(json.dumps(read(f"workflow-{name}")))


@pytest.mark.parametrize("name", NAMES)
def test_names_of_nodes_are_found_from_the_hashes_of_their_children(name: str):
    named = {node.name: node for node in known(name).nodes}
    truth = {node.name: node for node in whole(name).nodes}
    assert set(named) <= set(truth)
    assert all(node.began == truth[node.name].began for node in named.values())
    tasks = recorded_run(name).run_details.task_details
    if name != "forbidden":  # its three attempts have the same tasks, all of them left out
        grouping = [task for task in tasks if task.child_tasks]
        assert len(grouping) <= len(named) < len(tasks)


def states(graph: WorkflowGraph) -> dict[tuple[int, str], str]:
    rows = rows_of(step_tasks(graph.nodes))
    assert len({row.place for row in rows}) == len(rows), "no two tasks are the same step's"
    return {(row.iteration, row.step): row.state for row in rows}


ROUND = ("generate", "translate", "pair", "train", "evaluate", "gate", "register")
START = {(0, step): "done" for step in ("prepare", "evaluate", "register")}


def test_steps_of_a_recorded_success_stand_under_their_iterations():
    rounds = {(number, step): "done" for number in (1, 2) for step in ROUND}
    assert states(whole("compressed")) == {**START, **rounds, (END, "report"): "done"}


def test_tasks_that_kubeflow_no_longer_followed_are_seen_as_open():
    rounds = {(1, step): "done" for step in ROUND[:5]}
    assert states(known("compressed")) == {**START, **rounds, (1, "gate"): "waiting"}


@pytest.mark.parametrize("told", [whole, known])
def test_recorded_failure_stands_under_its_iteration_alone(told: Any):
    failed = {(1, step): "done" for step in ROUND[:3]} | {(1, "train"): "failed"}
    assert states(told("failed-exit")) == {**START, **failed}
    assert list(other_tasks(told("failed-exit").nodes, "failed")) == ["the driver of cleanup"]
    assert states(told("failed-called-succeeded")) == {(0, "prepare"): "failed"}
    assert other_tasks(told("failed-called-succeeded").nodes, "failed") == {}


def test_recorded_failure_has_argo_s_reason_and_the_pod():
    row = {row.step: row for row in rows_of(step_tasks(whole("failed-exit").nodes))}["train"]
    pod = "lidr-tiny-world-vqz5z-retry-system-container-impl-249349608"
    assert (row.note, row.pod) == ("main: Error (exit code 2)", pod)
    others = other_tasks(whole("failed-exit").nodes, "failed")
    assert others == {"the driver of cleanup": "main: Error (exit code 1)"}


def test_recorded_failure_of_today_s_loop_stands_under_its_iteration():
    start = {(0, step): "done" for step in ("prepare", "evaluate", "register")}
    done = {(1, step): "done" for step in ROUND[:3]}
    for told in (whole, known):
        found = states(told("failed"))
        assert found == {**start, **done, (1, "train"): "failed", (END, "report"): "done"}
    assert outcome_of(recorded_run("failed"), whole("failed"), None, known=False).state == "failed"


def test_result_of_a_budget_stop_is_no_result_of_a_run_submitted_after_it():
    run, graph = recorded_run("failed"), whole("failed")
    began = run.created_at.timestamp()
    found = {}
    for stop in ({"reason": "too dear"}, None):
        for written in (began - 60, began + 60):
            stored = SimpleNamespace(complete=True, budget_stop=stop, result_written=written)
            outcome = outcome_of(run, graph, stored, known=True)
            found[stop is not None, written > began] = outcome.state
    assert found == {
        (True, False): "failed",
        (True, True): "done",
        (False, False): "done",
        (False, True): "done",
    }


@pytest.mark.skipif("succeeded" not in NAMES, reason="no run of today's loop that ended well yet")
def test_recorded_success_of_today_s_loop_is_done():
    graph, run = whole("succeeded"), recorded_run("succeeded")
    assert set(states(graph).values()) <= {"done", "skipped"}
    assert outcome_of(run, graph, None, known=False).state == "done"


def test_recorded_refusal_of_the_first_pod_is_told():
    (told,) = other_tasks(whole("forbidden").nodes, "failed").items()
    assert told[0] == "the driver of root"
    assert told[1].endswith('account kubeflow/lidr-absent: serviceaccount "lidr-absent" not found')
    assert other_tasks(known("forbidden").nodes, "failed") == {"the driver of root": ""}
    assert states(whole("forbidden")) == {}


@pytest.mark.parametrize("told", [whole, known])
def test_recorded_cancelled_run_is_cancelled_whatever_kubeflow_calls_it(told: Any):
    graph, run = told("cancelled"), recorded_run("cancelled")
    assert run.state == "FAILED" and graph.cancelled
    assert outcome_of(run, graph, None, known=False).state == "cancelled"
    assert states(graph) == {(0, "prepare"): "cancelled", (END, "report"): "done"}
    assert other_tasks(graph.nodes, "failed") == {}


def test_recorded_log_has_the_step_s_own_lines_and_last_words():
    text = (FOLDER / "log-failed-step.txt").read_text("utf-8")
    own = OwnLines()
    lines = [line for line in text.splitlines() if own.has(line)]
    assert lines[0] == "lidr started step=train iteration=1"
    (failed,) = [line for line in lines if line.startswith("lidr failed step=train message=")]
    after = lines[lines.index(failed) + 1 :]
    assert after[0] == "Traceback (most recent call last):"
    assert after[-1].startswith(
        "lidr.components.shared.core.errors.TrainingFailed: step 2: the loss"
    )
    assert last_words(text).startswith("step 2: the loss is ")
    assert failed.endswith(f"{last_words(text)} exit_code=1")


@pytest.mark.parametrize("kind", ["driver", "launcher"])
def test_kubernetes_stand_in_makes_pods_as_argo_does(kind: str):
    pods = [*read("pods-failed"), *read("pods-cancelled")]
    role = "pipelines.kubeflow.org/runtime-role"
    recorded = [pod for pod in pods if pod["metadata"]["annotations"][role] == kind]
    assert recorded
    for pod in recorded:
        found = pod["metadata"]
        node = found["annotations"]["workflows.argoproj.io/node-name"]
        template = found["name"].removeprefix(node.partition("(")[0] + "-").rpartition("-")[0]
        made = pod_metadata(found["labels"]["pipeline/runid"], node, template)
        assert made["name"] == found["name"]
        assert made["annotations"] == found["annotations"]
        assert set(made["labels"]) == set(found["labels"]) - {"app.kubernetes.io/part-of"}


def test_recordings_hold_no_names_and_are_small():
    for file in FOLDER.iterdir():
        text = file.read_text("utf-8")
        assert len(text) < 60_000, file.name
        assert not re.search(r"https?://|\b\d+\.\d+\.\d+\.\d+\b", text), file.name
        ids = set(re.findall(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}\b", text))
        assert all(each.startswith("00000000-0000-4000-8000-") for each in ids), file.name


@pytest.mark.parametrize("name", NAMES)
def test_trimming_a_recording_again_changes_nothing(name: str):
    assert trimmed(read(f"run-{name}")) == read(f"run-{name}")
    workflow = read(f"workflow-{name}")
    again = trimmed_workflow({**workflow, "spec": with_dags(workflow["spec"])})
    assert again == workflow


def with_dags(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a trimmed spec with its tasks where Argo has them."""
    templates = [
        {"name": each["name"], "dag": {"tasks": each.get("tasks", [])}}
        for each in spec["templates"]
    ]
    return {**spec, "templates": templates}


def test_what_a_recipe_says_stays_out_of_a_recording():
    secret = json.dumps({"recipe": "of mine"})
    node = {"id": "x-1", "name": "x(0)", "inputs": {"parameters": [{"value": secret}]}}
    flow = {
        "metadata": {"name": "x", "uid": "7f9c24e8-3b12-4fef-91e0-56a2d5a0e2b1"},
        "spec": {"templates": [{"name": "t", "container": {"args": [secret]}}]},
        "status": {"nodes": {"x-1": node}, "message": "no host at http://kfp.internal:8888/x"},
    }
    text = json.dumps(trimmed_workflow(flow))
    assert "of mine" not in text and "internal" not in text
    run = {"run_id": "7f9c24e8-3b12-4fef-91e0-56a2d5a0e2b1", "plugins_output": secret}
    assert trimmed(run) == {"run_id": "00000000-0000-4000-8000-000000000001"}
    log = 'Got executor_input:\n    "recipe": "{\\"name\\": \\"of mine\\"}",\n'
    assert trimmed_log(log) == 'Got executor_input:\n    "recipe": "...",\n'


def test_last_words_are_those_of_the_step_that_failed_after_another_one_had_finished():
    log = (
        "lidr finished step=gate seconds=1\nlidr started step=register\nTraceback\nKeyError: 'x'\n"
    )
    assert last_words(log) == "KeyError: 'x'"
