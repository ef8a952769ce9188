"""The servers that other tests stand on keep what they hold, whichever of them stops."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from lidr.components.shared.config.profile import Profile
from lidr.pipelines.checks.finding import CheckInputs, Finding
from lidr.pipelines.checks.tracking import tracking_findings
from tests.fakes import make_recipe
from tests.services.stack import ADMIN, USER, Stack, s3_client


def experiments(stack: Stack) -> list[str]:
    answer = stack.mlflow.call("/api/2.0/mlflow/experiments/search?max_results=100", account=USER)
    return [each["name"] for each in answer["experiments"]]


def test_a_stopped_part_comes_back_with_what_it_held(stack):
    stack.mlflow.call("/api/2.0/mlflow/experiments/create", {"name": "kept"}, USER)
    s3_client(stack.s3.endpoint).put_object(Bucket=stack.bucket, Key="kept", Body=b"bytes")
    for part in (stack.postgres, stack.s3):
        part.stop()
    with pytest.raises(urllib.error.URLError):
        stack.mlflow.call("/api/2.0/mlflow/experiments/search?max_results=1")
    with pytest.raises(OSError):
        urllib.request.urlopen(stack.s3.endpoint, timeout=5)
    stack.start()
    assert "kept" in experiments(stack)
    [found] = s3_client(stack.s3.endpoint).list_objects_v2(Bucket=stack.bucket, Prefix="kept")[
        "Contents"
    ]
    assert found["Size"] == 5


def test_a_check_tells_whether_the_user_may_write(stack: Stack, monkeypatch: pytest.MonkeyPatch):
    profile = Profile(name="p", runner="kubeflow", store="s3://b/s", tracking_uri=stack.mlflow.uri)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")

    def told(model: str) -> dict[str, Finding]:
        recipe = make_recipe(registry={"model_name": model})
        return {each.name: each for each in tracking_findings(CheckInputs(recipe, profile, 300.0))}

    new = told("check-new")
    assert {each.state for each in new.values()} == {"ok"}, new
    assert new["MLflow registry"].detail == "check-new will be made"
    assert new["MLflow artifacts"].detail.startswith("mlflow-artifacts:/")

    create = "/api/2.0/mlflow/registered-models/create"
    stack.mlflow.call(create, {"name": "check-theirs"}, ADMIN)
    theirs = told("check-theirs")["MLflow registered model"]
    assert theirs.state == "missing"
    assert theirs.detail.startswith(f"{USER[0]} has READ on check-theirs")
    stack.mlflow.call(create, {"name": "check-own"}, USER)
    assert told("check-own")["MLflow registered model"].state == "ok"

    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "old")
    assert "refuses the password" in told("check-own")["MLflow"].detail
