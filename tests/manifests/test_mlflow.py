"""MLflow as its manifest starts it, on a real PostgreSQL."""

from __future__ import annotations

import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest

from tests.manifests.rendering import NAMESPACE, Object, named, needs_kubectl, overlay
from tests.services.stack import Postgres, free_port, postgres_binaries
from tests.warm import python

pytestmark = [
    needs_kubectl,
    pytest.mark.slow,
    pytest.mark.skipif(not postgres_binaries(), reason="no PostgreSQL: apt-get install postgresql"),
]

SECRETS = {
    ("lidr-postgres", "username"): "mlflow",
    ("lidr-postgres", "password"): "a-database-password",
    ("lidr-mlflow-server", "MLFLOW_AUTH_ADMIN_PASSWORD"): "admin-password",
    ("lidr-mlflow-server", "MLFLOW_FLASK_SERVER_SECRET_KEY"): "flask-key",
}
LOCK = 0x6C696472


@pytest.fixture(scope="module")
def pod() -> Object:
    return named(overlay("kind"), "Deployment")["lidr-mlflow"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def home(pod: Object, tmp_path_factory) -> Path:
    """Stand for the pod's volumes: /tmp and /etc/lidr."""
    folder = tmp_path_factory.mktemp("mlflow")
    (name,) = [each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each]
    for file, text in named(overlay("kind"), "ConfigMap")[name]["data"].items():
        (folder / file).write_text(text)
    return folder


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    found = named(overlay("kind"), "StatefulSet")["lidr-postgres"]["spec"]["template"]["spec"]
    variables = {each["name"]: each["value"] for each in found["containers"][0]["env"]}
    assert variables["POSTGRES_DB"] == "mlflow"
    binaries = postgres_binaries()
    assert binaries
    server = Postgres(binaries)
    yield server
    server.close()


def environment(container: Object, home: Path, database: Postgres) -> dict[str, str]:
    """Return a container's variables; database and volumes are this machine's."""
    found = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    for source in container["envFrom"]:
        found |= named(overlay("kind"), "ConfigMap")[source["configMapRef"]["name"]]["data"]
    for each in container["env"]:
        found[each["name"]] = value(each.get("valueFrom", {}), each.get("value", ""), found)
    assert found["PGHOST"] == "lidr-postgres" and found["HOME"] == "/tmp"
    found |= {"PGHOST": "127.0.0.1", "PGPORT": str(database.port), "HOME": str(home)}
    return {key: value.replace("/etc/lidr", str(home)) for key, value in found.items()}


def value(source: Object, text: str, known: dict[str, str]) -> str:
    """Return a variable's value as the kubelet makes it."""
    if reference := source.get("secretKeyRef"):
        return SECRETS[reference["name"], reference["key"]]
    if source:
        assert source == {"fieldRef": {"fieldPath": "metadata.namespace"}}
        return NAMESPACE
    return re.sub(r"\$\((\w+)\)", lambda found: known[found[1]], text)


def command(container: Object, home: Path) -> list[str]:
    words = [*container["command"], *container.get("args", [])]
    assert words[0] == "python"
    return [python(), *(word.replace("/etc/lidr", str(home)) for word in words[1:])]


def connect(database: Postgres) -> psycopg2.extensions.connection:
    return psycopg2.connect(database.url().replace("postgresql+psycopg2", "postgresql"))


def tables(database: Postgres) -> set[str]:
    with closing(connect(database)) as link, link.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in cursor.fetchall()}


@pytest.fixture(scope="module")
def migrated(pod: Object, home: Path, database: Postgres) -> Postgres:
    """The init container, which another replica's holds up for a while."""
    (container,) = pod["initContainers"]
    with closing(connect(database)) as other:
        other.cursor().execute("SELECT pg_advisory_lock(%s)", [LOCK])
        process = subprocess.Popen(
            command(container, home),
            env=environment(container, home, database),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        assert tables(database) == set(), "it has not waited for the other replica"
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    return database


@contextmanager
def served(pod: Object, home: Path, database: Postgres) -> Iterator[tuple[str, int]]:
    (container,) = pod["containers"]
    port = free_port()
    words = command(container, home)
    assert {"--host=0.0.0.0", "--port=5000", "--workers=2"} <= set(words)
    ours = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={port}"}
    words = [ours.get(word, word).replace("--workers=2", "--workers=1") for word in words]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(
            words, env=environment(container, home, database), stdout=log, stderr=log, cwd=home
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, (home / "server.log").read_text()[-3000:]
            if status(f"{address}/health") == 200:
                break
            time.sleep(0.2)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def server(pod: Object, home: Path, migrated: Postgres) -> Iterator[tuple[str, int]]:
    with served(pod, home, migrated) as found:
        yield found


def status(url: str, host: str = "", password: str = "", data: bytes | None = None) -> int:
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    if host:
        request.add_header("Host", host)
    if password:
        login = b64encode(f"admin:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_the_init_container_makes_the_tables(migrated: Postgres):
    found = tables(migrated)
    assert {"registered_models", "runs", "users"} <= found
    assert {"alembic_version", "alembic_version_auth"} <= found, "both can be upgraded again"


def test_the_init_container_waits_for_a_database_that_does_not_answer_yet(
    pod: Object, home: Path, database: Postgres
):
    """A new pod's NetworkPolicies arrive after it has started."""
    (container,) = pod["initContainers"]
    variables = environment(container, home, database) | {"PGPORT": str(free_port())}
    words = command(container, home)
    with subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and "no database yet" in process.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(3)
        finally:
            process.kill()


SEARCH = "/api/2.0/mlflow/registered-models/search"


def test_the_kubelet_s_probe_needs_no_login(server: tuple[str, int]):
    assert status(f"{server[0]}/health", host="10.1.2.3:5000") == 200


@pytest.mark.parametrize("host", ["lidr-mlflow:5000", "lidr-mlflow.lidr:5000"])
def test_steps_reach_it_by_its_service_with_a_login(server: tuple[str, int], host: str):
    assert status(server[0] + SEARCH, host, "admin-password") == 200
    assert status(server[0] + SEARCH, host, "another") == 401
    assert status(server[0] + SEARCH, host) == 401


def test_foreign_host_names_are_refused(server: tuple[str, int]):
    for host in ("evil.example:5000", "lidr-mlflow.evil.example:5000", "lidr-mlflow:80"):
        assert status(server[0] + SEARCH, host, "admin-password") == 403


def test_what_it_is_told_is_in_the_database(server: tuple[str, int], migrated: Postgres):
    url = f"{server[0]}/api/2.0/mlflow/registered-models/create"
    assert status(url, "lidr-mlflow:5000", "admin-password", b'{"name": "tiny-world"}') == 200
    with closing(connect(migrated)) as link, link.cursor() as cursor:
        cursor.execute("SELECT name FROM registered_models")
        assert cursor.fetchall() == [("tiny-world",)]


def test_no_password_is_in_a_command_line(server: tuple[str, int]):
    mine = Path(f"/proc/{server[1]}")
    children = (mine / f"task/{server[1]}/children").read_text().split()
    for process in (mine, *(Path(f"/proc/{each}") for each in children)):
        words = (process / "cmdline").read_text()
        assert "postgresql+psycopg2:///mlflow" in words or process != mine
        assert not any(secret in words for secret in ("a-database-password", "admin-password"))
