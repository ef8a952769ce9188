"""Tracking on MLflow as a team runs it, through outages of every part of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from lidr.components.shared.core.errors import BadInput, TrackingFailed
from lidr.components.shared.step import step
from lidr.components.shared.store.open import open_store
from lidr.components.shared.tracking import mlflow_client
from lidr.components.shared.tracking.delivery import deliver
from lidr.components.shared.tracking.entries import TrackingEntry
from lidr.components.shared.tracking.outbox import Outbox, now_ms
from tests.planted import PLANTED, leaks
from tests.services.stack import Stack, s3_client
from tests.tracked import CURVES, SmallRun, told

SECONDS = float(os.environ.get("LIDR_TEST_OUTAGE_SECONDS", "4"))
"""How long a part is away; set it to 60 for the long version."""

pytestmark = pytest.mark.slow


@pytest.fixture
def off(monkeypatch):
    """Let steps only fill the outbox: no server is named."""

    def switch(store: str) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}/none.db")

    return switch


def small_at(stack: Stack, name: str) -> SmallRun:
    """Return a run on the stack's own S3."""
    return SmallRun(f"s3://{stack.bucket}/{name}", run="small", name=name)


def play(run: SmallRun, monkeypatch, outage: Callable[[str], None] = lambda part: None) -> None:
    """Do a whole run: M_0, an iteration and its report.

    Args:
        run: the run.
        monkeypatch: for its environment.
        outage: takes a part of the stack away for a while.
    """
    away = f"sqlite:///{run.store}"  # light steps here start no uploader each
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", away)
        run.start()
    outage("postgres")
    run.register(0)
    outage("s3")
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", away)
        run.iterate()
    outage("mlflow")
    run.register(1)
    store = open_store(run.store)
    for name in ("report.html", "plots/a.svg"):
        store.write(f"runs/{run.run}/{name}", name.encode())
    store.write(f"runs/{run.run}/result.json", b"{}")
    run.follow("report", 0, "the report")


@pytest.fixture(scope="module")
def undisturbed(running_stack: Stack) -> dict:
    """What MLflow knows after a run that nothing went wrong in."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in running_stack.environment.items():
            patch.setenv(name, value)
        run = small_at(running_stack, "undisturbed")
        play(run, patch)
        return told(mlflow_client(run.store), run)


def test_a_run_is_a_tree_of_mlflow_runs(stack, undisturbed):
    assert {name: row["parent"] for name, row in undisturbed.items()} == {
        "small": None,
        "small-M0": "small",
        "small-M1": "small",
        **{f"small-M0-{step}": "small-M0" for step in ("prepare", "evaluate", "register")},
        **{
            f"small-M1-{step}": "small-M1"
            for step in ("generate", "translate", "pair", "train", "evaluate", "gate", "register")
        },
    }
    assert {row["status"] for row in undisturbed.values()} == {"FINISHED"}
    whole, train = undisturbed["small"], undisturbed["small-M1-train"]
    assert whole["metrics"]["accuracy/de"] == [(0, "0.6"), (1, "0.6")]
    assert train["metrics"]["train/loss"] == [(row["step"], str(row["loss"])) for row in CURVES]
    assert undisturbed["small-M1"]["metrics"]["pair/yield"] == [(1, "0.75")]
    assert whole["params"]["lidr.training.beta"] == "0.1"
    assert all(key.startswith("lidr.") for row in undisturbed.values() for key in row["params"])
    assert [name for name, _, context in train["datasets"] if context == "training"] == ["pairs"]
    assert whole["artifacts"] == ["plots", "recipe.json", "report.html", "result.json"]
    assert undisturbed["small-M1"]["gate"] == "promote"


def test_outages_of_every_part_in_the_middle_of_a_run_change_nothing(
    stack, undisturbed, monkeypatch
):
    run = small_at(stack, "disturbed")
    monkeypatch.setenv("LIDR_RETRY_SECONDS", "600")
    struck = []
    with ExitStack() as outages:

        def strike(part: str) -> None:
            outages.close()  # the one before is over
            struck.append(part)
            outages.enter_context(stack.without(getattr(stack, part), SECONDS))

        play(run, monkeypatch, strike)
    assert struck == ["postgres", "s3", "mlflow"]
    final = deliver(open_store(run.store), run.run, 30)
    assert (final.left, final.problem) == (0, "")
    known = told(mlflow_client(run.store), run)
    assert known == undisturbed
    versions = mlflow_client(run.store).search_model_versions(f"name = '{run.name}'")
    assert sorted(int(version.version) for version in versions) == [1, 2]


def test_what_is_told_twice_is_there_once(stack, undisturbed):
    store = open_store(f"s3://{stack.bucket}/undisturbed")
    for notes in ("sent", "mlflow"):  # what is known of the server, and the MLflow runs on it
        for entry in store.list(f"runs/small/tracking/{notes}"):
            store.delete(entry.key)
    outcome = deliver(store, "small", 60)
    assert (outcome.sent > 20, outcome.left) == (True, 0)
    run = small_at(stack, "undisturbed")
    assert told(mlflow_client(run.store), run) == undisturbed


def test_what_waits_is_kept_while_the_server_is_away(stack, tmp_path, off, monkeypatch):
    run = SmallRun(str(tmp_path), run="later", name="later")
    off(run.store)
    run.start()
    stack.s3.stop()  # not used by this store
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    began = time.monotonic()
    outcome = deliver(open_store(run.store), run.run, 2)
    assert time.monotonic() - began < 10
    assert (outcome.sent, outcome.left) == (0, 4)
    assert "MLflow at http://127.0.0.1:9 does not answer" in outcome.problem
    assert "\n" not in outcome.problem


def test_a_courier_shows_a_stage_while_it_runs_and_keeps_nobody_waiting(
    stack, tmp_path, monkeypatch
):
    run = SmallRun(str(tmp_path), run="live", name="live")
    seen, ended = [], []

    @step("train")
    def train(recipe: str, store: str, run: str, iteration: int) -> str:
        rows = [("train/loss", 0.5, 1)]
        Outbox(open_store(store), run).add(
            TrackingEntry("1-train", "metrics-00000001", now_ms(), metrics=rows)
        )
        client = mlflow_client(store)
        end = time.monotonic() + 60
        while not seen and time.monotonic() < end:
            time.sleep(0.3)
            experiment = client.get_experiment_by_name("lidr/tiny-world")
            query = f"tags.`lidr.run` = 'live' and tags.`lidr.store` = '{store}'"
            found = client.search_runs([experiment.experiment_id], query) if experiment else []
            seen.extend(
                (each.info.status, each.data.metrics)
                for each in found
                if each.info.run_name == "live-M1-train" and each.data.metrics
            )
        ended.append(time.monotonic())
        return trained

    trained = run.trained()
    recipe = run.recipe.model_dump_json()
    train(recipe=recipe, store=run.store, run=run.run, iteration=1)
    assert time.monotonic() - ended[0] < 4
    assert seen[0] == ("RUNNING", {"train/loss": 0.5})
    assert not deliver(open_store(run.store), run.run, 60).left
    curve = told(mlflow_client(run.store), run)["live-M1-train"]["metrics"]["train/loss"]
    assert curve == [(row["step"], str(0.5 if row["step"] == 1 else row["loss"])) for row in CURVES]


def test_a_wrong_password_is_one_clear_line(stack, tmp_path, off, monkeypatch):
    run = SmallRun(str(tmp_path), run="locked", name="locked")
    uri = os.environ["MLFLOW_TRACKING_URI"]
    off(run.store)
    run.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PLANTED["MLFLOW_TRACKING_PASSWORD"])
    outcome = deliver(open_store(run.store), run.run, 30)
    assert outcome.left == 4
    assert "refuses the password of 'pipeline'" in outcome.problem
    with pytest.raises(BadInput, match="MLFLOW_TRACKING_PASSWORD") as caught:
        run.register(0)
    assert caught.value.exit_code == 2
    assert leaks(str(caught.value), outcome.problem, tmp_path) == []
    assert "\n" not in str(caught.value)


def test_a_host_that_the_server_does_not_trust_is_one_clear_line(stack, tmp_path, monkeypatch):
    run = SmallRun(str(tmp_path), run="stranger", name="stranger")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://localhost:{stack.mlflow.port}")
    expected = rf"'localhost:{stack.mlflow.port}'.*MLFLOW_SERVER_ALLOWED_HOSTS"
    with pytest.raises(BadInput, match=expected) as caught:
        run.register(0)
    assert "\n" not in str(caught.value)


def test_a_registration_that_waited_long_enough_says_so(tmp_path, monkeypatch):
    run = SmallRun(str(tmp_path), run="alone", name="alone")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("LIDR_RETRY_SECONDS", "1")
    monkeypatch.setattr(
        "lidr.components.shared.tracking.step_tracking._DELIVERS", {"register": 1.0}
    )
    with pytest.raises(TrackingFailed, match="does not answer"):
        run.register(0)


def test_a_pipeline_s_own_run_is_used_and_neither_made_nor_ended(stack, tmp_path, off, monkeypatch):
    run = SmallRun(str(tmp_path), run="kfp", name="kfp")
    uri = os.environ["MLFLOW_TRACKING_URI"]
    client = mlflow_client(run.store)
    experiment = client.create_experiment("the pipeline's")
    root = client.create_run(experiment, run_name="pipeline")
    task = client.create_run(experiment, tags={"mlflow.parentRunId": root.info.run_id})
    off(run.store)
    run.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_RUN_ID", task.info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    assert not deliver(open_store(run.store), run.run, 60).left
    monkeypatch.delenv("MLFLOW_RUN_ID")  # `lidr report`, later, on a laptop
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID")
    Outbox(open_store(run.store), run.run).add(
        TrackingEntry("run", "end-1", now_ms(), tags={"late": "yes"})
    )
    assert not deliver(open_store(run.store), run.run, 60).left
    found = client.search_runs([experiment])
    assert len(found) == 2 + 3  # and M_0 with its world and evaluation
    assert not [each for each in found if each.info.run_name == "kfp"]
    top = client.get_run(root.info.run_id)
    assert top.info.status == "RUNNING"
    assert top.data.params["lidr.training.beta"] == "0.1"
    assert top.data.metrics["accuracy/de"] == 0.6
    assert top.data.tags["late"] == "yes"
    above = {each.info.run_name: each.data.tags.get("mlflow.parentRunId") for each in found}
    assert above["kfp-M0"] == root.info.run_id


def test_registry_and_runs_come_back_from_a_backup(stack, tmp_path, undisturbed):
    run = small_at(stack, "undisturbed")
    client = mlflow_client(run.store)
    s3 = s3_client(stack.s3.endpoint)
    s3.put_bucket_versioning(Bucket=stack.bucket, VersioningConfiguration={"Status": "Enabled"})
    before = {
        int(each.version): (each.source, each.tags)
        for each in client.search_model_versions(f"name = '{run.name}'")
    }
    dumps = {
        name: Path(stack.postgres.folder, f"{name}.dump") for name in ("mlflow", "mlflow_auth")
    }
    for name, path in dumps.items():
        stack.postgres.client("pg_dump", "--format=custom", f"--file={path}", name)
    client.delete_registered_model(run.name)
    report = next(
        each["Key"]
        for each in s3.list_objects_v2(Bucket=stack.bucket, Prefix="artifacts/")["Contents"]
        if each["Key"].endswith("report.html")
    )
    s3.put_object(Bucket=stack.bucket, Key=report, Body=b"overwritten")
    for name, path in dumps.items():
        stack.postgres.client("dropdb", "--force", name)
        stack.postgres.client("createdb", name)
        stack.postgres.client("pg_restore", "--exit-on-error", f"--dbname={name}", str(path))
    found = s3.list_object_versions(Bucket=stack.bucket, Prefix=report)["Versions"]
    newest = next(each for each in found if each["IsLatest"])
    s3.delete_object(Bucket=stack.bucket, Key=report, VersionId=newest["VersionId"])
    after = client.search_model_versions(f"name = '{run.name}'")
    assert {int(each.version): (each.source, each.tags) for each in after} == before
    assert client.get_model_version_by_alias(run.name, "candidate").version == "2"
    assert told(client, run) == undisturbed
    [whole] = client.search_runs(
        [client.get_experiment_by_name("lidr/tiny-world").experiment_id],
        f"attributes.run_name = 'small' and tags.`lidr.store` = '{run.store}'",
    )
    kept = client.download_artifacts(whole.info.run_id, "report.html", str(tmp_path))
    assert Path(kept).read_bytes() == b"report.html"
