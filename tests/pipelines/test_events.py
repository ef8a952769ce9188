"""The events file of a run, torn, edited and hostile; and what servers keep of a run."""

from __future__ import annotations

import json

import pytest

from lidr.pipelines.cli.board import Board
from lidr.pipelines.cli.inputs import read_recipe
from lidr.pipelines.events import parse_events
from lidr.pipelines.local_status import event_rows
from lidr.pipelines.stamp import MAX_CHARS, Stamp

STARTED = {"event": "started", "time": 1.0, "step": "train", "iteration": 1}
PROGRESS = {
    "event": "progress",
    "time": 2.0,
    "step": "train",
    "done": 1,
    "total": 2,
    "unit": "steps",
    "rate": 1.5,
    "rate_unit": "tokens",
    "failures": {"truncated": 1},
}


def lines(*events: object) -> list[bytes]:
    return [json.dumps(event).encode() for event in events]


def test_good_events_come_back_in_order():
    assert parse_events(lines(STARTED, PROGRESS)) == [STARTED, PROGRESS]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'{"event": "sta',
        b"\xff",
        b"[]",
        b"[" * 100_000,
        *lines(
            {"event": "unheard of", "time": 1.0},
            STARTED | {"iteration": "1"},
            STARTED | {"iteration": True},
            STARTED | {"time": None},
            STARTED | {"step": 3},
            PROGRESS | {"total": float("nan")},
            PROGRESS | {"failures": {"truncated": "many"}},
            PROGRESS | {"rate": float("inf")},
            PROGRESS | {"rate": None},
            PROGRESS | {"seconds_left": None},
        ),
    ],
)
def test_what_is_no_event_is_left_out(line):
    events = parse_events([*lines(STARTED), line, *lines(PROGRESS)])
    assert events == [STARTED, PROGRESS]
    board = Board(("en", "es"))
    for event in events:
        board.take(event)
    (row,) = event_rows(events, running=True)
    assert (row.done, row.total) == (1, 2)


def test_words_keep_nothing_that_steers_a_terminal():
    said = {"event": "warning", "time": 1.0, "message": "a\x1b]52;c;eA==\x07\u202eb\nc"}
    (event,) = parse_events(lines(said))
    assert event["message"] == "a\ufffd]52;c;eA==\ufffd\ufffdb\nc"


STAMP = Stamp("0123456789abcdef", "0.1.0", "s3://bucket/a store", first=2)


@pytest.mark.parametrize("first", ["00", "-1", "x", "", "²", "1" * 5000])
def test_a_description_whose_iteration_is_none_is_no_stamp(first):
    assert Stamp.parse(STAMP.text().replace("M_2", f"M_{first}")) is None


def test_a_stamp_comes_back_as_it_was():
    assert Stamp.parse(STAMP.text()) == STAMP
    assert Stamp.parse(STAMP.text({"report": "s3://bucket/report.html"})) == STAMP
    for text in (None, "", "by hand", f"{STAMP.text()}\n", "lidr " * 10_000):
        assert Stamp.parse(text) is None


def test_a_description_fits_into_kubeflows_column_and_keeps_the_first_links():
    report, mlflow = "s3://bucket/runs/r/report.html", "http://mlflow/#/models/" + "m" * 200
    text = STAMP.text({"report": report, "MLflow": mlflow})
    assert text.startswith(f"report: {report}\nlidr 0.1.0, ")
    assert len(text) <= MAX_CHARS and Stamp.parse(text) == STAMP
    for length in (MAX_CHARS - len(STAMP.text()) - 1, MAX_CHARS - len(STAMP.text())):
        text = STAMP.text({"a": "b" * (length - 3)})
        assert (len(text) <= MAX_CHARS, "a: " in text) == (True, len(text) == MAX_CHARS)


def test_a_very_long_address_of_a_store_goes_by_its_digest():
    recipe = read_recipe("tiny_world", None, [])
    one, other = (Stamp.of(recipe, f"s3://bucket/{'k' * 1000}{end}") for end in "ab")
    assert one != other and one.store.startswith("sha256:")
    assert len(one.text()) <= MAX_CHARS and Stamp.parse(one.text()) == one
