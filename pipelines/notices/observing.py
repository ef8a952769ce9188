"""What of a run that is under way is worth a notice: long waits, and steps that stand still.

Each look compares with `runs/<run>/notices/seen.json`: since when every open step has been as far
as it is. So it does not matter who looks, how often, or whether the last looker was restarted.
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
from lidr.pipelines.status import END, Status, StepRow


@dataclass(frozen=True)
class OpenStep:
    """A step that waits or runs.

    Attributes:
        row: how far it is.
        since: when it was first seen as far, in seconds since 1970.
    """

    row: StepRow
    since: float

    @property
    def place(self) -> str:
        """The step as people call it, e.g. `M_1 train`."""
        row = self.row
        return row.step if row.iteration == END else f"M_{row.iteration} {row.step}"

    def minutes(self, now: float) -> float:
        """Return for how long it has been as far as it is."""
        return max(now - self.since, 0.0) / 60


def observe(store: Store, status: Status, now: float) -> list[OpenStep]:
    """Return a run's open steps, each with the time since when it stands where it stands.

    Args:
        store: that the run is on; what was seen is kept there.
        status: of the run.
        now: seconds since 1970.
    """
    before, seen, steps = _seen(store, status.run), {}, []
    for row in status.rows:
        if row.state not in ("waiting", "running"):
            continue
        name, far = f"{row.iteration}/{row.step}", f"{row.state} {row.done}"
        known = before.get(name, {})
        since = float(known["since"]) if known.get("far") == far else now
        seen[name] = {"far": far, "since": since}
        steps.append(OpenStep(row, since))
    if seen != before:
        store.write(_seen_key(status.run), json.dumps(seen).encode())
    return steps


def notices_of(run: str, steps: list[OpenStep], settings: Notify, now: float) -> Iterator[Notice]:
    """Yield what is to be told of open steps; each has one notice for as long as it stands there.

    Args:
        run: its name.
        steps: as `observe` gives them.
        settings: how long is too long.
        now: seconds since 1970.
    """
    for step in steps:
        minutes, row = step.minutes(now), step.row
        if row.state == "waiting" and 0 < settings.waiting_minutes <= minutes:
            yield of_wait(run, step.place, minutes, step.since, row.note)
        if row.state == "running" and 0 < settings.silent_minutes <= minutes:
            far = f"{row.done:,} of {row.total:,} {row.unit}" if row.total else ""
            yield of_silence(run, step.place, minutes, step.since, far)


def _seen(store: Store, run: str) -> dict[str, dict[str, Any]]:
    """Return what the last look has seen; nothing where it cannot be read, as at the first one."""
    try:
        found = json.loads(store.read(_seen_key(run)))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        name: known
        for name, known in found.items()
        if isinstance(known, dict) and is_finite(known.get("since"))
    }


def _seen_key(run: str) -> str:
    return run_key(run, "notices/seen.json")
