"""Secrets that tests plant, and a look for them in whatever something leaves behind."""

from __future__ import annotations

import os
import threading
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

PLANTED = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED0planted01",
    "AWS_SECRET_ACCESS_KEY": "planted/aws+secret=02",
    "AWS_SESSION_TOKEN": "planted-aws-session-03",
    "MLFLOW_TRACKING_USERNAME": "pipeline",  # no secret, but part of a header
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-04",
    "HF_TOKEN": "hf_planted0token0005",
    "OPENAI_API_KEY": "sk-planted-openai-06",
    "LIDR_JUDGE_API_KEY": "sk-planted-judge-07",
    "LIDR_KFP_TOKEN": "planted.kfp.token-08",
    "LIDR_KFP_CLIENT_SECRET": "planted-oidc-09",
    "LIDR_TARGET_PASSWORD": "planted-target-10",
    "PGPASSWORD": "planted-postgres-11",
    "LIDR_NOTIFY_URL": "http://127.0.0.1:9/planted-notify-12",
}
"""What the environment of a user holds."""

NETRC = "planted-netrc-12"


def secrets() -> list[str]:
    """Return every form in which a planted secret could turn up."""
    found = [value for value in PLANTED.values() if "planted" in value.lower()] + [NETRC]
    user = PLANTED["MLFLOW_TRACKING_USERNAME"]
    logins = [
        f"{user}:{PLANTED['MLFLOW_TRACKING_PASSWORD']}",
        f"{user}:{NETRC}",
        f"lidr:{PLANTED['LIDR_KFP_CLIENT_SECRET']}",
    ]
    basic = [b64encode(login.encode()).decode() for login in logins]
    return [*found, *basic, *(quote(value, safe="") for value in found)]


def write_netrc(home: Path) -> None:
    """Put a login for this machine into a user's .netrc."""
    file = home / ".netrc"
    file.write_text(f"machine 127.0.0.1 login pipeline password {NETRC}\n")
    file.chmod(0o600)


def leaks(*places: Path | str | bytes) -> list[str]:
    """Return which secrets stand where: in texts, files, and all files of folders."""
    return [
        f"{secret} in {name}"
        for place in places
        for name, data in _contents(place)
        for secret in secrets()
        if secret.encode() in data
    ]


def _contents(place: Path | str | bytes) -> Iterator[tuple[str, bytes]]:
    if isinstance(place, bytes):
        yield "bytes", place
    elif isinstance(place, str):
        yield "text", place.encode("utf-8", "replace")
    elif place.is_dir():
        for path in sorted(place.rglob("*")):
            yield f"the name {path}", str(path).encode()
            if path.is_file():
                yield from _contents(path)
    else:
        yield str(place), place.read_bytes()
        if place.suffix == ".parquet":  # compressed: read what is in it
            yield str(place), stored(place.read_bytes())


def stored(data: bytes) -> bytes:
    """Return the content of an object, a Parquet file's as text."""
    try:
        return str(pq.read_table(pa.BufferReader(data)).to_pylist()).encode("utf-8", "replace")
    except pa.ArrowException:
        return data


@contextmanager
def watched_arguments() -> Iterator[set[bytes]]:
    """Collect the arguments of all processes meanwhile, about ten times a second."""
    seen: set[bytes] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            seen.update(_arguments(entry.name for entry in os.scandir("/proc")))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _arguments(names: Iterable[str]) -> Iterator[bytes]:
    for name in names:
        if name.isdigit():
            try:
                yield Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:  # it has just ended
                continue
