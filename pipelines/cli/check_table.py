"""Prints the findings of a check, as a table or as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from lidr.pipelines.checks.finding import Finding
from lidr.pipelines.cli.console import PlainConsole, live_console
from lidr.pipelines.cli.status_table import table_width

_STYLES = {"ok": "green", "missing": "bold red", "unknown": "yellow"}

Found = Mapping[str, Sequence[Finding]]
"""Findings by subject."""


@contextmanager
def show_spinner(subjects: Collection[str]) -> Iterator[None]:
    """Show on a terminal what is being checked."""
    if (console := live_console()) is None:
        yield
        return

    with console.status(f"checking {', '.join(subjects)}"):
        yield


def print_json(found: Found) -> None:
    """Print `findings` (subject, name, state, detail, remedy) and how many there are by state."""
    rows = [{"subject": name, **asdict(each)} for name, every in found.items() for each in every]
    counts = Counter(row["state"] for row in rows)
    print(json.dumps({"findings": rows, **{state: counts[state] for state in _STYLES}}))


def print_findings(found: Found) -> None:
    """Print a table with details and remedies, then a one-line summary."""
    console = PlainConsole(width=table_width())
    table = Table("subject", "what", "state", "", box=SIMPLE_HEAD)
    for subject, findings in found.items():
        for number, each in enumerate(findings):
            detail = Text(each.detail)
            if each.remedy and each.state != "ok":
                detail.append(f"\n{each.remedy}", style="italic")
            state = Text(each.state, style=_STYLES[each.state])
            table.add_row("" if number else subject, Text(each.name), state, detail)
    console.print(table)
    console.print(_summary(found), soft_wrap=True)


def _summary(found: Found) -> str:
    every = [each for findings in found.values() for each in findings]
    lacking = [each.name for each in every if each.state == "missing"]
    unseen = sum(each.state == "unknown" for each in every)
    tail = f"; {unseen} could not be checked from here" if unseen else ""
    if lacking:
        return f"{len(lacking)} missing: {', '.join(lacking)}{tail}."
    return f"Nothing is missing ({len(every) - unseen} checked){tail}."
