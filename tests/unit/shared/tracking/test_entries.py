"""Notes for MLflow as they lie on the store: damaged, edited, and among files of others."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.open import open_store
from lidr.components.shared.tracking.entries import Artifact, Dataset, TrackingEntry
from lidr.components.shared.tracking.outbox import Outbox

ENTRY = TrackingEntry(
    "1-train",
    "end",
    17,
    tags={"a": "b"},
    metrics=[("loss", 0.5, 1)],
    headline=[],
    datasets=[Dataset("pairs", "/s", "ab", "training")],
    artifacts=[Artifact("runs/r/plots/loss.png", "plots/loss.png")],
)


def test_an_entry_comes_back_as_it_was():
    assert TrackingEntry.parse(json.dumps(asdict(ENTRY)).encode()) == ENTRY


@pytest.mark.parametrize(
    "change",
    [
        {"time": "17"},
        {"time": True},
        {"time": 1 << 63},
        {"time": -1},
        {"place": "nowhere"},
        {"place": "x-train"},
        {"place": "9" * 5000 + "-train"},
        {"tags": {"a": 1}},
        {"metrics": [["loss", "0.5", 1]]},
        {"metrics": [["loss", 0.5]]},
        {"headline": [[1, 2, 3]]},
        {"datasets": [{"name": "pairs"}]},
        {"more": 1},
        {"artifacts": [{"key": "k", "path": "../../../home/x"}]},
        {"artifacts": [{"key": "k", "path": "/etc/x"}]},
        {"artifacts": [{"key": "k", "path": "a\0b"}]},
    ],
)
def test_what_lidr_does_not_write_is_refused_with_its_file(change):
    with pytest.raises(BadInput) as caught:
        TrackingEntry.parse(json.dumps(asdict(ENTRY) | change).encode(), "/s/end.json")
    assert caught.value.file == "/s/end.json"
    assert caught.value.remedy


def test_an_unknown_field_is_named_alone():
    with pytest.raises(BadInput, match=r"not an entry of lidr for MLflow \(unknown field 'more'\)"):
        TrackingEntry.parse(json.dumps(asdict(ENTRY) | {"more": 1}).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"place": '])
def test_what_is_no_json_object_is_refused(data):
    with pytest.raises(BadInput):
        TrackingEntry.parse(data)


def test_files_of_others_in_the_spool_are_left_alone(tmp_path):
    outbox = Outbox(open_store(str(tmp_path)), "r")
    outbox.add(ENTRY)
    outbox.add(TrackingEntry("1-train", "metrics-00000007", 3))
    for name in ("1-train/.DS_Store", "1-train/metrics-x.json", "README", "x/end.json"):
        outbox.store.write(f"runs/r/tracking/outbox/{name}", b"?")
    waiting = outbox.waiting("server")
    assert waiting.left == [("1-train", "metrics-00000007"), ("1-train", "end")]
    assert outbox.steps_reported("1-train") == 7
    outbox.store.write("runs/r/tracking/note.json", b'{"run": 3}')
    with pytest.raises(BadInput, match="'run' of the wrong type"):
        outbox.read_note("note")
