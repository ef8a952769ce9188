"""What steps leave in the outbox; no MLflow takes part."""

from __future__ import annotations

import json
import time
from pathlib import Path
from threading import Event

import pytest

from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.core.errors import BadInput, StoreError
from lidr.components.shared.core.events import listening
from lidr.components.shared.core.retry import RETRY_VARIABLE, retry_seconds
from lidr.components.shared.step import step
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.open import open_store
from lidr.components.shared.tracking.entries import Dataset, TrackingEntry
from lidr.components.shared.tracking.live_metrics import CurveWriter
from lidr.components.shared.tracking.outbox import RUN, Outbox
from tests.fakes import finished_stage
from tests.tracked import CURVES, SmallRun


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def small(tmp_path: Path) -> SmallRun:
    return SmallRun(str(tmp_path))


def spool_of(small: SmallRun) -> Outbox:
    return Outbox(open_store(small.store), small.run)


def names(small: SmallRun) -> dict[str, list[str]]:
    found = spool_of(small).waiting("").names
    return {place: [name.split("-")[0] for name in each] for place, each in found.items()}


def test_every_stage_leaves_its_start_and_its_end(small):
    small.start()
    small.iterate()
    steps = ("evaluate", "gate", "generate", "pair", "train", "translate")
    assert names(small) == {
        place: ["start", "end"]
        for place in ("0-evaluate", "0-prepare", *(f"1-{name}" for name in steps))
    }
    assert spool_of(small).recipe() == small.recipe.model_dump(mode="json")


def test_a_step_that_belongs_to_no_run_leaves_nothing(small):
    small.run = ""
    small.start()
    assert not Path(small.store, "runs").exists()


def test_repeating_a_run_adds_nothing(small):
    small.start()
    before = Path(small.store, "runs").rglob("*.json")
    files = {path: path.read_bytes() for path in before}
    small.start()
    assert {path: path.read_bytes() for path in Path(small.store, "runs").rglob("*.json")} == files


def test_the_end_of_a_stage_holds_its_facts(small):
    small.iterate()
    outbox = spool_of(small)
    pair = outbox.read("1-pair", "end")
    assert {name: value for name, value, _ in pair.headline if "seconds" not in name} == {
        "pair/pairs": 30.0,
        "pair/yield": 0.75,
        "pair/yield/es": 0.75,
        "pair/identical_share": 0.1,
    }
    assert {number for _, _, number in pair.headline} == {1}
    generate = {name: value for name, value, _ in outbox.read("1-generate", "end").headline}
    assert generate["generate/tokens_per_second"] == 812.5
    assert generate["generate/failed_share"] == 0.2
    assert generate["generate/truncated_share"] == pytest.approx(0.15)
    pairs = small.pairs()
    train = outbox.read("1-train", "end")
    assert train.datasets == [Dataset("pairs", pairs, pairs.rsplit("/", 1)[1][:36], "training")]
    assert [row for row in train.metrics if row[0] == "train/loss"] == [
        ("train/loss", row["loss"], row["step"]) for row in CURVES
    ]
    assert ("train/final_loss", 0.2, 1) in train.headline
    gate = outbox.read("1-gate", "end")
    assert gate.tags["lidr.gate.decision"] == "promote"
    assert ("gate/mean_gain", 0.3, 1) in gate.headline


@pytest.mark.parametrize("reused", [False, True])
def test_a_stage_that_was_done_before_says_so(small, reused):
    small.follow("pair", 1, small.pairs(), reused=reused)
    assert spool_of(small).read("1-pair", "end").tags["lidr.reused"] == str(reused).lower()


def test_shards_leave_the_end_to_the_merge(small):
    small.follow("generate", 1, f"{small.store}/stages/generate/{'0' * 64}")
    assert names(small) == {"1-generate": ["start"]}
    small.follow("merge", 1, (small.responses(), small.translations()))
    assert names(small) == {"1-generate": ["start", "end"], "1-translate": ["start", "end"]}


def test_a_merge_without_translations_ends_the_responses_alone(small):
    small.sections = {
        "generation": {"samples": 2, "temperature": 1},
        "pairing": {"rewarder": "icr", "icr": {"reference": "/before"}},
    }
    small.follow("merge", 1, (small.responses(), ""))
    assert names(small) == {"1-generate": ["start", "end"]}


def test_scores_leave_their_share_and_how_far_best_and_worst_are_apart(small):
    languages = {"es": {"spread": 0.5}, "de": {"spread": 0.25}}
    counts = {"responses": 40, "scored": 30, "languages": languages}
    responses = digest_of_uri(small.responses())
    uri = finished_stage(small.store, "score", {}, counts, responses=responses).uri
    small.follow("score", 1, uri)
    end = spool_of(small).read("1-score", "end")
    figures = {name: value for name, value, _ in end.headline if "seconds" not in name}
    assert figures == {
        "score/scored_share": 0.75,
        "score/spread/es": 0.5,
        "score/spread/de": 0.25,
    }
    assert [each.context for each in end.datasets] == ["scoring"]


def test_curves_that_were_told_while_training_are_not_told_again(small):
    rows = [{**row, "epoch": 0.1, "tokens": 9} for row in CURVES[:3]]
    outbox = spool_of(small)
    for _ in range(2):  # a later attempt replays its history
        writer = CurveWriter(outbox, "1-train", ("epoch", "tokens"), interval=0.0)
        writer.update(rows)
        writer.close()
    small.follow("train", 1, small.trained())
    found = outbox.waiting("").names["1-train"]
    told = [row for name in found for row in outbox.read("1-train", name).metrics]
    assert [row for row in told if row[0] == "train/loss"] == [
        ("train/loss", row["loss"], row["step"]) for row in CURVES
    ]
    assert {name for name, _, _ in told} == {"train/loss", "train/reward_margin"}


def test_curves_give_up_a_failing_store_at_the_end_of_training(small, monkeypatch):
    monkeypatch.setenv(RETRY_VARIABLE, "900")
    begun, seconds = Event(), []

    class Failing(Outbox):
        def add(self, entry: TrackingEntry) -> bool:
            begun.set()
            for _ in range(2000):
                if retry_seconds() < 900:
                    break
                time.sleep(0.001)
            seconds.append(retry_seconds())
            raise StoreError("the store is away")

    outbox = spool_of(small)
    failing = Failing(outbox.store, outbox.run)
    writer = CurveWriter(failing, "1-train", ("epoch", "tokens"), interval=0.0)
    writer.update([{**row, "epoch": 0.1, "tokens": 9} for row in CURVES[:3]])
    assert begun.wait(5)
    writer.close()
    assert seconds == [15.0], "closed while the write went on, or kept waiting for the store"
    small.follow("train", 1, small.trained())
    found = outbox.waiting("").names["1-train"]
    assert found[-1] == "end"
    told = [row for row in outbox.read("1-train", "end").metrics if row[0] == "train/loss"]
    assert [row[2] for row in told] == [row["step"] for row in CURVES]


def test_a_failure_is_noted_with_its_reason_and_goes_on(small):
    @step("pair")
    def breaks(recipe: str, store: str, run: str, iteration: int) -> str:
        raise BadInput("no \x1b[31mpairs\0", remedy="Mend them.")

    given = {"recipe": small.recipe.model_dump_json(), "store": small.store, "run": small.run}
    with pytest.raises(BadInput):
        breaks(**given, iteration=1)
    [place] = spool_of(small).waiting("").names.items()
    failed = spool_of(small).read(place[0], place[1][-1])
    assert failed.tags == {"lidr.error": "no \ufffd[31mpairs\ufffd. Mend them."}


def test_a_spool_that_cannot_be_written_is_a_warning_and_no_failure(small, monkeypatch):
    pairs = small.pairs()

    def full(self, key, data):
        raise StoreError("the disk is full")

    monkeypatch.setattr(LocalStore, "create", full)
    heard: list[dict] = []
    with listening(heard.append):
        assert small.follow("pair", 1, pairs) == pairs
    warnings = [event["message"] for event in heard if event["event"] == "warning"]
    assert warnings
    assert all("the disk is full" in message for message in warnings)


def test_an_uploader_that_cannot_start_is_a_warning_and_no_failure(small, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")

    def no_process(*arguments: object, **options: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("subprocess.Popen", no_process)
    pairs = small.pairs()
    heard: list[dict] = []
    with listening(heard.append):
        assert small.follow("pair", 1, pairs) == pairs
    warnings = [event["message"] for event in heard if event["event"] == "warning"]
    assert any("Resource temporarily unavailable" in message for message in warnings)
    assert names(small)["1-pair"] == ["start", "end"]


@pytest.mark.parametrize("state", ["SUCCEEDED", "COMPLETE", "FAILED", "CANCELLED"])
def test_cleanup_notes_only_a_loop_that_did_not_end_well(small, state):
    from lidr.components.cleanup.run import cleanup

    cleanup(store=small.store, state=state, run=small.run)
    assert not names(small)  # the run was never begun
    small.start()
    cleanup(store=small.store, state=state, run=small.run)
    outbox = spool_of(small)
    told = [outbox.read(RUN, name).tags for name in outbox.waiting("").names.get(RUN, [])]
    well = state in ("SUCCEEDED", "COMPLETE")  # kfp.local's word, Kubeflow Pipelines' own
    assert told == ([] if well else [{"lidr.state": state}])


def test_nothing_secret_is_in_the_spool(small, monkeypatch):
    secrets = {"MLFLOW_TRACKING_PASSWORD": "s3cret-1", "MLFLOW_TRACKING_TOKEN": "s3cret-2"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    small.start()
    small.iterate()
    for path in Path(small.store, "runs").rglob("*.json"):
        json.loads(path.read_text())
        assert not any(value in path.read_text() for value in secrets.values())


def test_the_whole_run_comes_first_and_a_stage_s_end_last():
    from lidr.components.shared.tracking.outbox import _order

    paths = ["2-pair/end", "10-pair/end", "1-train/end", "1-train/metrics-5", f"{RUN}/end-a"]
    assert sorted(paths, key=_order) == [
        f"{RUN}/end-a",
        "1-train/metrics-5",
        "1-train/end",
        "2-pair/end",
        "10-pair/end",
    ]
