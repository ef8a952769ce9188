"""MLflow as a team runs it, all of it real: PostgreSQL, an S3 server, MLflow with basic auth.

Every part can be stopped and started again on its own, with what it holds.
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import boto3

from tests.moto_server import CREDENTIALS
from tests.warm import python

ADMIN = ("admin", "an-admin-password")
USER = ("pipeline", "a-pipeline-password")
"""What lidr's tasks use: no administrator of MLflow."""

_DATABASE_USER = "mlflow"
_DATABASE_PASSWORD = "a-database-password"
_WAIT_SECONDS = 90


class Part(Protocol):
    """One server of the stack."""

    def start(self) -> None:
        """Start it, and wait until it answers; nothing happens where it runs."""

    def stop(self) -> None:
        """Stop it at once, as a lost node does; what it holds stays."""


def postgres_binaries() -> Path | None:
    """Return the folder of the distribution's newest PostgreSQL, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: p.parts[4])
    return found[-1].parent if found else None


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """A PostgreSQL with its data in a temporary folder; databases `mlflow` and `mlflow_auth`."""

    def __init__(self, binaries: Path) -> None:
        self.binaries = binaries
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="lidr-postgres-"))
        self._user = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            shutil.chown(self.folder, self._user)
        password = self.folder / "password"
        password.write_text(_DATABASE_PASSWORD)
        options = ["-U", _DATABASE_USER, "-A", "scram-sha-256", "--no-sync", "-E", "UTF8"]
        self._call("initdb", "-D", str(self._data), *options, f"--pwfile={password}")
        self.start()
        for database in ("mlflow", "mlflow_auth"):
            self.client("createdb", database)

    def url(self, database: str = "mlflow", password: str = _DATABASE_PASSWORD) -> str:
        """Return the SQLAlchemy URL of a database; without a password, PGPASSWORD holds it."""
        account = f"{_DATABASE_USER}:{password}" if password else _DATABASE_USER
        return f"postgresql+psycopg2://{account}@127.0.0.1:{self.port}/{database}"

    def client(self, tool: str, *arguments: str) -> str:
        """Run psql, pg_dump, createdb, ... as the database's owner; return what it says."""
        return self._call(tool, "-h", "127.0.0.1", "-p", str(self.port), *arguments)

    def start(self) -> None:
        """Start the server and wait until it takes connections, after a recovery if need be."""
        if self._process and self._process.poll() is None:
            return
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",  # the machine does not lose its power here
            "shared_buffers": "32MB",
        }
        flags = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.binaries / "postgres"), "-D", str(self._data), *flags],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self._user,
                start_new_session=True,
            )
        _until(self._ready, self._process, "PostgreSQL")

    def stop(self) -> None:
        """End it without a farewell: connections break, the log is replayed at the next start."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def close(self) -> None:
        """End it for good."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _ready(self) -> bool:
        try:
            self.client("psql", "-c", "select 1", "postgres")
        except subprocess.CalledProcessError:
            return False
        return True

    def _call(self, tool: str, *arguments: str) -> str:
        environment = {
            "PGUSER": _DATABASE_USER,
            "PGPASSWORD": _DATABASE_PASSWORD,
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            [str(self.binaries / tool), *arguments],
            env=environment,
            cwd=self.folder,
            user=self._user,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout


def _unprivileged() -> str | None:
    """Return whom PostgreSQL runs as where the tests run as root, which it refuses."""
    if os.getuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class Gateway:
    """A way to a server that can be closed: connections break, new ones are refused.

    The S3 server keeps its objects in memory, so that it is its network that goes.
    """

    def __init__(self, target: str) -> None:
        place = urlsplit(target)
        self._target = (place.hostname or "", place.port or 80)
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.start()

    def start(self) -> None:
        """Take connections."""
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Break every connection and refuse new ones."""
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        with self._lock:
            for connection in self._open:
                _reset(connection)

    close = stop

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, socket.create_connection(self._target) as far:
            with self._lock:
                self._open.add(near)
            try:
                _pump(near, far)
            except OSError:
                pass
            finally:
                with self._lock:
                    self._open.discard(near)


def _pump(near: socket.socket, far: socket.socket) -> None:
    """Carry bytes both ways until one side is done."""
    other = {near: far, far: near}
    while True:
        for ready in select.select([near, far], [], [])[0]:
            data = ready.recv(1 << 16)
            if not data:
                return
            other[ready].sendall(data)


def _reset(connection: socket.socket) -> None:
    linger = b"\x01\0\0\0\0\0\0\0"  # close with a reset, as a dead server's kernel does
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class Server:
    """`mlflow server` with basic auth and allowed hosts, on PostgreSQL and S3.

    Args:
        postgres: holds its databases `mlflow` and `mlflow_auth`.
        s3: endpoint of the S3 server.
        bucket: where artifacts go.
        databases: the names of the backend's and of the users' database.
    """

    def __init__(
        self,
        postgres: Postgres,
        s3: str,
        bucket: str,
        databases: tuple[str, str] = ("mlflow", "mlflow_auth"),
    ) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = Path(tempfile.mkdtemp(prefix="lidr-mlflow-"))
        self._backend = postgres.url(databases[0], password="")
        self._bucket = bucket
        self._process: subprocess.Popen[bytes] | None = None
        settings = self.folder / "auth.ini"
        settings.write_text(
            "[mlflow]\n"
            "default_permission = READ\n"
            f"database_uri = {postgres.url(databases[1], password='')}\n"
            f"admin_username = {ADMIN[0]}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            "auth_cache_ttl_seconds = 60\n"
        )
        self._environment = {
            **os.environ,
            **CREDENTIALS,
            "PGPASSWORD": _DATABASE_PASSWORD,
            "MLFLOW_S3_ENDPOINT_URL": s3,
            "MLFLOW_AUTH_CONFIG_PATH": str(settings),
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "signs-the-cookies-of-the-tests",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE": "300",
        }
        self._environment.pop("MLFLOW_TRACKING_URI", None)
        self.start()

    @property
    def log(self) -> str:
        """What the server has said."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start the server and wait until it answers requests that need its database."""
        if self._process and self._process.poll() is None:
            return
        flags = {
            "--app-name": "basic-auth",
            "--backend-store-uri": self._backend,
            "--artifacts-destination": f"s3://{self._bucket}/artifacts",
            "--host": "127.0.0.1",
            "--port": str(self.port),
            "--workers": "1",
            "--allowed-hosts": f"127.0.0.1:{self.port}",
        }
        command = [part for pair in flags.items() for part in pair]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [python(), "-m", "mlflow", "server", *command],
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self.folder,
                start_new_session=True,
            )
        _until(self._ready, self._process, "MLflow")

    def stop(self) -> None:
        """Kill it and its workers."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """Kill it for good."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, path: str, body: object = None, account: tuple[str, str] = ADMIN) -> object:
        """Send a request as an account and return the answer, decoded."""
        token = base64.b64encode(":".join(account).encode()).decode()
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.uri}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def _ready(self) -> bool:
        try:
            self.call("/api/2.0/mlflow/experiments/search?max_results=1")
        except (OSError, urllib.error.URLError, ValueError):
            return False
        return True


class Stack:
    """The whole of it: `postgres`, `s3` and `mlflow`, each with `start()` and `stop()`."""

    def __init__(self, binaries: Path, s3_server: str) -> None:
        self.bucket = "team"
        self.s3 = Gateway(s3_server)
        self.postgres = Postgres(binaries)
        s3_client(s3_server).create_bucket(Bucket=self.bucket)
        self.mlflow = Server(self.postgres, self.s3.endpoint, self.bucket)
        account = {"username": USER[0], "password": USER[1]}
        self.mlflow.call("/api/2.0/mlflow/users/create", account)

    @property
    def environment(self) -> dict[str, str]:
        """What a step's environment names: the servers and the pipeline's own account."""
        return {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": self.s3.endpoint,
            "MLFLOW_S3_ENDPOINT_URL": self.s3.endpoint,
            "MLFLOW_TRACKING_URI": self.mlflow.uri,
            "MLFLOW_TRACKING_USERNAME": USER[0],
            "MLFLOW_TRACKING_PASSWORD": USER[1],
        }

    def start(self) -> None:
        """Start whatever does not run."""
        for part in (self.s3, self.postgres, self.mlflow):
            part.start()

    def close(self) -> None:
        """End all of it."""
        for part in (self.mlflow, self.postgres, self.s3):
            part.close()

    @contextmanager
    def without(self, part: Part, seconds: float) -> Iterator[threading.Thread]:
        """Stop a part now and start it again after some seconds, while the body goes on.

        Yields:
            The thread that starts it again; the block does not end before it has.
        """
        part.stop()

        def come_back() -> None:
            time.sleep(seconds)
            part.start()

        thread = threading.Thread(target=come_back)
        thread.start()
        try:
            yield thread
        finally:
            thread.join()


def s3_client(endpoint: str) -> object:
    """Return a boto3 client of the S3 server."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=CREDENTIALS["AWS_REGION"],
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )


def _until(ready, process: subprocess.Popen[bytes], name: str) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not ready():
        assert process.poll() is None, f"{name} ended"
        assert time.monotonic() < deadline, f"{name} did not start in {_WAIT_SECONDS} s"
        time.sleep(0.1)
