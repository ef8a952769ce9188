"""The events file of a run, torn, edited and hostile; and what servers keep of a run."""

from __future__ import annotations

import json

import pytest

from lidr.pipelines.cli.board import Board
from lidr.pipelines.events import parse_events
from lidr.pipelines.local_status import event_rows
from lidr.pipelines.stamp import Stamp

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


STAMP = {"run": "r", "recipe": "ab", "version": "1", "store": "s3://b", "first": "2"}


@pytest.mark.parametrize("first", ["00", "-1", "x", "", "²", "1" * 5000, 1, None, ["1"]])
def test_a_description_whose_iteration_is_none_is_no_stamp(first):
    assert Stamp.parse(json.dumps(STAMP | {"first": first})) is None


def test_a_stamp_comes_back_as_it_was():
    stamp = Stamp.parse(json.dumps(STAMP))
    assert stamp == Stamp(**STAMP)
    assert Stamp.parse("[" * 100_000) is None
