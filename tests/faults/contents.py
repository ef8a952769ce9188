"""What a run leaves behind, in a form in which two runs can be compared."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"
TIMED_FILES = ("metrics.jsonl",)
TIMED_STEPS = ("register",)
"""What carries times or numbers of the registry: all else is equal to the last byte."""


def contents(store: Path, run: str) -> dict[str, Any]:
    """Return the digests of all datasets and models of a store, and a run's states and result.

    Every file is read and must be what its marker says.
    """
    found: dict[str, Any] = {}
    for marker in sorted(store.glob("stages/*/*/_SUCCESS")):
        stage, step = marker.parent, marker.parent.parent.name
        described = json.loads(marker.read_text())["files"]
        present = {
            path.relative_to(stage).as_posix()
            for path in stage.rglob("*")
            if path.is_file() and path != marker
        }
        assert present == set(described), f"{stage} holds other files than its marker names"
        for name, file in described.items():
            sha256 = hashlib.sha256((stage / name).read_bytes()).hexdigest()
            assert sha256 == file["sha256"], f"{stage}/{name} is not what its marker says"
            if step not in TIMED_STEPS and not name.endswith(TIMED_FILES):
                found[f"{step}/{stage.name}/{name}"] = sha256
    home = store / "runs" / run
    for path in sorted([*home.glob("iteration-*/state.json"), home / "result.json"]):
        found[path.relative_to(home).as_posix()] = _placeless(json.loads(path.read_text()), store)
    return found


def _placeless(value: Any, store: Path) -> Any:
    """Leave out where the store is, when things were done, and the digests that name a register."""
    if isinstance(value, dict):
        timed = ("finished", "seconds", "used")
        return {key: _placeless(each, store) for key, each in value.items() if key not in timed}
    if isinstance(value, list):
        return [_placeless(each, store) for each in value]
    return value.replace(str(store), "") if isinstance(value, str) else value


def finished_work(store: Path) -> dict[str, object]:
    """Return what must never be written again, and when it was written: chunks, and done stages."""
    chunks = [
        *store.glob("stages/generate/**/*.parquet"),
        *store.glob("stages/translate/**/*.parquet"),
    ]
    done = [
        marker.parent / name
        for marker in store.glob("stages/*/*/_SUCCESS")
        for name in (*json.loads(marker.read_text())["files"], marker.name)
    ]
    return {str(path): path.stat().st_mtime_ns for path in {*chunks, *done}}


def versions(uri: str, store: str, model: str = "") -> dict[str, Any]:
    """Return MLflow's registered versions, with sources, tags and the aliases of their models.

    Args:
        uri: of the tracking server.
        store: URI of the store, which is left out of every value.
        model: only its versions; "" for all.
    """
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = {}
    for each in client.search_registered_models():
        aliases = {str(number): name for name, number in each.aliases.items()}
        for version in client.search_model_versions(f"name='{each.name}'"):
            if model in ("", each.name):
                tags = {key: value.replace(store, "") for key, value in version.tags.items()}
                source = version.source.replace(store, "")
                found[f"{each.name}/{version.version}"] = [source, tags, aliases]
    return found


def tracked(uri: str) -> dict[str, Any]:
    """Return what MLflow has tracked: each run's status, and how many points its metrics have."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = {}
    for run in client.search_runs([each.experiment_id for each in client.search_experiments()]):
        points = {
            key: len(client.get_metric_history(run.info.run_id, key))
            for key in run.data.metrics
            if not key.endswith("tokens_per_second")  # of what the last execution still had to do
        }
        assert run.info.run_name not in found, f"{run.info.run_name} was tracked twice"
        found[run.info.run_name] = [run.info.status, points]
    return found
