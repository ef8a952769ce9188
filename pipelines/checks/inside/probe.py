"""The program of a probe's pod: it prints what it sees as one line of JSON for `lidr check`.

`python -m lidr.pipelines.checks.inside.probe` answers the question in the variable LIDR_PROBE. It
runs in every image, so it imports no more than the store needs.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import Field

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.redaction import redacted
from lidr.components.shared.core.text import one_line
from lidr.components.shared.store.s3 import S3Store
from lidr.pipelines.checks.services import is_service

QUESTION_VARIABLE = "LIDR_PROBE"
"""Environment variable with the `ProbeQuestion` as JSON."""

ANSWER_PREFIX = "lidr-probe "
"""What the line with the `ProbeAnswer` begins with."""

_SECONDS = 8.0
_SHM = "/dev/shm"  # noqa: S108
_NVIDIA = Path("/proc/driver/nvidia/gpus")


class ProbeQuestion(Strict):
    """What a probe is to find out."""

    store: str
    """URI of the store."""
    reach: dict[str, str] = Field(default_factory=dict)
    """Addresses to connect to, by the service's name: `tcp://host:port`, or a URL."""
    namespaces: tuple[str, ...] = ()
    """Namespaces with which a Service's host name may end."""
    variables: tuple[str, ...] = ()
    """Environment variables that Secrets should set."""


class ProbeAnswer(Strict):
    """What a probe found out."""

    version: str
    """Version of lidr in the image."""
    gpus: tuple[str, ...] = ()
    """The model of each GPU."""
    empty: tuple[str, ...] = ()
    """Variables that are unset or empty."""
    faults: dict[str, str] = Field(default_factory=dict)
    """Why the store and each address cannot be used, by name; "" where they can."""
    scratch: float = 0.0
    """Bytes free for temporary files."""
    shm: float = 0.0
    """Size of /dev/shm in bytes; 0 where there is none."""


def inspect_pod(question: ProbeQuestion) -> ProbeAnswer:
    """Return what this pod sees; the store and all addresses are tried in parallel."""
    tries: dict[str, Callable[[], str]] = {"store": lambda: _store_fault(question.store)}
    reach = dict(question.reach)
    if (mirror := os.environ.get("HF_ENDPOINT")) and "model hub" in reach:
        reach["model hub"] = mirror  # as the steps' own library does
    for name, address in reach.items():
        tries[name] = partial(_fault_of, address, question.namespaces)
    with ThreadPoolExecutor(len(tries)) as pool:
        faults = dict(zip(tries, pool.map(lambda attempt: attempt(), tries.values()), strict=True))
    return ProbeAnswer(
        version=metadata.version("lidr"),
        gpus=gpus(),
        empty=tuple(name for name in question.variables if not os.environ.get(name)),
        faults=faults,
        scratch=float(shutil.disk_usage(tempfile.gettempdir()).free),
        shm=float(shutil.disk_usage(_SHM).total) if Path(_SHM).is_dir() else 0.0,
    )


def gpus(folder: Path = _NVIDIA) -> tuple[str, ...]:
    """Return the model of each NVIDIA GPU of this pod: from nvidia-smi, else the driver's files.

    Args:
        folder: the driver's. It may also list GPUs of the node that this pod was not given, and
            does so in a pod that asked for none.
    """
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
        return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
    except (OSError, subprocess.SubprocessError):
        return tuple(sorted(filter(None, map(_model, folder.glob("*/information")))))


def _model(file: Path) -> str:
    for line in file.read_text("utf-8", "replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "Model":
            return value.strip()
    return ""


def _store_fault(uri: str) -> str:
    """Return why an object cannot be written, read back and deleted; "" where it can."""
    key = f".lidr-check-{uuid.uuid4().hex}/object"
    try:
        store = S3Store(uri, seconds=0)
        store.write(key, b"inside")
        same = store.read(key) == b"inside"
        store.delete(key)
    except (LidrError, FileNotFoundError) as error:
        return one_line(redacted(str(error)))
    return "" if same else "what was read back differs from what was written"


def _fault_of(address: str, namespaces: tuple[str, ...]) -> str:
    """Return why no TCP connection to an address, or to its proxy, opens; "" where one does.

    A proxy does not reach Services. A `tcp` address is used by gRPC, which reads HTTPS_PROXY.
    """
    asked = address
    try:
        parts = urlsplit(asked)
        scheme, host = parts.scheme.replace("tcp", "https"), parts.hostname or ""
        proxy = getproxies().get(scheme, "")
        if proxy and not proxy_bypass(host):
            if is_service(host, namespaces):
                return f"{scheme.upper()}_PROXY also applies to {host}: name the host in NO_PROXY"
            asked = proxy if "://" in proxy else f"http://{proxy}"
            parts = urlsplit(asked)
        if not parts.hostname:
            return redacted(f"{asked} names no host: write it as https://host")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=_SECONDS).close()
    except OSError as error:
        where = f"{parts.hostname}:{port}"
        return f"{where} is not reached: {error.strerror or type(error).__name__}"
    except ValueError as error:  # also the error of a host name with an empty part
        return one_line(redacted(f"{asked} is not an address: {error}"))
    return ""


def main(environment: Mapping[str, str] = os.environ) -> None:
    """Print the answer to the question in LIDR_PROBE."""
    answer = inspect_pod(ProbeQuestion.model_validate_json(environment[QUESTION_VARIABLE]))
    print(f"{ANSWER_PREFIX}{answer.model_dump_json()}", flush=True)


def answer_in(log: str) -> ProbeAnswer | None:
    """Return the answer that a pod has printed; None if there is none.

    Raises:
        ValueError: the line is not a valid answer.
    """
    found = [line for line in log.splitlines() if line.startswith(ANSWER_PREFIX)]
    if not found:
        return None
    return ProbeAnswer.model_validate(json.loads(found[-1].removeprefix(ANSWER_PREFIX)))


if __name__ == "__main__":
    main()
