"""Delivery to a laptop's own MLflow, the mlflow.db in a local store."""

from __future__ import annotations

import math
import re

import pytest
import requests
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import EndpointConnectionError
from mlflow import MlflowClient

from lidr.components.shared.config.load import flatten
from lidr.components.shared.core.errors import DamagedObject
from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.store.open import open_store
from lidr.components.shared.tracking import mlflow_client
from lidr.components.shared.tracking.delivery import deliver
from lidr.components.shared.tracking.entries import Artifact, TrackingEntry
from lidr.components.shared.tracking.outbox import Outbox, now_ms
from lidr.components.shared.tracking.stage_metrics import as_params
from tests.fakes import make_recipe
from tests.tracked import SmallRun, told


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(store) -> MlflowClient:
    return mlflow_client(store)


@pytest.fixture
def small(store, request) -> SmallRun:
    """A run of the test's own: all tests share one database."""
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    return SmallRun(store, run=name, name=name)


def delivered(small: SmallRun) -> str:
    outcome = deliver(open_store(small.store), small.run, 20)
    return outcome.problem if outcome.left else ""


def runs(client: MlflowClient, small: SmallRun) -> dict[str, object]:
    experiment = client.get_experiment_by_name("lidr/tiny-world")
    found = client.search_runs([experiment.experiment_id], f"tags.`lidr.run` = '{small.run}'")
    return {each.info.run_name.removeprefix(small.run): each for each in found}


def test_run_that_kubeflow_s_plugin_names_on_another_server_is_left_alone(
    client, small, monkeypatch
):
    """The plugin names its run always, its server with `injectUserEnvVars` only."""
    monkeypatch.setenv("MLFLOW_RUN_ID", "0123456789abcdef0123456789abcdef")
    small.start()
    assert delivered(small) == ""
    assert "" in runs(client, small), "the run is lidr's own"


class Died(Exception):
    pass


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("create_run", 1),
        ("create_run", 3),
        ("log_batch", 1),
        ("log_batch", 4),
        ("log_inputs", 1),
        ("set_terminated", 1),
    ],
)
def test_what_was_half_told_is_completed_once(client, small, monkeypatch, method, call):
    small.start()
    original = getattr(MlflowClient, method)
    calls = iter(range(1, 100))

    def sometimes(self, *args, **kwargs):
        answer = original(self, *args, **kwargs)
        if next(calls) == call:  # the server has done it, and the process dies
            raise Died
        return answer

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(MlflowClient, method, sometimes)
        delivered(small)
    assert delivered(small) == ""
    found = told(client, small)
    assert len(found) == 4
    world = found[f"{small.run}-M0-evaluate"]
    assert world["metrics"]["accuracy/es"] == [(0, "0.5")]
    assert world["status"] == "FINISHED"


def test_a_run_that_was_told_its_end_and_not_ended_is_ended_later(client, small, monkeypatch):
    small.start()

    def dies(self, *arguments, **options):
        raise Died

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(MlflowClient, "set_terminated", dies)
        delivered(small)
    assert delivered(small) == ""
    found = runs(client, small)
    states = {name: each.info.status for name, each in found.items()}
    assert states["-M0-prepare"] == states["-M0-evaluate"] == "FINISHED"


def test_an_mlflow_run_that_somebody_deleted_is_recreated(client, small):
    small.start()
    assert delivered(small) == ""
    client.delete_run(runs(client, small)["-M0-prepare"].info.run_id)
    Outbox(open_store(small.store), small.run).add(
        TrackingEntry("0-prepare", "metrics-00000001", now_ms(), metrics=[("late", 1.0, 1)])
    )
    assert delivered(small) == ""
    world = runs(client, small)["-M0-prepare"]
    assert world.data.metrics["late"] == 1.0
    assert world.data.metrics["prepare/seconds"] >= 0


def test_a_run_deleted_before_it_could_be_ended_is_recreated(client, small, monkeypatch):
    small.start()
    original = MlflowClient.set_terminated
    deleted = []

    def deletes(self, run_id, *arguments, **options):
        if not deleted:
            deleted.append(run_id)
            client.delete_run(run_id)
        return original(self, run_id, *arguments, **options)

    monkeypatch.setattr(MlflowClient, "set_terminated", deletes)
    assert delivered(small) == ""
    found = runs(client, small)
    assert len(found) == 4
    assert found["-M0-prepare"].info.status == found["-M0-evaluate"].info.status == "FINISHED"
    assert deleted[0] not in {each.info.run_id for each in found.values()}


def test_an_entry_that_mlflow_refuses_keeps_no_other_waiting(client, small):
    outbox = Outbox(open_store(small.store), small.run)
    small.follow("prepare", 0, small.world())
    outbox.add(TrackingEntry("0-prepare", "metrics-00000001", now_ms(), metrics=[("a\nb", 1.0, 1)]))
    small.follow("pair", 1, small.pairs())
    problem = delivered(small)
    assert "0-prepare/metrics-00000001" in problem
    assert "\n" not in problem
    assert runs(client, small)["-M1-pair"].data.metrics["pair/yield"] == 0.75


def refused(status: int) -> requests.HTTPError:
    answer = requests.Response()
    answer.status_code = status
    return requests.HTTPError(f"{status} of the proxy", response=answer)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (requests.ConnectionError("no route"), True),
        (refused(503), True),
        (EndpointConnectionError(endpoint_url="http://store"), True),
        (S3UploadFailedError("Failed to upload plot.png: AccessDenied"), True),
        (refused(413), False),
    ],
    ids=["no route", "503", "S3 away", "S3 refuses", "413"],
)
def test_an_artifact_store_that_is_away_is_asked_again(client, small, monkeypatch, error, again):
    store = open_store(small.store)
    store.write("runs/plot.png", b"plot")
    small.follow("prepare", 0, small.world())
    plot = [Artifact("runs/plot.png", "plot.png")]
    Outbox(store, small.run).add(
        TrackingEntry("0-prepare", "metrics-00000001", now_ms(), artifacts=plot)
    )
    asked = []

    def once(self, *args):
        asked.append(args)
        if len(asked) == 1:
            raise error

    monkeypatch.setattr(MlflowClient, "log_artifacts", once)
    problem = delivered(small)
    assert (problem == "") is again, problem
    assert len(asked) == 1 + again
    assert again or "artifact store refused 0-prepare/metrics-00000001: 413" in problem


def test_a_failure_ends_an_mlflow_run_and_another_attempt_revives_it(client, small):
    outbox = Outbox(open_store(small.store), small.run)
    outbox.write_recipe(small.recipe.model_dump_json())
    for number, kind in enumerate(("start", "failed"), start=1):
        outbox.add(TrackingEntry("1-pair", f"{kind}-{number}", number))
    assert delivered(small) == ""
    assert runs(client, small)["-M1-pair"].info.status == "FAILED"
    small.follow("pair", 1, "no stage's URI")  # a start without an end
    assert delivered(small) == ""
    assert runs(client, small)["-M1-pair"].info.status == "RUNNING"
    small.follow("pair", 1, small.pairs())
    assert delivered(small) == ""
    assert runs(client, small)["-M1-pair"].info.status == "FINISHED"


def test_a_recipe_of_any_size_and_numbers_of_any_kind_arrive(client, small):
    others = [code for code in NAMES if code != "en"]
    recipe = make_recipe(
        languages={"dominant": "en", "others": others},
        model={"source": "/models/m"},
        prompts={"files": {code: f"/prompts/{code}.jsonl" for code in NAMES}},
        evaluation={"tasks": [f"task_{number}_{{language}}" for number in range(400)]},
    )
    outbox = Outbox(open_store(small.store), small.run)
    outbox.write_recipe(recipe.model_dump_json())
    rows = [("norm", math.nan if n % 2 else math.inf, n) for n in range(1, 1802)]
    outbox.add(TrackingEntry("1-train", "end", now_ms(), metrics=rows))
    assert delivered(small) == ""
    found = runs(client, small)
    params = found[""].data.params
    assert params["lidr.prompts.files.zu"] == "['/prompts/zu.jsonl']"
    assert len(params) > 100
    assert len(params["lidr.evaluation.tasks"]) == 6000
    train = found["-M1-train"].info.run_id
    assert len(client.get_metric_history(train, "norm")) == 1801


@pytest.mark.parametrize(
    ("nested", "flat"),
    [
        ({}, {}),
        ({"a": 1}, {"a": 1}),
        ({"a": {"b": {"c": 1}, "d": None}}, {"a.b.c": 1, "a.d": None}),
        ({"a": [1, {"b": 2}], "c": {}}, {"a": [1, {"b": 2}]}),
    ],
)
def test_flatten_joins_nested_keys_by_dots(nested, flat):
    assert flatten(nested) == flat


def test_names_and_values_are_what_mlflow_takes():
    assert as_params({"a/../b": "x\0y"}) == {"lidr.a_.._b": "x\ufffdy"}


def test_a_note_that_is_damaged_keeps_no_other_waiting(client, small):
    small.follow("prepare", 0, small.world())
    store = open_store(small.store)
    store.write(f"runs/{small.run}/tracking/outbox/0-prepare/metrics-00000003.json", b'{"place": ')
    small.follow("pair", 1, small.pairs())
    assert "metrics-00000003.json: is not JSON" in delivered(small)
    assert runs(client, small)["-M1-pair"].data.metrics["pair/yield"] == 0.75


def test_a_damaged_end_leaves_the_other_entries_of_its_run_delivered(client, small):
    small.start()
    store = open_store(small.store)
    folder = f"runs/{small.run}/tracking/outbox"
    for key in (f"{folder}/run/end-0123456789ab.json", f"{folder}/0-prepare/end.json"):
        store.write(key, b'{"place": ')
    assert "end-0123456789ab.json: is not JSON" in delivered(small)
    again = deliver(store, small.run, 20)
    assert (again.sent, again.left) == (0, 2), "only the damaged ones are still there"
    assert runs(client, small)["-M0-prepare"].info.status == "FINISHED"


@pytest.mark.parametrize("fault", ["gone", "damaged"])
def test_an_artifact_that_cannot_be_read_keeps_no_other_waiting(client, small, monkeypatch, fault):
    store = open_store(small.store)
    small.follow("prepare", 0, small.world())
    plot = [Artifact("runs/unreadable.png", "plot.png")]
    Outbox(store, small.run).add(
        TrackingEntry("0-prepare", "metrics-00000001", now_ms(), artifacts=plot)
    )
    small.follow("pair", 1, small.pairs())
    if fault == "damaged":
        original = type(store).read

        def read(self, key):
            if key == "runs/unreadable.png":
                raise DamagedObject("plot.png was damaged on the way from the store", remedy="-")
            return original(self, key)

        monkeypatch.setattr(type(store), "read", read)
    expected = {"gone": "the store lacks a file of 0-prepare/metrics-00000001", "damaged": "plot"}
    problem = delivered(small)
    assert expected[fault] in problem and "MLflow" not in problem
    assert runs(client, small)["-M1-pair"].data.metrics["pair/yield"] == 0.75
