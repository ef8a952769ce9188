"""What a run leaves on a store, in a form in which a cluster's and a laptop's can be compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.cluster.results import Failure
from tests.faults.contents import TIMED_FILES, TIMED_STEPS


def contents(uri: str) -> dict[str, str]:
    """Return the SHA-256 of every data file of every finished stage, by step, digest and name.

    Every object is read, and must be what its stage's marker says. What carries times is left out.

    Args:
        uri: of the store.
    """
    from lidr.components.shared.store.open import open_store

    store = open_store(uri)
    found = {}
    for entry in store.list("stages"):
        if not entry.key.endswith("/_SUCCESS"):
            continue
        stage = entry.key.removesuffix("/_SUCCESS")
        step = stage.split("/")[1]
        for name, file in json.loads(store.read(entry.key))["files"].items():
            sha256 = store.sha256(f"{stage}/{name}")
            if sha256 != file["sha256"]:
                raise Failure(f"{uri}/{stage}/{name} is not what its marker says")
            if step not in TIMED_STEPS and not name.endswith(TIMED_FILES):
                found[f"{stage.removeprefix('stages/')}/{name}"] = sha256
    return found


def differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Return the files that only one of two stores has, or that differ."""
    return sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))


def require_equal(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Return how much was compared.

    Raises:
        Failure: with the names of what differs.
    """
    if other := differences(found, wanted):
        raise Failure(f"{len(other)} of {len(wanted)} files differ: {', '.join(other[:6])}")
    if not wanted:
        raise Failure("there is nothing to compare")
    stages = {key.rsplit("/", 1)[0] for key in wanted}
    return f"{len(wanted)} files of {len(stages)} stages equal to the byte"


_ONE_AT_A_TIME = threading.Lock()
_OF_THE_CLUSTER = ("MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL")


def local_run(folder: Path, settings: tuple[str, ...], name: str) -> Mapping[str, str]:
    """Return the contents that the same recipe leaves on this machine; it is run once for a folder.

    Args:
        folder: for its store.
        settings: as `lidr run --set` takes them.
        name: of the run.
    """
    with _ONE_AT_A_TIME:
        return _local_run(folder, settings, name)


@cache
def _local_run(folder: Path, settings: tuple[str, ...], name: str) -> Mapping[str, str]:
    store = folder / name
    if not (store / "runs" / name / "result.json").exists():
        words = [word for each in settings for word in ("--set", each)]
        command = [sys.executable, "-m", "lidr.pipelines.cli", "run", "tiny_world", *words]
        done = subprocess.run(
            [*command, "--store", str(store), "--run", name],
            capture_output=True,
            text=True,
            env={key: os.environ[key] for key in os.environ if key not in _OF_THE_CLUSTER},
        )
        if done.returncode:
            raise Failure(f"the local run failed: {done.stderr.strip()[-500:]}")
    return contents(str(store))
