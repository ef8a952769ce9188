"""What servers answer: MLflow, Kubeflow Pipelines, a judge, an engine; through their clients."""

from __future__ import annotations

import asyncio
import io
import json
from functools import cache, partial
from queue import SimpleQueue
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import httpx
import kfp_server_api as api
import requests
import torch  # noqa: F401  # a tokenizer imports it when it first decodes, for longer than any input may take
import urllib3
from openai import AsyncOpenAI

from lidr.components.judging.client import Reply, _reply
from lidr.components.judging.verdicts import read_preference, read_score
from lidr.components.shared.config.machine import EngineServer
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.engines import ChatRequest, Completion, Decoding
from lidr.components.shared.engines.finishing import Refusals, Refused
from lidr.components.shared.engines.openai_engine import OpenAIEngine
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.records.schema import FinishReason
from lidr.components.shared.registry.versions import (
    all_versions,
    find_version,
    model_names,
    read_model,
)
from lidr.components.shared.tracking.client import client_at
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.listing import list_experiment
from lidr.pipelines.cluster.nodes import WorkflowGraph, parse_workflow, read_graph
from lidr.pipelines.cluster.runs import is_live, newest_run
from lidr.pipelines.cluster.tasks import other_tasks, rows_of, step_tasks
from tests.argo import Workflow
from tests.fuzz import mutations
from tests.fuzz.running import Target
from tests.kfp_runs import task_details
from tests.models import tiny_tokenizer

Answer = tuple[int, str, bytes]
"""Status, content type, body."""

_MOMENT = "2026-01-01T00:00:00Z"


def _workflow() -> Workflow:
    flow = Workflow("r1")
    loop = "root.exit-handler-1"
    flow.task(f"{loop}.prepare")
    flow.task(f"{loop}.iteration-2.condition-1.train", "Failed", message="it \x1b[2J died")
    flow.task(f"{loop}.next-state-2", "Omitted")
    return flow


_FLOW = _workflow().manifest()
_TASKS = api.ApiClient().sanitize_for_serialization(task_details("r1", _FLOW))
_KFP_RUN = {
    "run_id": "r1",
    "display_name": "tiny",
    "state": "RUNNING",
    "created_at": _MOMENT,
    "description": '{"run": "tiny"}',
    "experiment_id": "e1",
    "run_details": {"task_details": _TASKS},
}
_SCHEDULE = {
    "recurring_run_id": "s1",
    "display_name": "nightly",
    "created_at": _MOMENT,
    "status": "ENABLED",
    "trigger": {"periodic_schedule": {"interval_second": "3600"}},
}
_KFP = {
    "healthz": {"multi_user": False},
    "experiments": {"experiments": [{"experiment_id": "e1", "display_name": "lidr"}]},
    "runs": {"runs": [_KFP_RUN]},
    "run": _KFP_RUN,
    "workflow": {"pipeline_runtime": {"workflow_manifest": json.dumps(_FLOW)}},
    "recurringruns": {"recurringRuns": [_SCHEDULE]},
}


def _answers(random: Random, usual: dict[str, Any]) -> dict[str, Answer]:
    """Return the answer to each request, one of which is not as it should be."""
    chosen = random.choice(list(usual))
    return {
        name: _broken(random, content)
        if name == chosen
        else (200, "application/json", json.dumps(content).encode())
        for name, content in usual.items()
    }


def _broken(random: Random, content: Any) -> Answer:
    status = random.choice((200, 200, 200, 200, 200, 201, 400, 401, 403, 404, 409, 500, 503))
    kind = random.choice(("application/json",) * 5 + ("text/html; charset=\x1b[2J", "text/plain"))
    if random.random() < 0.1:
        return status, kind, mutations.data(random, [b"<html>Log in</html>", b"", b"[]", b"null"])
    return status, kind, mutations.as_json(random, mutations.tree(random, content, 2))


@cache
def _kubeflow() -> Any:
    return Client(Profile(name="x", kubeflow={"host": "http://kfp.test"}))


class _Pool:
    """Answers the generated client."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self.answers = answers

    def request(self, method: str, url: str, **_: object) -> urllib3.HTTPResponse:
        path = url.partition("?")[0].rstrip("/").split("/")
        name = path[-1] if path[-1] in self.answers else "run"
        name = "workflow" if "v1beta1" in path else name
        status, kind, body = self.answers[name]
        return urllib3.HTTPResponse(io.BytesIO(body), {"content-type": kind}, status)


def _check_kubeflow(answers: dict[str, Answer]) -> None:
    client = _kubeflow()
    client._namespace = None
    with patch.object(client._api.rest_client, "pool_manager", _Pool(answers)):
        run = newest_run(client, "lidr", "tiny")
        assert is_live(run) in (True, False)
        _check_graph(read_graph(client, run))
        for row in list_experiment(client):
            assert all(isinstance(value, str) for value in row.values())
            assert all(c.isprintable() for value in row.values() for c in value)


def _check_graph(graph: WorkflowGraph) -> None:
    for row in rows_of(step_tasks(graph.nodes)):
        assert row.seconds >= 0 and all(c.isprintable() for c in row.note)
    told = [graph.message, *other_tasks(graph.nodes, "failed").values()]
    assert all(c.isprintable() for text in told for c in text)


def _flows(random: Random) -> str:
    return mutations.as_json(random, mutations.tree(random, _FLOW, 2)).decode("utf-8", "replace")


def _check_flow(text: str) -> None:
    _check_graph(parse_workflow(text))


_VERSION = {
    "name": "tiny",
    "version": "3",
    "creation_timestamp": 1_700_000_000_000,
    "source": "s3://b/k",
    "run_id": "0af",
    "tags": [{"key": "lidr.iteration", "value": "2"}],
    "aliases": ["champion"],
}
_MLFLOW = {
    "registered-models/get": {
        "registered_model": {
            "name": "tiny",
            "aliases": [{"alias": "champion", "version": "3"}],
            "tags": [{"key": "lidr.audit_log", "value": "/s/registry/tiny"}],
        }
    },
    "model-versions/search": {"model_versions": [_VERSION]},
    "registered-models/search": {"registered_models": [{"name": "tiny"}]},
}


@cache
def _mlflow() -> Any:
    return client_at("http://mlflow.test:5000")


def _check_mlflow(answers: dict[str, Answer]) -> None:
    def told(method: str, url: str, *_: object, **__: object) -> requests.Response:
        name = next(name for name in answers if url.endswith(name))
        status, kind, body = answers[name]
        response = requests.Response()
        response.status_code, response.raw = status, io.BytesIO(body)
        response.headers["content-type"] = kind
        response.url = url
        return response

    client = _mlflow()
    with patch("mlflow.utils.rest_utils._get_http_response_with_retries", told):
        model = read_model(client, "tiny")
        assert all(isinstance(number, int) for number in model.aliases.values())
        for version in all_versions(client, "tiny"):
            assert version.number > 0 and version.created.year >= 1970
        found = find_version(client, "tiny", "ab")
        assert found is None or found > 0
        assert all(isinstance(name, str) for name in model_names(client))


_USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
_TOKEN = {"token": "A", "logprob": -0.1, "bytes": [65]}
_CHAT = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "A"},
            "logprobs": {"content": [{**_TOKEN, "top_logprobs": [_TOKEN]}]},
        }
    ],
    "usage": _USAGE,
}
_COMPLETION = {
    "id": "c",
    "object": "text_completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "text": "Siete.", "finish_reason": "stop", "token_ids": [70, 71, 1]},
    ],
    "usage": _USAGE,
}


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


class _Transport(httpx.AsyncBaseTransport):
    """Answers the openai library."""

    answer: Answer = (200, "application/json", b"{}")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        status, kind, body = self.answer
        return httpx.Response(status, headers=[(b"content-type", kind.encode())], content=body)


@cache
def _openai() -> tuple[_Transport, AsyncOpenAI]:
    transport = _Transport()
    client = httpx.AsyncClient(transport=transport)
    return transport, AsyncOpenAI(
        base_url="http://judge.test/v1", api_key="none", max_retries=0, http_client=client
    )


_JUDGE = SimpleNamespace(endpoint=SimpleNamespace(model="m"), top_logprobs=5, max_tokens=9)


def _check_judge(answer: Answer) -> None:
    transport, client = _openai()
    transport.answer = answer
    case = SimpleNamespace(render=lambda: [{"role": "user", "content": "Which?"}])
    reply: Reply = _loop().run_until_complete(_reply(client, case, _JUDGE, "http://judge.test/v1"))
    assert isinstance(reply.text, str)
    assert isinstance(reply.input_tokens, int) and isinstance(reply.output_tokens, int)
    for read, most in ((read_preference, 1), (read_score, 10)):
        value = read(reply.text, reply.positions).value
        assert value is None or 0 <= value <= most


@cache
def _engine() -> OpenAIEngine:
    """The engine without its start, which asks a server what it serves."""
    engine: Any = object.__new__(OpenAIEngine)
    tokenizer = tiny_tokenizer()
    engine._chat = ChatRenderer(tokenizer)
    engine._name, engine._context = "m", 256
    engine._server = EngineServer(url="http://engine.test/v1")
    engine._refusals = Refusals("the server")
    engine._client = _openai()[1]
    return engine


def _check_engine(answer: Answer) -> None:
    transport, _ = _openai()
    transport.answer = answer
    engine = _engine()
    request = ChatRequest("k", [{"role": "user", "content": "x"}], Decoding(max_tokens=8))
    told: SimpleQueue[Any] = SimpleQueue()
    _loop().run_until_complete(engine._put_answer(0, engine._ask(request, [70]), told))
    assert not told.empty(), "who waits for the answer would wait for ever"
    _, found = told.get()
    if isinstance(found, BaseException):
        raise found
    found = found.answer if isinstance(found, Refused) else found
    assert isinstance(found, Completion) and isinstance(found.text, str)
    assert found.finish_reason in set(FinishReason)
    assert isinstance(found.prompt_tokens, int) and isinstance(found.output_tokens, int)


TARGETS: list[Target] = [
    Target("Kubeflow's answers", partial(_answers, usual=_KFP), _check_kubeflow, 15_000),
    Target("Argo's workflows", _flows, _check_flow, 5_000),
    Target("MLflow's answers", partial(_answers, usual=_MLFLOW), _check_mlflow, 4_000),
    Target("judge's answer", partial(_broken, content=_CHAT), _check_judge, 8_000),
    Target("engine's answer", partial(_broken, content=_COMPLETION), _check_engine, 15_000),
]
