"""Built images in a real engine: asked for by LIDR_IMAGES (`make images-test`), else skipped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from images.build import NAMES, version

ANYBODY = "1000650000:0"
"""An arbitrary user of group 0, as OpenShift gives one to a namespace."""

CONFINED: dict[str, Any] = {
    "user": ANYBODY,
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {
        "/tmp": "mode=1777,exec",
        "/scratch": "mode=0777,exec",
    },
}
"""How Kubernetes runs the containers: restricted, with the two places to write mounted."""


def image(name: str) -> str:
    return f"{os.environ.get('LIDR_IMAGES', 'lidr')}/{name}:{version()}"


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """A client of Docker's API, where the images are."""
    if "LIDR_IMAGES" not in os.environ:
        pytest.skip("LIDR_IMAGES names no built images: run `make images-test`")
    docker = pytest.importorskip("docker")
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"no engine with Docker's API runs here: {error}")
    for name in NAMES:
        try:
            client.images.get(image(name))
        except docker.errors.ImageNotFound:
            pytest.fail(f"no image {image(name)}: run `make images` with this engine first")
    yield client
    client.close()


@pytest.fixture
def run(engine: Any) -> Callable[..., str]:
    """Runs a command in a confined container without a network; returns what it printed."""

    def in_container(name: str, *command: str, **options: Any) -> str:
        given = {**CONFINED, "network_mode": "none", "remove": True, **options}
        return engine.containers.run(image(name), list(command), **given).decode()

    return in_container
