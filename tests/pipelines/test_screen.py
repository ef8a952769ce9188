"""The screen of `lidr run`, on a terminal and elsewhere."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console

from lidr.pipelines.cli.board import Board, progress_text, seconds_text
from lidr.pipelines.cli.screen import LinePrinter, draw, open_screen
from lidr.pipelines.cli.summary import print_summary
from tests.fakes import make_recipe
from tests.pipelines.conftest import FakeWorld
from tests.terminals import drawn_on

EVENTS = [
    {"event": "started", "step": "prepare", "iteration": -1},
    {"event": "finished", "step": "prepare", "seconds": 75.3},
    {"event": "started", "step": "evaluate", "iteration": 0},
    {"step": "evaluate", "event": "accuracy", "iteration": 0, "language": "en", "value": 1.0},
    {"step": "evaluate", "event": "accuracy", "iteration": 0, "language": "es", "value": 0.46},
    {"step": "evaluate", "event": "accuracy", "iteration": 0, "language": "de", "value": 0.5},
    {"event": "finished", "step": "evaluate", "seconds": 8.25},
    {"event": "started", "step": "state", "iteration": 0},
    {"event": "finished", "step": "state", "seconds": 0.0},
    {"event": "started", "step": "generate", "iteration": 1},
    {"event": "reused", "step": "generate"},
    {"event": "finished", "step": "generate", "seconds": 0.1},
    {"event": "started", "step": "pair", "iteration": 1},
    {"step": "pair", "event": "number", "name": "pairs", "value": "18 of 20"},
    {"step": "pair", "event": "warning", "message": "the reward of [red]es[/red] looks inverted"},
    {"step": "pair", "event": "note", "message": "engine: transformers"},
    {"event": "finished", "step": "pair", "seconds": 61.0},
    {"event": "started", "step": "train", "iteration": 1},
    {
        "event": "progress",
        "step": "train",
        "done": 20,
        "total": 57,
        "unit": "steps",
        "rate": 3204.4,
        "rate_unit": "tokens",
        "seconds_left": 12,
    },
]


def board_after(events) -> Board:
    board = Board(("en", "es", "de"))
    for event in events:
        board.take(event)
    return board


def drawn(board: Board, width: int = 90) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(draw(board, "lidr run mine", 150))
    return console.export_text()


def test_every_event_has_its_place():
    text = drawn(board_after(EVENTS))
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines[0] == "lidr run mine · 2:30 min"
    assert lines[1] == " M_0  prepare 1:15 min · evaluate 8.2 s"
    assert lines[2] == " M_1  generate reused · pair 1:01 min"
    assert lines[3].startswith("   ▸  train")
    assert lines[3].endswith("20/57 steps, 3,204 tokens/s, 12 s left")
    assert ["M_0", "100.0%", "46.0%", "50.0%", "48.0%"] in [line.split() for line in lines]
    assert "M_1 pair: pairs 18 of 20" in text
    assert "[red]es[/red]" in text


def test_an_average_is_over_the_other_languages_that_are_measured():
    none, some, everything = (board_after(EVENTS[:count]) for count in (4, 5, 6))
    assert none.average(none.accuracy[0]) is None
    assert some.average(some.accuracy[0]) == 0.46
    assert everything.average(everything.accuracy[0]) == 0.48


def many_languages() -> Board:
    board = Board(("en", *(f"l{number}" for number in range(19))))
    for number, code in enumerate(board.languages):
        score = {"iteration": 0, "language": code, "value": 0.61 - number / 100}
        board.take({"step": "evaluate", "event": "accuracy", **score})
    return board


@pytest.mark.parametrize("width", [50, 80, 120])
def test_narrow_terminal_shows_the_dominant_language_the_average_and_the_lowest(width: int):
    lines = drawn(many_languages(), width).splitlines()
    assert "accuracy en others lowest" in [" ".join(line.split()) for line in lines]
    assert ["M_0", "61.0%", "51.0%", "l18", "42.0%"] in [line.split() for line in lines]


def test_wide_terminal_shows_every_language():
    lines = drawn(many_languages(), 200).splitlines()
    scores = [f"{61 - number}.0%" for number in range(20)]
    assert ["M_0", *scores, "51.0%"] in [line.split() for line in lines]


@pytest.mark.parametrize("terminal", ["dumb", "unknown"])
def test_terminal_that_cannot_redraw_gets_lines(terminal: str, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", terminal)
    with open_screen(make_recipe(), "mine") as take:
        take(EVENTS)
    assert "M_0 evaluate 8.2 s" in capsys.readouterr().err.splitlines()


def test_without_a_terminal_there_is_a_line_for_each_step(capsys):
    lines = LinePrinter(Board(("en", "es", "de")))
    for event in EVENTS:
        lines.take([event])
    assert capsys.readouterr().err.splitlines() == [
        "M_0 prepare 1:15 min",
        "M_0 evaluate 8.2 s",
        "M_0 accuracy: en 100.0%, es 46.0%, de 50.0%",
        "M_1 generate reused",
        "M_1 pair: pairs 18 of 20",
        "M_1 pair: warning: the reward of [red]es[/red] looks inverted",
        "M_1 pair 1:01 min",
    ]


def test_truncation_stands_beside_every_accuracy(capsys):
    cut = [
        event | {"truncated": 0.25} if event["event"] == "accuracy" else event for event in EVENTS
    ]
    text = " ".join(drawn(board_after(cut)).split())
    assert "M_0 100.0% 46.0% 50.0% 48.0% (25.0% cut) (25.0% cut) (25.0% cut) (25.0% cut)" in text
    lines = LinePrinter(Board(("en", "es", "de")))
    lines.take(cut)
    said = "M_0 accuracy: en 100.0% (25.0% cut), es 46.0% (25.0% cut), de 50.0% (25.0% cut)"
    assert said in capsys.readouterr().err.splitlines()


def test_long_silence_is_broken_by_progress(capsys, monkeypatch):
    monkeypatch.setattr("lidr.pipelines.cli.screen._QUIET_SECONDS", -1.0)
    LinePrinter(board_after(EVENTS)).take([])
    assert "M_1 train: 20/57 steps" in capsys.readouterr().err


def test_words_for_numbers():
    words = [seconds_text(seconds) for seconds in (0.04, 9.9, 59.4, 61, 3599, 3600, 81060)]
    assert words == [
        "0.0 s",
        "9.9 s",
        "59 s",
        "1:01 min",
        "59:59 min",
        "1:00 h",
        "22:31 h",
    ]
    assert progress_text({"done": 5, "total": 5, "unit": "steps", "seconds_left": 0}) == "5/5 steps"
    writing = {"done": 0, "total": 9, "unit": "requests", "amount": 1234, "rate": 56.2}
    assert progress_text(writing | {"rate_unit": "tokens"}) == (
        "0/9 requests, 1,234 tokens, 56 tokens/s"
    )
    stepping = writing | {"unit": "steps", "rate_unit": "steps"}
    assert progress_text(stepping) == "0/9 steps, 56 steps/s", "they are counted already"


def test_the_summary_names_models_verdicts_and_the_report(capsys):
    score = {"value": 0.461, "low": 0.42, "high": 0.5, "n": 300}
    entry = {
        "iteration": 0,
        "model": "/store/stages/prepare/abc",
        "accuracy": {"en": score, "es": score},
        "average": score,
        "truncated": {"en": 0.0, "es": 0.123},
        "average_truncated": 0.123,
        "judged": {
            "mt_bench": {
                "average": {**score, "value": 0.712},
                "languages": {"en": {"value": 0.0, "low": 0.0, "high": 1.0, "n": 0}},
            }
        },
        "decision": "start",
        "verdict": "continue",
        "promoted": True,
        "reason": "the start [x]",
        "version": "mine/1",
    }
    print_summary(
        {
            "dominant": "en",
            "others": ["es"],
            "iterations": [entry],
            "final_model": "/store/stages/prepare/abc",
            "warnings": ["M₀: answers were cut"],
            "report": "/store/runs/mine/report.html",
        }
    )
    text = capsys.readouterr().out
    for part in ("46.1", "42.0-50.0", "mine/1", "the start [x]", "report.html", "final model"):
        assert part in text
    assert "12.3 cut" in text and "0.0 cut" in text, "truncation stands beside every accuracy"
    assert "warning: M₀: answers were cut" in text
    judged = text[text.index("judged: mt_bench") :]
    assert "71.2" in judged
    assert "0.0\n" not in judged, "what was not measured is no zero"


CARE = {"step": "judge", "event": "judged", "iteration": 1, "task": "care"}

JUDGED = [
    {"event": "started", "step": "judge", "iteration": 1},
    {
        "step": "judge",
        "event": "judged",
        "iteration": 1,
        "task": "care",
        "language": "es",
        "value": 0.61,
    },
    {
        "step": "judge",
        "event": "judged",
        "iteration": 1,
        "task": "care",
        "language": "de",
        "value": 0.63,
    },
    {"event": "finished", "step": "judge", "seconds": 3.0},
]


def test_a_judge_has_a_table_of_its_own(capsys):
    board = board_after([*EVENTS, *JUDGED])
    text = drawn(board)
    table = text[text.index("care") :]
    assert "61.0%" in table and "63.0%" in table and "62.0%" in table, "the average of the others"
    lines = LinePrinter(Board(("en", "es", "de")))
    lines.take(JUDGED)
    assert "M_1 care: es 61.0%, de 63.0%" in capsys.readouterr().err


def test_on_a_terminal_the_screen_goes_and_the_summary_stays(fake_world: FakeWorld):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        fake_world.command("run", "tiny_world", "--set", "gate.max_iterations=1"),
        env=fake_world.environment | {"TERM": "xterm", "COLUMNS": "100", "FAKE": '{"sleep": 0.1}'},
        stdout=subprocess.PIPE,
        stderr=theirs,
        stdin=theirs,
    )
    os.close(theirs)
    screen = drawn_on(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "▸  ".encode() in screen
    assert b"KFP" not in screen + out
    assert screen.rstrip().endswith(b"\x1b[2K") or b"\x1b[1A\x1b[2K" in screen
    assert b"M_1" in out and b"report" in out


def test_events_of_a_real_run_are_json_lines(fake_world: FakeWorld):
    fake_world.lidr("run", "tiny_world", "--set", "gate.max_iterations=1")
    lines = (fake_world.run / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert {"started", "progress", "finished", "accuracy", "number", "warning"} <= {
        event["event"] for event in events
    }


def test_shards_run_side_by_side():
    events = [
        {"event": "started", "step": "generate", "iteration": 1, "shard": "1/2"},
        {"event": "started", "step": "generate", "iteration": 1, "shard": "2/2"},
        {"event": "finished", "step": "generate", "shard": "1/2", "seconds": 2.0},
        {
            "event": "progress",
            "step": "generate",
            "shard": "2/2",
            "done": 5,
            "total": 9,
            "unit": "requests",
            "failures": {"truncated": 2},
        },
        {"event": "started", "step": "translate", "iteration": 1, "shard": "1/2"},
    ]
    lines = [line.strip() for line in drawn(board_after(events)).splitlines()]
    assert lines[1] == "M_1  generate 1/2 2.0 s"
    assert lines[2].startswith("▸  generate 2/2")
    assert lines[2].endswith("5/9 requests, 2 truncated")
    assert lines[3].startswith("▸  translate 1/2")


def failed_shard(shard: str) -> list[dict]:
    about = {"step": "generate", "shard": shard}
    return [
        {"event": "started", "iteration": 1, **about},
        {"event": "progress", "done": 5, "total": 9, "unit": "requests", **about},
        {"event": "failed", "message": "the engine died", "exit_code": 1, **about},
    ]


def test_shard_that_fails_runs_no_more_and_says_why(capsys, monkeypatch):
    other = {"event": "started", "step": "generate", "iteration": 1, "shard": "2/3"}
    board = board_after([other, *failed_shard("1/3")])
    assert [step.shard for step in board.running] == ["2/3"]
    assert board.messages == ["M_1 generate 1/3: failed: the engine died"]
    assert "▸  generate 1/3" not in drawn(board)

    monkeypatch.setattr("lidr.pipelines.cli.screen._QUIET_SECONDS", -1.0)
    LinePrinter(Board(("en", "es", "de"))).take([other, *failed_shard("1/3")])
    said = capsys.readouterr().err.splitlines()
    assert said == ["M_1 generate 1/3: failed: the engine died"], "no more of its progress"


def test_step_that_fails_alone_says_so_only_at_the_end_of_the_run():
    board = board_after(failed_shard(""))
    assert (board.running, board.messages) == ([], [])
