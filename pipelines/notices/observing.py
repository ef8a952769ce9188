"""Notices about a run in progress: steps that wait long, and steps that make no progress.

Each check compares with `runs/<run>/notices/seen.json`, which says since when every open step of
this execution has had its present progress. So it does not matter which process checks, how often,
or after which restart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lidr.components.shared.config.notify import Notify
from lidr.components.shared.core.json_files import is_finite
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import run_key
from lidr.pipelines.notices.notice import Notice, of_silence, of_wait
from lidr.pipelines.status import Status, StepRow, step_title


@dataclass(frozen=True)
class OpenStep:
    """A step that is waiting or running.

    Attributes:
        row: its state and progress.
        since: when this state and progress were first seen, in seconds since 1970.
    """

    row: StepRow
    since: float

    @property
    def place(self) -> str:
        """The step's name for people, e.g. `M_1 train`."""
        return step_title(self.row.iteration, self.row.step)

    def minutes(self, now: float) -> float:
        """Return for how many minutes it has made no progress."""
        return max(now - self.since, 0.0) / 60


def observe(store: Store, status: Status, execution: str, now: float) -> list[OpenStep]:
    """Return a run's open steps, each with the time of its last progress.

    Args:
        store: the run's; `seen.json` is updated there.
        status: the run's.
        execution: id of the present one; steps of another one do not count.
        now: seconds since 1970.
    """
    before, seen, steps = _seen(store, status.run, execution), {}, []
    for row in status.rows:
        if row.state not in ("waiting", "running"):
            continue
        name, progress = f"{row.iteration}/{row.step}", f"{row.state} {row.done}"
        known = before.get(name, {})
        since = float(known["since"]) if known.get("progress") == progress else now
        seen[name] = {"progress": progress, "since": since}
        steps.append(OpenStep(row, since))
    if seen != before:
        content = {"execution": execution, "steps": seen}
        store.write(_seen_key(status.run), json.dumps(content).encode())
    return steps


def notices_of(run: str, steps: list[OpenStep], settings: Notify, now: float) -> Iterator[Notice]:
    """Yield the notices that open steps call for; a step without progress keeps its notice's name.

    Args:
        run: its name.
        steps: from `observe`.
        settings: says after how many minutes to notify; 0 is never.
        now: seconds since 1970.
    """
    for step in steps:
        minutes, row = step.minutes(now), step.row
        if row.state == "waiting" and 0 < settings.waiting_minutes <= minutes:
            yield of_wait(run, step.place, minutes, step.since, row.note)
        if row.state == "running" and 0 < settings.silent_minutes <= minutes:
            progress = f"{row.done:,} of {row.total:,} {row.unit}" if row.total else ""
            yield of_silence(run, step.place, minutes, step.since, progress)


def _seen(store: Store, run: str, execution: str) -> dict[str, dict[str, Any]]:
    """Return what the last check saw; empty at the first one, or where the file is unreadable."""
    try:
        found = json.loads(store.read(_seen_key(run)))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or found.get("execution") != execution:
        return {}
    steps = found.get("steps")
    return {
        name: known
        for name, known in (steps if isinstance(steps, dict) else {}).items()
        if isinstance(known, dict) and is_finite(known.get("since"))
    }


def _seen_key(run: str) -> str:
    return run_key(run, "notices/seen.json")
