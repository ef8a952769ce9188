"""The promotion pipeline, run here: real ends, with steps in between that finish in a moment."""

from __future__ import annotations

import json

from lidr.components.shared.registry.promotion import PromotionOrder, promote
from lidr.components.shared.registry.versions import ensure_model, read_model
from lidr.components.shared.tracking import mlflow_client
from tests.pipelines.conftest import FakeWorld
from tests.unit.shared.registry.models import registered


def test_a_version_is_compared_with_the_champion_and_promoted(fake_world: FakeWorld, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = str(fake_world.store)
    client = mlflow_client(store)
    start = registered(client, store, "tiny-world", "keep")[0]
    promote(client, start, ensure_model(client, "tiny-world", ""), PromotionOrder())
    words = ("promote", "tiny-world", "2", "--evaluate", "tiny_world", "--output", "json")
    fake_world.environment["TASKS"] = "forks"  # a driver cannot inherit the open database
    done = fake_world.lidr(*words)
    assert done.returncode == 0, done.stderr
    entry = json.loads(done.stdout)
    assert (entry["version"], entry["before"], entry["verdict"]) == (2, 1, "promote")
    assert entry["gate"] in fake_world.work
    assert entry["reason"] == "as the test wants it"
    assert fake_world.steps == ["prepare", "evaluate", "evaluate", "gate"]
    assert read_model(client, "tiny-world").aliases == {"champion": 2, "previous": 1}
