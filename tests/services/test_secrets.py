"""Secrets, and servers that repeat what they are sent: none reaches a record or a message."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from lidr.components.shared.config.machine import EngineServer
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.engines import ChatRequest
from lidr.components.shared.engines.openai_engine import OpenAIEngine
from lidr.components.shared.step import step
from lidr.components.shared.store.open import open_store
from lidr.components.shared.tracking.delivery import deliver
from tests.json_server import serving
from tests.judges import Asked, Says, ScriptedJudge
from tests.models import tiny_tokenizer
from tests.planted import PLANTED, leaks, secrets, stored, write_netrc
from tests.services.kubeflow import TOKEN, Cluster
from tests.tracked import SmallRun
from tests.unit.judge.evaluations import (
    answers_to,
    evaluation,
    judgements_of,
    recipe,
    run,
    write_rows,
)
from tests.yaml_text import read_documents

RECIPE = "tiny_world"


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "home").mkdir()
    write_netrc(tmp_path / "home")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


class Echo:
    """A server that refuses, with what it was sent in every part of its answer."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.heard: list[str] = []

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Any]:
        said = str(request.headers.get("Authorization", "")) + body.decode("utf-8", "replace")
        self.heard.append(said)
        told = {"error_code": "INTERNAL_ERROR", "message": said, "error": said, "detail": said}
        return self.status, told


@pytest.fixture(params=[401, 403, 500])
def echo(request: pytest.FixtureRequest) -> Iterator[tuple[str, Echo]]:
    server = Echo(request.param)
    with serving(server.answer) as url:
        yield url, server


def heard(server: Echo) -> bool:
    """Tell whether a secret came to the server at all, so that it could repeat it."""
    return any(secret in said for said in server.heard for secret in secrets())


def test_a_tracked_run_tells_no_secret(planted, tmp_path: Path, monkeypatch):
    """Outbox, delivery and registration on a laptop's own MLflow."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "events.jsonl"))
    small = SmallRun(str(tmp_path / "store"), run="secret", name="secret")
    small.start()
    small.register(0)
    assert not deliver(open_store(small.store), small.run, 20).left
    assert (tmp_path / "store" / "mlflow.db").stat().st_size > 100_000
    assert leaks(tmp_path / "store", tmp_path / "events.jsonl") == []


@pytest.mark.parametrize("login", ["environment", "netrc"])
def test_a_tracking_server_that_repeats_the_password_is_not_quoted(
    planted, tmp_path: Path, monkeypatch, echo, login: str
):
    url, server = echo
    if login == "netrc":
        monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
        monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    monkeypatch.setenv("LIDR_RETRY_SECONDS", "0")
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "events.jsonl"))
    small = SmallRun(str(tmp_path / "store"), run="secret", name="secret")
    with pytest.raises(LidrError) as caught:
        small.register(0)
    outcome = deliver(open_store(small.store), small.run, 0.1)
    assert heard(server)
    assert leaks(str(caught.value), outcome.problem, tmp_path / "store") == []
    assert leaks(tmp_path / "events.jsonl") == []


def test_a_judge_that_repeats_its_key_is_not_recorded(planted, tmp_path: Path, monkeypatch):
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "events.jsonl"))
    judge = ScriptedJudge(lambda asked: Says(f"{asked.headers['authorization']}\n\n7"))
    write_rows(tmp_path / "fr.jsonl", [{"id": "q0", "turns": ["q0?"]}])
    task = {"name": "mt_bench", "questions": str(tmp_path / "{language}.jsonl")}
    task |= {"languages": ["fr"]}
    answered = evaluation(tmp_path / "store", answers_to("mt_bench", "fr", {"q0": ["oui"]}))
    uri = run(recipe(judge.url, [task], max_failed_share=1.0), answered)
    judge.close()
    (asked,) = judge.asked
    assert asked.headers["authorization"] == f"Bearer {PLANTED['LIDR_JUDGE_API_KEY']}"
    assert "[redacted]" in judgements_of(uri)[0].raw
    assert leaks(tmp_path / "store", tmp_path / "events.jsonl") == []


def completions(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Any]:
    """Answer as a server of one model does, and say what the request was signed with."""
    if request.command == "GET":
        return 200, {"object": "list", "data": [{"id": "m", "object": "model"}]}
    choice = {"index": 0, "text": request.headers["Authorization"], "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    facts = {"id": "1", "object": "text_completion", "created": 1, "model": "m"}
    return 200, {**facts, "choices": [choice], "usage": usage}


def test_a_model_s_server_that_repeats_its_key_is_not_recorded(planted, tmp_path: Path):
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    with serving(completions) as url:
        server = EngineServer(url=f"{url}/v1", wait_minutes=0)
        engine = OpenAIEngine(tmp_path / "model", name="m", max_length=64, server=server)
        (done,) = engine.complete([ChatRequest("1", [{"role": "user", "content": "Hello"}])])
        engine.close()
    assert done.text == "Bearer [redacted]"


@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_judge_s_refusal_is_not_quoted(planted, tmp_path: Path, status: int, capfd):
    def script(asked: Asked) -> Says:
        return Says(status=status)

    judge = ScriptedJudge(script)
    write_rows(tmp_path / "fr.jsonl", [{"id": "q0", "turns": ["q0?"]}])
    task = {"name": "mt_bench", "questions": str(tmp_path / "{language}.jsonl")}
    task |= {"languages": ["fr"]}
    answered = evaluation(tmp_path / "store", answers_to("mt_bench", "fr", {"q0": ["oui"]}))
    with pytest.raises(LidrError) as caught:
        run(recipe(judge.url, [task]), answered)
    judge.close()
    assert leaks(str(caught.value), tmp_path / "store", *capfd.readouterr()) == []


def test_a_submitted_run_tells_no_secret(cluster: Cluster, planted, monkeypatch, tmp_path: Path):
    """Neither the pipeline, nor Kubeflow's records, the store, or what is printed."""
    monkeypatch.setenv("LIDR_KFP_TOKEN", TOKEN)
    code, out, err = cluster.lidr("submit", RECIPE, "--run", "mine")
    assert code == 0, err
    code, out2, err2 = cluster.lidr("compile", RECIPE, "--output", str(tmp_path / "loop.yaml"))
    assert code == 0, err2
    records = str([*cluster.kubeflow.runs.values(), *cluster.kubeflow.versions.values()])
    objects = [stored(cluster.store.read(entry.key)) for entry in cluster.store.list("")]
    assert "lidr-object-store" in records  # the Secret's name is there, and only that
    told = leaks(out, err, out2, err2, records, tmp_path / "loop.yaml", *objects)
    assert told == []
    assert TOKEN not in records


def test_a_kubeflow_that_repeats_the_token_is_not_quoted(cluster: Cluster, planted, echo):
    url, server = echo
    cluster.configure(kubeflow={"host": url})
    code, out, err = cluster.lidr("submit", RECIPE, "--run", "mine")
    assert code != 0
    assert heard(server)
    assert leaks(out, err) == []
    assert "Traceback" not in err


def test_an_identity_provider_that_repeats_the_secret_is_not_quoted(
    cluster: Cluster, planted, echo, monkeypatch
):
    url, server = echo
    monkeypatch.delenv("LIDR_KFP_TOKEN")
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    oidc = {"token_url": f"{url}/token", "client_id": "lidr"}
    cluster.configure(kubeflow={"host": url, "oidc": oidc})
    code, out, err = cluster.lidr("submit", RECIPE, "--run", "mine")
    assert code != 0
    assert heard(server)
    assert leaks(out, err) == []


def test_a_bucket_that_repeats_the_key_is_not_quoted(planted, monkeypatch, echo):
    url, server = echo
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("LIDR_RETRY_SECONDS", "0")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it remembers another test's keys
    with pytest.raises(LidrError) as caught:
        open_store("s3://bucket/prefix").read("x")
    assert heard(server)
    assert leaks(str(caught.value)) == []


FETCH = (
    "from lidr.components.shared.models.sources import *; fetch_model('hf://org/name@{}')".format(
        "a" * 40
    )
)


def test_a_model_hub_that_repeats_the_token_is_not_quoted(planted, tmp_path: Path):
    server = Echo(403)
    program = f"import sys, lidr.pipelines.cli as c; c.app = lambda: exec({FETCH!r}); c.main()"
    with serving(server.answer) as url:
        home = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hub")}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **home},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode in (1, 2), done.stderr
    assert heard(server)
    assert leaks(done.stdout, done.stderr) == []


def test_an_unforeseen_failure_of_a_step_is_cleansed(planted, tmp_path: Path, monkeypatch):
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "events.jsonl"))

    @step("pair")
    def broken() -> None:
        try:
            raise OSError(2, f"key {PLANTED['OPENAI_API_KEY']}")
        except OSError as error:
            raise ValueError(json.dumps(PLANTED)) from error

    with pytest.raises(ValueError, match="redacted") as caught:
        broken()
    assert leaks(str(caught.value), str(caught.value.__cause__)) == []


def test_the_compiled_pipeline_names_secrets_by_reference(tmp_path: Path, cluster: Cluster):
    code, _, err = cluster.lidr("compile", RECIPE, "--output", str(tmp_path / "loop.yaml"))
    assert code == 0, err
    _, platform = read_documents((tmp_path / "loop.yaml").read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    named = {each["secretName"] for e in executors.values() for each in e.get("secretAsEnv", [])}
    assert named == set(cluster.profile.secrets)
