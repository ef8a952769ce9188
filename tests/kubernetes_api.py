"""A small Kubernetes API server: TrainJobs, a queue, pods, events, logs, servers.

It speaks HTTP to the real client and SDK, refuses TrainJobs that their CRD refuses, answers with
Kubernetes' own Status objects, and fails on request. It has no controllers: a test plays them.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import yaml
from kubernetes_validate import validate

from tests.argo import pod_metadata
from tests.crds import problems
from tests.json_server import serving
from tests.yaml_text import read_yaml

NAMESPACE = "lidr"
TRAINER = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}"
CORE = f"/api/v1/namespaces/{NAMESPACE}"
KUEUE = f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{NAMESPACE}"
BATCH = f"/apis/batch/v1/namespaces/{NAMESPACE}"
ARGO = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}"
VISIBILITY = f"/apis/visibility.kueue.x-k8s.io/v1beta2/namespaces/{NAMESPACE}"
SERVERS = (
    f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/",
    f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/",
)

_BASE = Path(__file__).resolve().parents[1] / "manifests" / "base"
RUNTIMES = (_BASE / "training-runtime.yaml", _BASE / "rollout-runtime.yaml")

Object = dict[str, Any]

WORKFLOW = "lidr-tiny-world-x7k2p"
"""Name of the workflow that the pods of steps are of."""


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": code,
            "reason": reason,
            "message": message,
        }
        self.code = code


@dataclass
class KubernetesApi:
    """The server's state, which tests read and change.

    Attributes:
        url: where it listens.
        jobs: TrainJobs by name.
        runtimes: TrainingRuntimes by name.
        pods: pods by name.
        workflows: Argo's Workflows by name.
        batch: Jobs by name.
        events: events about pods, the latest last.
        workloads: Kueue's Workloads by name, those that wait in the order of their queue.
        forbidden: kinds, or paths, that may not be read.
        objects: other objects by path, and lists by the collection's path; where there are any,
            what is not among them is not there, rather than forbidden.
        allows: answers the spec of an access review.
        logs: timestamp and line, by pod.
        servers: Deployments and InferenceServices by path.
        requests: method and path of each request so far.
        failing: status with which every request is answered; 0 is none.
        allowed: decides a request by method and path, as RBAC does.
        before_create: called before a TrainJob is stored.
        on_job: called with each Job that was made, as its controller is.
    """

    url: str = ""
    jobs: dict[str, Object] = field(default_factory=dict)
    runtimes: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)
    workflows: dict[str, Object] = field(default_factory=dict)
    batch: dict[str, Object] = field(default_factory=dict)
    events: list[Object] = field(default_factory=list)
    workloads: dict[str, Object] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)
    objects: dict[str, Object] = field(default_factory=dict)
    allows: Callable[[Object], bool] = lambda spec: True
    logs: dict[str, list[tuple[datetime, str]]] = field(default_factory=dict)
    servers: dict[str, Object] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    failing: int = 0
    slow_to_end: bool = False
    allowed: Callable[[str, str], bool] = lambda method, path: True
    before_create: Callable[[str], None] = lambda name: None
    on_job: Callable[[Object], None] = lambda job: None

    def answer(self, method: str, url: str, body: bytes, content: str = "") -> Object | str:
        """Answer one request."""
        parsed = urlparse(url)
        self.requests.append((method, parsed.path))
        if self.failing:
            raise Refused(self.failing, "InternalError", "etcdserver: leader changed")
        if not self.allowed(method, parsed.path):
            raise Refused(403, "Forbidden", f"{method} {parsed.path} is forbidden")
        if self.objects and (found := self._object(method, parsed.path, body)):
            return found
        if parsed.path.startswith(SERVERS):
            return self._server(method, parsed.path, body, content)
        query = {key: values[0] for key, values in parse_qs(parsed.query).items()}
        roots = (TRAINER, CORE, KUEUE, VISIBILITY, ARGO, BATCH)
        root = next((root for root in roots if parsed.path.startswith(root)), None)
        kind, *rest = parsed.path.removeprefix(f"{root}/").split("/")
        if root is None and self.objects:
            raise Refused(404, "NotFound", f"{parsed.path} not found")
        if root is None or kind in self.forbidden:
            raise Refused(403, "Forbidden", f"{parsed.path} is forbidden")
        if kind == "trainjobs":
            return self._trainjobs(method, rest, body, query)
        if kind == "jobs":
            return self._jobs(method, rest, body)
        if kind == "trainingruntimes":
            return self._get(self.runtimes, kind, rest[0])
        if kind == "pods":
            return self._pods(rest, query)
        if kind == "events":
            return {"items": [e for e in self.events if _selected(e, query["fieldSelector"])]}
        if kind == "workflows":
            return {"items": _labelled(self.workflows, query["labelSelector"])}
        if kind == "workloads":
            return {"items": list(self.workloads.values())}
        if kind == "localqueues" and rest[1:] == ["pendingworkloads"]:
            return self._pending()
        raise Refused(404, "NotFound", f"no {kind}")

    def _object(self, method: str, path: str, body: bytes) -> Object | None:
        if path in self.forbidden:
            raise Refused(403, "Forbidden", f"{path} is forbidden")
        if method == "POST" and path.endswith("accessreviews"):
            sent: Object = json.loads(body)
            return sent | {"status": {"allowed": self.allows(sent["spec"])}}
        return self.objects.get(path)

    def _pending(self) -> Object:
        waiting = [each for each in self.workloads.values() if not _admitted(each)]
        items = [
            {"metadata": {"name": each["metadata"]["name"]}, "positionInLocalQueue": place}
            for place, each in enumerate(waiting)
        ]
        return {"kind": "PendingWorkloadsSummary", "items": items}

    def _trainjobs(
        self, method: str, rest: list[str], body: bytes, query: dict[str, str]
    ) -> Object:
        if method == "POST":
            return self._create(json.loads(body))
        if method == "DELETE":
            found = self._get(self.jobs, "trainjobs", rest[0])
            if self.slow_to_end and query.get("propagationPolicy") == "Foreground":
                found["metadata"]["deletionTimestamp"] = str(_now())
                return found
            self.pods.clear()
            return self.jobs.pop(rest[0])
        if not rest:
            return {"kind": "TrainJobList", "items": list(self.jobs.values())}
        return self._get(self.jobs, "trainjobs", rest[0])

    def _jobs(self, method: str, rest: list[str], body: bytes) -> Object:
        if method == "DELETE":  # with all that it owns, in the background
            uid = self._get(self.batch, "jobs", rest[0])["metadata"]["uid"]
            for name in [name for name, pod in self.pods.items() if _owner(pod) == uid]:
                del self.pods[name]
            return self.batch.pop(rest[0])
        job: Object = json.loads(body)
        validate(job, "1.37", strict=True)
        job["metadata"] |= {"namespace": NAMESPACE, "uid": str(uuid.uuid4())}
        self.batch[job["metadata"]["name"]] = job
        self.on_job(job)
        return job

    def put_job_pod(self, job: Object, **status: object) -> str:
        """Make the pod of a Job, as its controller does; return its name."""
        template, name = job["spec"]["template"], job["metadata"]["name"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "controller": True}
        uid = job["metadata"]["uid"]
        labels = {
            **template["metadata"]["labels"],
            "batch.kubernetes.io/controller-uid": uid,
            "batch.kubernetes.io/job-name": name,
            "controller-uid": uid,
            "job-name": name,
        }
        metadata = {
            "name": f"{name}-x7k2p",
            "labels": labels,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": str(_now()),
            "ownerReferences": [{**owner, "uid": uid, "blockOwnerDeletion": True}],
        }
        spec = {**template["spec"], "nodeName": "node-1"}
        self.pods[f"{name}-x7k2p"] = {"metadata": metadata, "spec": spec, "status": dict(status)}
        return f"{name}-x7k2p"

    def _create(self, job: Object) -> Object:
        if found := problems(job):
            raise Refused(422, "Invalid", f"TrainJob is invalid: {'; '.join(found)}")
        name = job["metadata"]["name"]
        self.before_create(name)
        if name in self.jobs:
            raise Refused(409, "AlreadyExists", f'trainjobs "{name}" already exists')
        job["metadata"] |= {
            "namespace": NAMESPACE,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": _now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        self.jobs[name] = job
        return job

    def _server(self, method: str, path: str, body: bytes, content: str) -> Object:
        found = self._get(self.servers, *path.rsplit("/", 2)[1:], key=path)
        if method == "PATCH":
            if "strategic" in content and "kserve" in path:
                raise Refused(415, "UnsupportedMediaType", "custom kinds have no strategic merge")
            self.servers[path] = found = _merged(found, json.loads(body))
        return found

    def _pods(self, rest: list[str], query: dict[str, str]) -> Object | str:
        if not rest:
            not_in = [
                each.removeprefix("status.phase!=")
                for each in query.get("fieldSelector", "").split(",")
            ]
            items = [
                pod
                for pod in _labelled(self.pods, query["labelSelector"])
                if pod.get("status", {}).get("phase", "Pending") not in not_in
            ]
            return {"kind": "PodList", "apiVersion": "v1", "items": items}
        pod = self._get(self.pods, "pods", rest[0])
        return self._log(rest[0], query) if rest[1:] == ["log"] else pod

    def _log(self, name: str, query: dict[str, str]) -> str:
        lines = list(self.logs.get(name, []))
        if "sinceSeconds" in query:
            start = _now() - timedelta(seconds=int(query["sinceSeconds"]))
            lines = [line for line in lines if line[0] >= start]
        if "tailLines" in query:
            lines = lines[-int(query["tailLines"]) :]
        stamped = query.get("timestamps") == "True"
        return "".join(
            f"{_stamp(moment)} {text}\n" if stamped else f"{text}\n" for moment, text in lines
        )

    @staticmethod
    def _get(table: dict[str, Object], kind: str, name: str, key: str = "") -> Object:
        if (key or name) not in table:
            raise Refused(404, "NotFound", f'{kind} "{name}" not found')
        return table[key or name]

    def set_condition(self, job: str, kind: str, message: str = "") -> None:
        """Set one condition of a TrainJob to true, as Trainer's controller does."""
        status = self.jobs[job].setdefault("status", {})
        status.setdefault("conditions", []).append(
            {"type": kind, "status": "True", "reason": kind, "message": message}
        )

    def put_pod(self, job: str, index: int = 0, attempt: int = 0, **status: object) -> str:
        """Make or change the pod of one node; return its name."""
        name = f"{job}-node-0-{index}-{attempt}"
        labels = {
            "jobset.sigs.k8s.io/jobset-name": job,
            "jobset.sigs.k8s.io/replicatedjob-name": "node",
            "jobset.sigs.k8s.io/restart-attempt": str(attempt),
            "batch.kubernetes.io/job-completion-index": str(index),
        }
        uid = self.pods.get(name, {}).get("metadata", {}).get("uid") or str(uuid.uuid4())
        metadata = {"name": name, "labels": labels, "uid": uid, "creationTimestamp": str(_now())}
        self.pods[name] = {"metadata": metadata, "status": dict(status)}
        return name

    def put_step(self, run: str, path: str, **status: object) -> str:
        """Make or change the pod of a pipeline's task, as Argo does for Kubeflow Pipelines.

        Args:
            run: id of the Kubeflow run.
            path: of its node, e.g. `root.exit-handler-1.iteration.condition-1.train.executor`.
            **status: of the pod.
        """
        node = ".".join(f"{part}(0)" for part in (WORKFLOW, *path.split(".")))
        driver = path.endswith("-driver")
        template = "system-container-driver" if driver else "retry-system-container-impl"
        metadata = pod_metadata(run, node, template)
        name: str = metadata["name"]
        known = self.pods.get(name, {}).get("metadata", {})
        metadata |= {"uid": known.get("uid") or str(uuid.uuid4())}
        metadata |= {"creationTimestamp": known.get("creationTimestamp") or str(_now())}
        self.pods[name] = {"metadata": metadata, "status": dict(status)}
        return name

    def warn(self, pod: str, reason: str, message: str) -> None:
        """Add a warning about a pod."""
        about = {"involvedObject": {"name": pod}, "type": "Warning", "lastTimestamp": str(_now())}
        self.events.append({**about, "reason": reason, "message": message})

    def queue(self, job: str, message: str) -> None:
        """Let a TrainJob wait in its queue, as Kueue does."""
        self._queue("TrainJob", job, self.jobs[job]["metadata"]["uid"], message)

    def queue_pod(self, pod: str, queue: str, message: str) -> None:
        """Let a pod wait in a queue, as Kueue's pod integration does."""
        metadata = self.pods[pod]["metadata"]
        metadata["labels"]["kueue.x-k8s.io/queue-name"] = queue
        gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
        self.pods[pod]["status"] = {"phase": "Pending", "conditions": [gated]}
        self._queue("Pod", pod, metadata["uid"], message)

    def _queue(self, kind: str, owner: str, uid: str, message: str) -> None:
        name = f"{kind.lower()}-{owner}"
        references = [{"kind": kind, "name": owner, "uid": uid}]
        condition = {"type": "QuotaReserved", "status": "False", "message": message}
        self.workloads[name] = {
            "metadata": {"name": name, "ownerReferences": references},
            "status": {"conditions": [condition]},
        }

    def print(self, pod: str, *lines: str) -> None:
        """Add lines to a pod's log, all of them at the same moment."""
        moment = _now()
        self.logs.setdefault(pod, []).extend((moment, line) for line in lines)


def running(container: str = "node") -> Object:
    """Status of a pod whose container runs."""
    return {"phase": "Running", **_container({"running": {}}, container)}


def waiting(reason: str, message: str, container: str = "node") -> Object:
    """Status of a pod whose container cannot start."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", **_container(state, container)}


def unschedulable(message: str) -> Object:
    """Status of a pod that no node takes."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {"phase": "Pending", "conditions": [{**condition, "message": message}]}


def ended(reason: str, code: int, container: str = "node") -> Object:
    """Status of a pod whose container has ended."""
    state = {"terminated": {"reason": reason, "exitCode": code}}
    return {"phase": "Failed" if code else "Succeeded", **_container(state, container)}


def _container(state: Object, name: str) -> Object:
    return {"containerStatuses": [{"name": name, "state": state}]}


def _names_only(found: Object) -> Object:
    """Return a list as a real server does that is asked for metadata alone: null for none."""
    items = [{"metadata": each["metadata"]} for each in found["items"]]
    return {"kind": "PartialObjectMetadataList", "items": items or None}


def _labelled(objects: dict[str, Object], selector: str) -> list[Object]:
    wanted = dict(pair.split("=") for pair in selector.split(","))
    return [
        each
        for each in list(objects.values())
        if wanted.items() <= each["metadata"]["labels"].items()
    ]


def _selected(event: Object, selector: str) -> bool:
    wanted = dict(pair.split("=") for pair in selector.split(","))
    return wanted == {"involvedObject.name": event["involvedObject"]["name"], "type": event["type"]}


def _admitted(workload: Object) -> bool:
    conditions = workload["status"]["conditions"]
    return any(each["type"] == "Admitted" and each["status"] == "True" for each in conditions)


def _owner(pod: Object) -> str:
    references = pod["metadata"].get("ownerReferences", [])
    return str(references[0]["uid"]) if references else ""


def _merged(value: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7386); a strategic one without lists is the same."""
    if not isinstance(patch, dict):
        return patch
    base = value if isinstance(value, dict) else {}
    changed = {key: _merged(base.get(key), each) for key, each in patch.items() if each is not None}
    return {key: each for key, each in base.items() if key not in patch} | changed


def _now() -> datetime:
    return datetime.now(UTC)


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


@contextmanager
def serve() -> Iterator[KubernetesApi]:
    """Start a server that knows the shipped TrainingRuntimes."""
    shipped = [read_yaml(file.read_text("utf-8")) for file in RUNTIMES]
    api = KubernetesApi(runtimes={each["metadata"]["name"]: each for each in shipped})

    def answer(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Any]:
        try:
            content = request.headers.get("Content-Type", "")
            found = api.answer(request.command, request.path, body, content)
            names_only = "as=PartialObjectMetadataList" in request.headers.get("Accept", "")
            return 200, _names_only(found) if names_only else found
        except Refused as refusal:
            return refusal.code, refusal.body

    with serving(answer) as api.url:
        yield api


def write_kubeconfig(api: KubernetesApi, path: Path) -> Path:
    """Write the configuration that clients find the server with."""
    context = {"cluster": "test", "user": "test", "namespace": NAMESPACE}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": api.url}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": context}],
        "current-context": "test",
    }
    path.write_text(yaml.safe_dump(config), "utf-8")
    return path


def wait_until(reached: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
