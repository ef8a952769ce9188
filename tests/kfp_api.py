"""A Kubeflow Pipelines API server (v2beta1) over HTTP, made of `kfp_server_api`'s own models.

Requests become the client's models, and a field that these do not have is refused; answers are
models, written as the client writes them. So the server can say nothing the API does not have.
What it does with them follows the backend's source (backend/src/apiserver in kubeflow/pipelines):
names of pipelines and versions are unique, those of runs are not; times are whole seconds; a
pipeline's parameters are checked when a run is made; errors are grpc-gateway's.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesParser
from functools import lru_cache
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlparse

import kfp_server_api as kfp

from tests.argo import Workflow
from tests.json_server import serving
from tests.kfp_runs import task_details
from tests.yaml_text import read_documents

ROOT = "/apis/v2beta1"
_CLIENT = kfp.ApiClient(kfp.Configuration(host="http://unused"))
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_MAX_BYTES = 350_000
_LIVE = ("PENDING", "RUNNING", "PAUSED", "CANCELING")
_OLD_ROOT = "/apis/v1beta1"
_NOT_YET = datetime(1970, 1, 1, tzinfo=UTC)
"""When a run ended that goes on, as KFP tells it."""


class Refused(Exception):
    """An answer other than 200, as grpc-gateway writes it."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        detail = {"@type": "type.googleapis.com/google.rpc.Status", "code": code}
        self.body = {"code": code, "message": message, "details": [detail | {"message": message}]}


def _without_workflow(identity: str) -> Refused:
    """Return what the real one answers to ending a run whose Workflow was deleted."""
    patching = "Failed to terminate workflow lidr-tiny-world-hqxmh due to patching error"
    return Refused(
        500,
        13,
        f"Failed to terminate a run: InternalServerError: Failed to terminate run {identity} due "
        f"to error terminating its workflow: {patching} after multiple retries: {patching}: "
        'workflows.argoproj.io "lidr-tiny-world-hqxmh" not found',
    )


def _require_short(what: str, made: Any) -> None:
    """Refuse what the database of the real one, MySQL in its strict mode, cannot hold."""
    if len(made.description or "") > 255:
        raise Refused(
            500,
            13,
            f"Failed to create a new {what}: Failed to create a {what}: InternalServerError: "
            f"Failed to store {what} {made.display_name} to table: Error 1406 (22001): Data too "
            "long for column 'Description' at row 1",
        )


def invalid(message: str) -> Refused:
    return Refused(400, 3, f"Invalid input error: {message}")


def missing(what: str) -> Refused:
    return Refused(404, 5, f"ResourceNotFoundError: {what} not found")


@dataclass
class KubeflowApi:
    """The server's state, which tests read and change.

    Attributes:
        url: where it listens.
        multi_user: whether it is an installation for several users.
        namespaces: that the user may use, where there are several.
        token: that requests must carry; "" for none.
        readonly: whether the user may only read.
        failing: status with which every request is answered; 0 is none.
        version: that it tells; "unknown" as of an installation that does not know it.
        login: whether an ingress answers with its login page.
        pipelines: by id.
        versions: by id.
        experiments: by id.
        runs: by id.
        recurring: recurring runs by id.
        workflows: the Argo Workflow behind a run, as JSON, by the run's id.
        serves_v1: whether the v1beta1 API is served as well.
        requests: method and path of each request so far.
        gone: ids of runs whose Workflow was deleted behind Kubeflow's back.
        undeletable: ids of runs that the user may not delete.
        before_run: called before a run is stored.
    """

    url: str = ""
    multi_user: bool = False
    namespaces: tuple[str, ...] = ("lidr",)
    token: str = ""
    readonly: bool = False
    failing: int = 0
    version: str = "2.17.0"
    login: bool = False
    pipelines: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    experiments: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    recurring: dict[str, Any] = field(default_factory=dict)
    workflows: dict[str, str] = field(default_factory=dict)
    serves_v1: bool = True
    requests: list[tuple[str, str]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    undeletable: set[str] = field(default_factory=set)
    before_run: Callable[[], None] = lambda: None
    _lock: Any = field(default_factory=threading.RLock)

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Any]:
        """Answer one request."""
        parsed = urlparse(request.path)
        self.requests.append((request.command, parsed.path))
        if self.login:
            return 200, "<html>Log in to your account</html>"
        try:
            if self.failing:
                raise Refused(self.failing, 14, "connection error: database is down")
            self._authenticate(request)
            if parsed.path.startswith(f"{_OLD_ROOT}/runs/") and self.serves_v1:
                return 200, self._workflow(parsed.path.rpartition("/")[2])
            if not parsed.path.startswith(f"{ROOT}/"):
                return 404, "Not Found"
            parts = [unquote(part) for part in parsed.path.removeprefix(f"{ROOT}/").split("/")]
            query = dict(parse_qsl(parsed.query))
            content = _multipart(request, body) if parts[-1].startswith("upload") else body
            result = self._route(request.command, parts, query, content)
        except Refused as refusal:
            return refusal.status, refusal.body
        return 200, _sent(_CLIENT.sanitize_for_serialization(result))

    @property
    def changes(self) -> list[tuple[str, str]]:
        """The requests that could have changed something."""
        return [(method, path) for method, path in self.requests if method != "GET"]

    def _authenticate(self, request: BaseHTTPRequestHandler) -> None:
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            raise Refused(401, 16, "Unauthenticated: the token is missing or has expired")
        if self.readonly and request.command != "GET":
            raise Refused(403, 7, "User 'ann' is not authorized with reason: (verb: create)")

    def _route(self, method: str, parts: list[str], query: dict[str, str], body: Any) -> Any:
        kind, *rest = parts
        if kind == "healthz":
            told = {"commit_sha": "unknown", "tag_name": self.version}
            return {**told, "multi_user": self.multi_user}  # the model lacks what the server says
        handler = {
            "experiments": self._experiments,
            "pipelines": self._pipelines,
            "runs": self._runs,
            "recurringruns": self._recurring,
        }.get(kind)
        if handler is None:
            raise missing(kind)
        with self._lock:
            return handler(method, rest, query, body)

    def _workflow(self, run_id: str) -> Any:
        if run_id not in self.runs:
            raise missing(f"Run {run_id}")
        manifest = self.workflows.get(run_id, "")
        runtime = {"pipeline_runtime": {"workflow_manifest": manifest}} if manifest else {}
        return {"run": {"id": run_id, "name": self.runs[run_id].display_name}, **runtime}

    def _experiments(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if method == "POST":
            made = read_model(body, "V2beta1Experiment")
            self._may_use(made.namespace)
            if _named(self.experiments, "display_name", made.display_name):
                raise Refused(409, 6, "Already exist error: experiment")
            made.experiment_id, made.created_at = str(uuid.uuid4()), now()
            self.experiments[made.experiment_id] = made
            return made
        self._may_use(query.get("namespace"))
        found = [e for e in self.experiments.values() if _same(e.namespace, query)]
        return _page(found, query, "experiments", kfp.V2beta1ListExperimentsResponse)

    def _pipelines(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if rest[:1] == ["upload_version"]:
            return self._upload(query, body)
        if rest[:1] == ["names"]:
            self._may_use(query.get("namespace"))
            found = _named(self.pipelines, "name", rest[1])
            if not found or not _same(found[0].namespace, query):
                raise missing(f"Pipeline {rest[1]}")
            return found[0]
        if rest[1:] == ["versions"]:
            found = [v for v in self.versions.values() if v.pipeline_id == rest[0]]
            return _page(found, query, "pipeline_versions", kfp.V2beta1ListPipelineVersionsResponse)
        made = read_model(body, "V2beta1Pipeline")
        self._may_use(made.namespace)
        if not _NAME.fullmatch(made.name or ""):
            raise invalid(f"pipeline's name {made.name!r}")
        if _named(self.pipelines, "name", made.name):
            raise Refused(409, 6, f"Already exist error: pipeline {made.name}")
        made.pipeline_id, made.created_at = str(uuid.uuid4()), now()
        self.pipelines[made.pipeline_id] = made
        return made

    def _upload(self, query: dict[str, str], file: bytes) -> Any:
        if query["pipelineid"] not in self.pipelines:
            raise missing(f"Pipeline {query['pipelineid']}")
        if any(
            v.name == query["name"] and v.pipeline_id == query["pipelineid"]
            for v in self.versions.values()
        ):
            raise Refused(409, 6, f"Already exist error: pipeline version {query['name']}")
        made = kfp.V2beta1PipelineVersion(
            pipeline_id=query["pipelineid"],
            pipeline_version_id=str(uuid.uuid4()),
            name=query["name"],
            display_name=query.get("display_name", query["name"]),
            description=query.get("description"),
            created_at=now(),
            pipeline_spec=read_ir(file),
        )
        self.versions[made.pipeline_version_id] = made
        return made

    def _runs(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if not rest and method == "POST":
            return self._create_run(read_model(body, "V2beta1Run"))
        if not rest:
            found = self._of_experiment(self.runs, query)
            return _page(found, query, "runs", kfp.V2beta1ListRunsResponse)
        identity, _, verb = rest[0].partition(":")
        if identity not in self.runs:
            raise missing(f"Run {identity}")
        run = self.runs[identity]
        if verb == "terminate":
            if run.state not in _LIVE or run.state == "CANCELING":  # its store updates no such row
                raise invalid(f"Failed to terminate a run {identity}. Row not found")
            if identity in self.gone:
                raise _without_workflow(identity)
            self.set_state(run, "CANCELING")
            return {}
        if method == "DELETE":
            if identity in self.undeletable:
                raise Refused(403, 7, "User 'ann' is not authorized with reason: (verb: delete)")
            del self.runs[identity]
            return {}
        return run

    def _create_run(self, run: Any) -> Any:
        if not run.display_name:
            raise invalid("The run name is empty. Please specify a valid name")
        self._require_runnable(run)
        _require_short("run", run)
        self.before_run()
        run.run_id, run.created_at, run.storage_state = str(uuid.uuid4()), now(), "AVAILABLE"
        run.scheduled_at = run.created_at
        self.set_state(run, "PENDING")
        # A busy cluster notes an entry without a state, until Argo has seen the Workflow.
        run.state_history.append(kfp.V2beta1RuntimeStatus(update_time=now()))
        self.runs[run.run_id] = run
        return run

    def _recurring(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if method == "POST" and not rest:
            made = read_model(body, "V2beta1RecurringRun")
            self._require_runnable(made)
            _require_short("recurring run", made)
            trigger = made.trigger
            if not trigger or bool(trigger.cron_schedule) == bool(trigger.periodic_schedule):
                raise invalid("one of cron and periodic schedule is needed")
            if not 1 <= int(made.max_concurrency) <= 10:
                raise invalid("max_concurrency must lie between 1 and 10")
            made.recurring_run_id, made.created_at = str(uuid.uuid4()), now()
            made.status = "ENABLED"
            self.recurring[made.recurring_run_id] = made
            return made
        if method == "DELETE":
            if self.recurring.pop(rest[0], None) is None:
                raise missing(f"Job {rest[0]}")
            return {}
        identity, _, verb = rest[0].partition(":") if rest else ("", "", "")
        if verb == "disable":
            if identity not in self.recurring:
                raise missing(f"Job {identity}")
            self.recurring[identity].status = "DISABLED"
            return {}
        found = self._of_experiment(self.recurring, query)
        return _page(found, query, "recurring_runs", kfp.V2beta1ListRecurringRunsResponse)

    def _of_experiment(self, table: dict[str, Any], query: dict[str, str]) -> list[Any]:
        identity = query.get("experiment_id")
        if identity and identity not in self.experiments:
            raise missing(f"Experiment {identity}")
        self._may_use(query.get("namespace"))
        return [e for e in table.values() if identity in (None, e.experiment_id)]

    def _require_runnable(self, run: Any) -> None:
        """Check what a run names, and its parameters, as `validatePipelineJobInputs` does."""
        reference = run.pipeline_version_reference
        if reference is None or reference.pipeline_version_id not in self.versions:
            raise missing("Pipeline version")
        if run.experiment_id not in self.experiments:
            raise missing("Experiment")
        self._may_use(self.experiments[run.experiment_id].namespace)
        spec = self.versions[reference.pipeline_version_id].pipeline_spec
        inputs = spec["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
        for name, value in (run.runtime_config.parameters or {}).items():
            if name not in inputs:
                raise invalid(f"parameter {name} is not an input of the pipeline")
            if inputs[name]["parameterType"] == "STRING" and not isinstance(value, str):
                raise invalid(f"input parameter {name} requires type string")

    def _may_use(self, namespace: str | None) -> None:
        if not self.multi_user:
            if namespace:
                raise invalid("In single-user mode, the request shouldn't contain a namespace")
            return
        if not namespace:
            raise invalid("a namespace is needed in multi-user mode")
        if namespace not in self.namespaces:
            reason = f"User 'ann' is not authorized with reason: (namespace: {namespace})"
            raise Refused(403, 7, reason)

    def set_workflow(self, workflow: Workflow, *, frozen: bool = False) -> None:
        """Give a run the workflow behind it, as it is now.

        Args:
            workflow: of the run.
            frozen: Argo has begun to compress it, and the run's tasks stay as they are.
        """
        self.workflows[workflow.run_id] = json.dumps(workflow.manifest(compressed=frozen))
        if not frozen:
            tasks = task_details(workflow.run_id, workflow.manifest())
            self.runs[workflow.run_id].run_details = kfp.V2beta1RunDetails(task_details=tasks)

    def set_state(self, run: Any, state: str) -> None:
        """Let a run come into a state."""
        run.state = state
        run.state_history = [
            *(run.state_history or []),
            kfp.V2beta1RuntimeStatus(update_time=now(), state=state),
        ]
        run.finished_at = _NOT_YET if state in _LIVE else now()

    @property
    def run(self) -> Any:
        """The one run there is."""
        (found,) = self.runs.values()
        return found


def now() -> datetime:
    """The time as KFP keeps it: in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def _sent(answer: Any) -> Any:
    """Return an answer with times as protobuf writes them, which ends them in Z."""
    if isinstance(answer, dict):
        return {key: _sent(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [_sent(value) for value in answer]
    return answer.replace("+00:00", "Z") if isinstance(answer, str) else answer


def read_model(body: bytes, kind: str) -> Any:
    """Return a request's body as the client's model; what that does not have is refused."""
    found = json.loads(body)
    model = _CLIENT.deserialize(SimpleNamespace(data=body.decode()), kind)
    if _CLIENT.sanitize_for_serialization(model) != found:
        raise invalid(f"{kind} has no such fields: {sorted(found)}")
    return model


@lru_cache(maxsize=8)
def _documents(file: bytes) -> str:
    """Return the documents of a YAML file as JSON, which is read again in a tenth of the time."""
    return json.dumps(list(read_documents(file)))


def read_ir(file: bytes) -> dict[str, Any]:
    """Return an uploaded pipeline, checked as `NewV2SpecTemplate` does."""
    documents = json.loads(_documents(file))
    spec = documents[0]
    if len(file) > _MAX_BYTES:
        raise invalid("the workflow is longer than the database takes")
    if spec.get("schemaVersion") != "2.1.0" or not spec.get("root"):
        raise invalid("invalid v2 pipeline spec")
    if not _NAME.fullmatch(spec["pipelineInfo"]["name"]):
        raise invalid("name should consist of lower case alphanumeric characters")
    return {"pipeline_spec": spec, "platform_spec": documents[1] if documents[1:] else {}}


def _multipart(request: BaseHTTPRequestHandler, body: bytes) -> bytes:
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    (part,) = BytesParser().parsebytes(head + body).get_payload()
    data: bytes = part.get_payload(decode=True)
    return data


def _named(table: dict[str, Any], key: str, name: str) -> list[Any]:
    return [each for each in table.values() if getattr(each, key) == name]


def _same(namespace: str | None, query: dict[str, str]) -> bool:
    return (namespace or "") == query.get("namespace", "")


def _page(found: list[Any], query: dict[str, str], name: str, kind: type) -> Any:
    """Return a page of a listing: filtered, sorted, and with the token of the next one."""
    for predicate in json.loads(query.get("filter", "{}")).get("predicates", []):
        key = predicate["key"]
        if predicate["operation"] != "EQUALS" or key not in ("display_name", "name"):
            raise invalid(f"no filter of {predicate}")
        found = [each for each in found if getattr(each, key) == predicate["stringValue"]]
    key, _, direction = query.get("sort_by", "created_at asc").partition(" ")
    found = sorted(found, key=lambda each: getattr(each, key), reverse=direction == "desc")
    start, size = int(query.get("page_token") or 0), int(query.get("page_size") or 20)
    token = str(start + size) if start + size < len(found) else ""
    return kind(**{name: found[start : start + size]}, total_size=len(found), next_page_token=token)


@contextmanager
def serve_kubeflow() -> Iterator[KubeflowApi]:
    """Start a server without anything in it."""
    api = KubeflowApi()
    with serving(api.answer) as api.url:
        yield api
