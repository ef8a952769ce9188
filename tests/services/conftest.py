"""Real servers for tests, started once."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from tests.moto_server import CREDENTIALS, moto_server
from tests.services.stack import Stack, postgres_binaries


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of a moto server in a process of its own."""
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, request) -> Iterator[str]:
    """An empty bucket, with the environment that leads to it."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    name = f"bucket-{abs(hash(request.node.nodeid)):x}"
    boto3.client("s3").create_bucket(Bucket=name)
    yield name


@pytest.fixture(scope="session")
def running_stack(s3_server: str) -> Iterator[Stack]:
    """PostgreSQL, S3 and MLflow, started once; tests take `stack`."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed: no /usr/lib/postgresql/*/bin/initdb")
    stack = Stack(binaries, s3_server)
    yield stack
    stack.close()


@pytest.fixture
def stack(running_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """MLflow as a team runs it, every part up, and the environment that leads to it."""
    running_stack.start()
    for name, value in running_stack.environment.items():
        monkeypatch.setenv(name, value)
    yield running_stack
