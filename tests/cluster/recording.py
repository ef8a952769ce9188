"""Recordings of what a real Kubeflow and Argo answer, trimmed and without names.

The stand-ins of the tests (tests/kfp_api.py, tests/kubernetes_api.py) are held against them.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "recordings"

Object = dict[str, Any]

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_STORE = re.compile(r"s3://[^\"'\\ ]+")
_HOST = re.compile(r"https?://[^\"'\\ ]+|\b\d{1,3}(?:\.\d{1,3}){3}\b")
_IMAGE = re.compile(r"\b[\w.-]+(?::\d+)?/[\w./-]+:[\w.-]+")

_SOURCE = re.compile(r'File "[^"]*?/(?=(?:lidr|site-packages|python3[.0-9]*)/)')
_CONTAINER_ID = re.compile(r"containerd://[0-9a-f]{64}")
_DEEP = " " * 16
"""What stands so deep in a log is a part of the JSON that a step is given."""

_RUN = (
    "run_id",
    "experiment_id",
    "display_name",
    "storage_state",
    "description",
    "pipeline_version_reference",
    "runtime_config",
    "service_account",
    "created_at",
    "scheduled_at",
    "finished_at",
    "state",
    "error",
    "state_history",
    "run_details",
)
_NODE = (
    "id",
    "name",
    "displayName",
    "type",
    "phase",
    "message",
    "startedAt",
    "finishedAt",
    "children",
    "boundaryID",
    "templateName",
    "nodeFlag",
)
_METADATA = ("name", "namespace", "generateName", "creationTimestamp", "labels", "annotations")
_SPEC = (
    "entrypoint",
    "activeDeadlineSeconds",
    "templateDefaults",
    "ttlStrategy",
    "podMetadata",
)
_STATUS = ("phase", "message", "startedAt", "finishedAt", "progress", "conditions")
_POD_STATUS = (
    "phase",
    "reason",
    "message",
    "conditions",
    "initContainerStatuses",
    "containerStatuses",
    "startTime",
)
_CONTAINER = ("name", "ready", "restartCount", "started", "state", "lastState")


Ids = dict[str, str]
"""What stands for each id; one for all that is recorded of a run."""


def trimmed(run: Object, ids: Ids | None = None) -> Object:
    """Return a run (`GET /apis/v2beta1/runs/{id}`) with what status reads, and no names."""
    return _anonymous(_only(run, _RUN), ids)


def trimmed_workflow(workflow: Object, ids: Ids | None = None) -> Object:
    """Return an Argo Workflow: its nodes, its tasks' order, its retries; packed where it was."""
    status = _only(workflow["status"], _STATUS)
    found = workflow["status"]
    if packed := found.get("compressedNodes"):
        nodes = _anonymous(_nodes(json.loads(gzip.decompress(base64.b64decode(packed)))), ids)
        data = gzip.compress(json.dumps(nodes, separators=(",", ":")).encode(), mtime=0)
        status["compressedNodes"] = base64.b64encode(data).decode()
    else:
        status["nodes"] = _nodes(found.get("nodes", {}))
    spec = _only(workflow["spec"], _SPEC)
    spec["templates"] = [_template(each) for each in workflow["spec"]["templates"]]
    metadata = _only(workflow["metadata"], _METADATA)
    return _anonymous({"metadata": metadata, "spec": spec, "status": status}, ids)


def trimmed_pod(pod: Object, ids: Ids | None = None) -> Object:
    """Return a pod (core/v1) as Argo makes it: labels, annotations, containers, state."""
    status = _only(pod["status"], _POD_STATUS)
    for kind in ("initContainerStatuses", "containerStatuses"):
        if kind in status:
            status[kind] = [_only(each, _CONTAINER) for each in status[kind]]
    spec = {
        kind: [{"name": each["name"]} for each in pod["spec"].get(kind, [])]
        for kind in ("initContainers", "containers")
    }
    metadata = _only(pod["metadata"], _METADATA)
    return _anonymous({"metadata": metadata, "spec": spec, "status": status}, ids)


def trimmed_log(text: str, ids: Ids | None = None) -> str:
    """Return a pod's log without names, and with little of the JSON that a step is given."""
    quoted = re.compile(r'("(?:recipe|store|launch)": )"(?:[^"\\]|\\.)*"')
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith(_DEEP)]
    shorter = _SOURCE.sub('File "', quoted.sub(r'\1"..."', "".join(lines)))
    return str(_anonymous(shorter, ids))


def record(
    name: str,
    run: Object,
    workflow: Object,
    pods: Sequence[Object] = (),
    logs: dict[str, str] | None = None,
    folder: Path = FOLDER,
) -> list[Path]:
    """Write a run, the workflow behind it, and pods; return the files.

    Args:
        name: how the run ended, e.g. `failed`.
        run: from Kubeflow's v2beta1 API.
        workflow: from the Kubernetes API, or Kubeflow's v1beta1 API.
        pods: of the run; one of each kind is kept.
        logs: of some pods' container `main`, by the name of the recording.
        folder: where they go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids: Ids = {}
    files = {
        f"run-{name}.json": _text(trimmed(run, ids)),
        f"workflow-{name}.json": _text(trimmed_workflow(workflow, ids)),
    }
    if pods:
        files[f"pods-{name}.json"] = _text([trimmed_pod(pod, ids) for pod in _kinds(pods)])
    for what, log in (logs or {}).items():
        files[f"log-{what}.txt"] = trimmed_log(log, ids)
    for file, text in files.items():
        (folder / file).write_text(text, "utf-8")
    return [folder / file for file in files]


def _kinds(pods: Sequence[Object]) -> list[Object]:
    """Return the first pod of each role and ending."""
    role = "pipelines.kubeflow.org/runtime-role"
    found: dict[tuple[str, str], Object] = {}
    for pod in pods:
        kind = pod["metadata"].get("annotations", {}).get(role, ""), pod["status"]["phase"]
        found.setdefault(kind, pod)
    return list(found.values())


def read(name: str, folder: Path = FOLDER) -> Any:
    """Return a recording, e.g. of `run-failed`."""
    return json.loads((folder / f"{name}.json").read_text("utf-8"))


def _text(content: Any) -> str:
    """Return JSON with a line for each task, node or pod, so that a renewed one can be compared."""
    compact = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    starts = r',(?=\{"(?:run_id|metadata|name)"|"[\w.-]+":\{"id")'
    return re.sub(starts, ",\n", compact) + "\n"


def _nodes(nodes: Object) -> Object:
    return {key: _only(node, _NODE) for key, node in nodes.items()}


def _template(template: Object) -> Object:
    """Return the order that a template puts its tasks in."""
    tasks = [
        _only(task, ("name", "template", "depends", "hooks"))
        for task in template.get("dag", {}).get("tasks", [])
    ]
    for task in tasks:
        if "hooks" in task:
            task["hooks"] = {
                kind: _only(hook, ("template",)) for kind, hook in task["hooks"].items()
            }
    return {"name": template["name"], **({"tasks": tasks} if tasks else {})}


def _only(found: Object, keys: Sequence[str]) -> Object:
    return {key: found[key] for key in keys if key in found}


def _anonymous(content: Any, ids: Ids | None = None) -> Any:
    """Return a value with ids counted through, and without addresses, stores and images."""
    known = {} if ids is None else ids
    text = content if isinstance(content, str) else json.dumps(content)
    text = _UUID.sub(lambda found: known.setdefault(found[0], _counted(len(known))), text)
    text = _STORE.sub("s3://bucket/store", text)
    text = _IMAGE.sub("registry/image:tag", _HOST.sub("host", text))
    text = _CONTAINER_ID.sub("containerd://id", text)
    return text if isinstance(content, str) else json.loads(text)


def _counted(number: int) -> str:
    return str(uuid.UUID(int=(4 << 76) + (8 << 60) + number + 1))
