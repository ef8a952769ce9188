"""What models, files and servers say reaches a terminal as text: no escape code, no markup."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import printable
from lidr.pipelines.cli.console import PlainConsole
from lidr.pipelines.cli.status_table import open_table, print_status
from lidr.pipelines.cli.summary import print_summary
from lidr.pipelines.status import Status, StepRow
from tests.payloads import PAYLOADS
from tests.pipelines.conftest import FakeWorld, fake_world
from tests.terminals import drawn_on

__all__ = ["fake_world"]

SHORT = [text for text in PAYLOADS.values() if len(text) < 5000]

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
"""All but the ends of lines and tabs."""

_OURS = re.compile(r"\x1b\[(?:[0-9;]*m|1A|2K|\?25[lh])|\r")
"""What rich writes to colour and redraw; payloads with colours are looked for by themselves."""

_THEIRS = ("\x1b]", "\x1bP", "\x1b[2J", "\x1b[3J", "\x1bc", "\x1b[31;1m", "\x1b[8m", "\x1b[6n")


def require_text(shown: str):
    found = _CONTROL.search(shown)
    assert not found, repr(shown[max(0, found.start() - 40) : found.end() + 40])


def test_a_run_its_status_and_its_log_show_text(fake_world: FakeWorld):
    done = fake_world.lidr("run", "tiny_world", "--set", "gate.max_iterations=1", says=SHORT)
    assert done.returncode == 0
    require_text(done.stdout + done.stderr)
    assert done.stderr.count("warning: ") == len(SHORT) + 1
    name = fake_world.run.name
    raw = (fake_world.run / "logs" / "run.log").read_text("utf-8", "replace")
    assert "\x1b]52;" in raw, "the payloads were in what is shown"
    for arguments in (["status"], ["status", name], ["logs", name], ["logs", name, "pair"]):
        shown = fake_world.lidr(*arguments)
        assert shown.returncode == 0
        require_text(shown.stdout + shown.stderr)


def test_a_failure_quotes_its_cause_as_text(fake_world: FakeWorld):
    cause = " | ".join(SHORT)
    failed = fake_world.lidr("run", "tiny_world", pair="refuse", refusal=cause)
    assert failed.returncode == 2
    assert "pair: prompts/en.jsonl:7: " in failed.stderr
    require_text(failed.stdout + failed.stderr)
    shown = fake_world.lidr("status", fake_world.run.name)
    require_text(shown.stdout + shown.stderr)
    assert "failed" in shown.stdout


def test_on_a_terminal_only_our_own_codes_are_written(fake_world: FakeWorld):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        fake_world.command("run", "tiny_world", "--set", "gate.max_iterations=1"),
        env=fake_world.environment | {"TERM": "xterm", "FAKE": json.dumps({"says": SHORT})},
        stdout=theirs,
        stderr=theirs,
        stdin=theirs,
    )
    os.close(theirs)
    screen = drawn_on(ours)
    assert process.wait(timeout=60) == 0
    shown = screen.decode("utf-8", "replace")
    assert "\x1b[2K" in shown, "it was redrawn"
    assert not [code for code in _THEIRS if code in shown]
    require_text(_OURS.sub("", shown))


@pytest.mark.parametrize("name", PAYLOADS)
def test_tables_and_lines_show_a_payload_as_text(name, capsys):
    text = PAYLOADS[name]
    interval = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}
    row = StepRow(
        1, "train", "failed", done=1, total=2, unit=text, rate=1.0, rate_unit=text, note=text
    )
    print_status(Status(text, text, text, (row,), notes=(text,), links={"log": text}))
    with open_table() as show:
        show(Status(text, "failed", text, (row,), notes=(), links={}))
    entry = {
        "iteration": 0,
        "model": text,
        "accuracy": {"en": interval},
        "average": interval,
        "judged": {text: {"average": interval, "languages": {"en": interval}}},
        "decision": "start",
        "verdict": text,
        "promoted": True,
        "reason": text,
        "version": text,
    }
    entry |= {"truncated": {}, "average_truncated": 0.0}
    stopped = {"iteration": 1, "reason": text}
    told = {"dominant": "en", "others": ["es"], "iterations": [entry], "stopped": stopped}
    told["warnings"] = [text]
    print_summary({**told, "final_model": text, "report": text})
    captured = capsys.readouterr()
    require_text(captured.out + captured.err)


@pytest.mark.parametrize("name", PAYLOADS)
def test_no_markup_and_no_code_is_taken_from_text(name):
    text = PAYLOADS[name][:2000]
    sink = io.StringIO()
    console = PlainConsole(file=sink, force_terminal=True, width=200, soft_wrap=True)
    table = Table(text)
    table.add_row(text)
    for shown in (text, Text(text), table):
        console.print(shown)
    raw = sink.getvalue()
    assert "]8;" not in _OURS.sub("", raw).replace(printable("\x1b]8;"), "")
    require_text(_OURS.sub("", raw))
    if name == "markup":
        assert "[link=https://example.org/leak]click[/link] [bold red]red" in _OURS.sub("", raw)


def test_every_command_prints_on_the_console_that_keeps_text_text():
    folder = Path(__file__).parents[2] / "pipelines" / "cli"
    users = {
        file.name
        for file in folder.glob("*.py")
        if re.search(r"(?<!Plain)Console\(", file.read_text("utf-8"))
    }
    assert not users


def test_an_error_is_told_as_text(capsys, monkeypatch):
    from lidr.pipelines import cli

    def fail() -> None:
        raise BadInput(" ".join(SHORT), file="\x1b]0;x\x07", line=3, remedy="\x1b[2J")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    require_text(capsys.readouterr().err)
