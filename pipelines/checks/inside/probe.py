"""What a probe's pod sees: printed as one line of JSON, and judged where `lidr check` runs.

`python -m lidr.pipelines.checks.inside.probe` does what the variable LIDR_PROBE asks for. It runs
in every image, so it needs no more than the store does.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.redaction import redacted
from lidr.components.shared.core.text import one_line
from lidr.components.shared.store.s3 import S3Store

ASKED = "LIDR_PROBE"
"""Environment variable: a `Question` as JSON."""

MARK = "lidr-probe "
"""What the line begins with."""

_SECONDS = 8.0
_FOLDERS = ("/scratch", "/tmp")  # noqa: S108  # a rank's, a step's
_SHM = "/dev/shm"  # noqa: S108
_NVIDIA = Path("/proc/driver/nvidia/gpus")


class Question(Strict):
    """What a probe looks at."""

    store: str
    """URI of the store."""
    reach: dict[str, str] = Field(default_factory=dict)
    """Addresses by what is there: `tcp://host:port`, or a URL."""
    variables: tuple[str, ...] = ()
    """Environment variables that Secrets should give."""


class Answer(Strict):
    """What it has seen."""

    version: str
    """lidr's, in the image."""
    gpus: tuple[str, ...] = ()
    """The model of each GPU."""
    empty: tuple[str, ...] = ()
    """Variables that are unset or empty."""
    faults: dict[str, str] = Field(default_factory=dict)
    """Why the store and each address cannot be used, by name; "" where they can."""
    scratch: float = 0.0
    """Bytes free for temporary files."""
    shm: float = 0.0
    """Bytes of /dev/shm."""


def look(question: Question) -> Answer:
    """Return what this pod sees; each address is tried beside the others."""
    tries: dict[str, Callable[[], str]] = {"store": lambda: _store_fault(question.store)}
    for name, address in question.reach.items():
        tries[name] = lambda address=address: _fault_of(address)  # type: ignore[misc]
    with ThreadPoolExecutor(len(tries)) as pool:
        faults = dict(zip(tries, pool.map(lambda attempt: attempt(), tries.values()), strict=True))
    folder = next((each for each in _FOLDERS if os.access(each, os.W_OK)), "/")
    return Answer(
        version=metadata.version("lidr"),
        gpus=gpus(),
        empty=tuple(name for name in question.variables if not os.environ.get(name)),
        faults=faults,
        scratch=float(shutil.disk_usage(folder).free),
        shm=float(shutil.disk_usage(_SHM).total) if Path(_SHM).is_dir() else 0.0,
    )


def gpus(folder: Path = _NVIDIA) -> tuple[str, ...]:
    """Return the model of each NVIDIA GPU of this pod: by its tool, else by the driver's files.

    Args:
        folder: the driver's; it may name GPUs of the machine that the pod does not have.
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
    """Return why an object cannot be written, read and removed; "" where it can."""
    key = f".lidr-check-{uuid.uuid4().hex}/object"
    try:
        store = S3Store(uri, seconds=0)
        store.write(key, b"inside")
        same = store.read(key) == b"inside"
        store.delete(key)
    except (LidrError, FileNotFoundError) as error:
        return one_line(redacted(str(error)))
    return "" if same else "what was written came back as something else"


def _fault_of(address: str) -> str:
    """Return why nobody is reached behind an address; any answer of a server is one."""
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=_SECONDS).close()
    except OSError as error:
        where = f"{parts.hostname}:{port}"
        return f"{where} is not reached: {error.strerror or type(error).__name__}"
    return ""


def main(environment: Mapping[str, str] = os.environ) -> None:
    """Print what is seen."""
    answer = look(Question.model_validate_json(environment[ASKED]))
    print(f"{MARK}{answer.model_dump_json()}", flush=True)


def answer_in(log: str) -> Answer | None:
    """Return the answer that a pod has printed; None where there is none.

    Raises:
        ValueError: what it printed is no answer.
    """
    found = [line for line in log.splitlines() if line.startswith(MARK)]
    return Answer.model_validate(json.loads(found[-1].removeprefix(MARK))) if found else None


if __name__ == "__main__":
    main()
