"""The journal of a series of faults: JSON Lines, so that one that was interrupted counts too."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


class Journal:
    """Entries in a file, each written at once. It goes on with what it finds there.

    Args:
        file: of the entries.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        file.parent.mkdir(parents=True, exist_ok=True)

    def add(self, **entry: Any) -> None:
        """Append one entry, with the time."""
        with self._lock, self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 1), **entry}) + "\n")

    def entries(self) -> list[Entry]:
        """Return all entries, those of earlier sessions included."""
        if not self._file.exists():
            return []
        return [json.loads(line) for line in self._file.read_text("utf-8").splitlines()]


@dataclass(frozen=True)
class Row:
    """What became of the faults of one kind.

    Attributes:
        words: what was done.
        tried: how often, on runs that have ended and were compared.
        alone: after how many the run went on by itself.
        again: after how many it went on with the same command.
        equal: after how many it made the bytes of the undisturbed run.
    """

    words: str
    tried: int
    alone: int
    again: int
    equal: int


def rows(entries: Iterable[Entry]) -> list[Row]:
    """Return a row for each kind; faults on runs whose end is not known do not count."""
    every = list(entries)
    ends = {entry["life"]: entry["equal"] for entry in every if entry["entry"] == "end"}
    kills = [
        entry
        for entry in every
        if entry["entry"] == "kill" and entry["lives"] and set(entry["lives"]) <= set(ends)
    ]
    found = []
    for words in sorted({kill["words"] for kill in kills}):
        own = [kill for kill in kills if kill["words"] == words]
        again = sum(_needed_command(kill, every) for kill in own)
        equal = sum(all(ends[life] for life in kill["lives"]) for kill in own)
        found.append(Row(words, len(own), len(own) - again, again, equal))
    return found


def _needed_command(kill: Entry, every: list[Entry]) -> bool:
    """Tell whether a run that the fault met had to be submitted again before it met another one."""
    return any(
        attempt["entry"] == "attempt"
        and attempt["life"] in kill["lives"]
        and attempt["code"] != 0
        and attempt["begin"] <= kill["time"] <= attempt["time"]
        for attempt in every
    )


def counted(found: Iterable[Row]) -> Counter[str]:
    """Return the sums over all kinds."""
    total: Counter[str] = Counter()
    for row in found:
        total.update(tried=row.tried, alone=row.alone, again=row.again, equal=row.equal)
    return total


def markdown(found: Iterable[Row]) -> str:
    """Return the table as docs/reliability.md has it."""
    kept = list(found)
    sums = counted(kept)
    lines = [
        "| fault | times | went on by itself | with the same command | bytes as undisturbed |",
        "|---|---|---|---|---|",
        *(f"| {r.words} | {r.tried} | {r.alone} | {r.again} | {r.equal} |" for r in kept),
        f"| **all** | {sums['tried']} | {sums['alone']} | {sums['again']} | {sums['equal']} |",
    ]
    return "\n".join(lines)
