"""What waits on the store to be logged to MLflow: small files, each written once.

    runs/<run>/tracking/recipe.json                       the resolved recipe
    runs/<run>/tracking/outbox/<place>/<name>.json        an entry
    runs/<run>/tracking/sent/<server>/<place>/<name>      marks the entry as delivered
    runs/<run>/tracking/<name>.json                       a note that delivery leaves for later

A place is `run` for the whole run, and `<iteration>-<step>` for a stage. A name begins with the
entry's kind: `start-<ms>`, `metrics-<last step>`, `failed-<ms>`, `end` (of the whole run:
`end-<digest of its result>`).
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict, dataclass
from typing import Any

from lidr.components.shared.core.json_files import read_object
from lidr.components.shared.store.base import Store
from lidr.components.shared.tracking.entries import PLACE, TrackingEntry

RUN = "run"
"""The place of the whole run."""

END = "end"
METRICS = "metrics"


def place_of(iteration: int, step: str) -> str:
    """Return the place of a stage."""
    return f"{iteration}-{step}"


def iteration_of(place: str) -> int | None:
    """Return the iteration of a stage's place; None for the whole run's."""
    return None if place == RUN else int(place.split("-", 1)[0])


def now_ms() -> int:
    """Return the time in milliseconds since 1970, as MLflow counts it."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Waiting:
    """What the outbox held when it was listed.

    Attributes:
        names: of all entries, by place; ordered by kind, within a kind by name.
        left: (place, name) of the entries that were not delivered yet, in the same order.
    """

    names: dict[str, list[str]]
    left: list[tuple[str, str]]


class Outbox:
    """The outbox of one run."""

    def __init__(self, store: Store, run: str) -> None:
        self.store = store
        self.run = run
        self._root = f"runs/{run}/tracking"

    def write_recipe(self, recipe: str) -> None:
        """Write the run's resolved recipe, which its MLflow runs show, unless it is there."""
        self.store.create(f"{self._root}/recipe.json", recipe.encode())

    def begun(self) -> bool:
        """Return whether a step of the run has written anything."""
        return self.store.exists(f"{self._root}/recipe.json")

    def recipe(self) -> dict[str, Any]:
        """Return the resolved recipe."""
        key = f"{self._root}/recipe.json"
        found: dict[str, Any] = read_object(self.store.read(key), f"{self.store.uri}/{key}", {})
        return found

    def add(self, entry: TrackingEntry) -> bool:
        """Write an entry; False if there is one of its name already."""
        data = json.dumps(asdict(entry), ensure_ascii=False).encode("utf-8", "replace")
        return self.store.create(self._key(entry.place, entry.name), data)

    def has(self, place: str, name: str) -> bool:
        """Return whether an entry was written."""
        return self.store.exists(self._key(place, name))

    def has_ended(self) -> bool:
        """Return whether the run has ended before: one that was stopped may go on."""
        names = (each.key.rsplit("/", 1)[-1] for each in self.store.list(self._folder(RUN)))
        return any(name.startswith(f"{END}-") for name in names)

    def steps_reported(self, place: str) -> int:
        """Return the last optimizer step whose metrics are in the outbox already; 0 for none."""
        names = [each.key.rsplit("/", 1)[-1] for each in self.store.list(self._folder(place))]
        steps = [int(found[1]) for name in names if (found := _METRICS.fullmatch(name))]
        return max(steps, default=0)

    def read(self, place: str, name: str) -> TrackingEntry:
        """Return an entry.

        Raises:
            BadInput: it is damaged.
        """
        key = self._key(place, name)
        return TrackingEntry.parse(self.store.read(key), f"{self.store.uri}/{key}")

    def waiting(self, server: str) -> Waiting:
        """List the outbox for delivery to a server, as `runs.server_of` names it."""
        keys = [entry.key for entry in self.store.list(self._root)]
        begin, sent = f"{self._root}/outbox/", f"{self._root}/sent/{server}/"
        done = {key.removeprefix(sent) for key in keys if key.startswith(sent)}
        own = (key.removeprefix(begin) for key in keys if key.startswith(begin))
        paths = filter(_PATH.fullmatch, (key.removesuffix(".json") for key in own))
        names: dict[str, list[str]] = {}
        for each in sorted(paths, key=_order):
            place, _, name = each.partition("/")
            names.setdefault(place, []).append(name)
        left = [(place, name) for place in names for name in names[place]]
        return Waiting(names, [each for each in left if "/".join(each) not in done])

    def mark_sent(self, server: str, place: str, name: str) -> None:
        """Mark an entry as delivered."""
        self.store.write(f"{self._root}/sent/{server}/{place}/{name}", b"")

    def forget_sent(self, server: str, place: str) -> None:
        """Delete the marks of a place's delivered entries: their MLflow run is gone."""
        for entry in self.store.list(f"{self._root}/sent/{server}/{place}"):
            self.store.delete(entry.key)

    def read_note(self, name: str) -> dict[str, Any] | None:
        """Return a note that delivery left for later, or None."""
        try:
            return self._read_note(name)
        except FileNotFoundError:
            return None

    def write_note_once(self, name: str, content: dict[str, Any]) -> dict[str, Any]:
        """Write a note unless another writer was first; return the note that is there now."""
        key = f"{self._root}/{name}.json"
        if self.store.create(key, json.dumps(content).encode()):
            return content
        return self._read_note(name)

    def delete_note(self, name: str) -> None:
        """Delete a note."""
        self.store.delete(f"{self._root}/{name}.json")

    def _read_note(self, name: str) -> dict[str, Any]:
        key = f"{self._root}/{name}.json"
        note: dict[str, Any] = read_object(
            self.store.read(key), f"{self.store.uri}/{key}", {"run": str}, {"experiment": str}
        )
        return note

    def _key(self, place: str, name: str) -> str:
        return f"{self._folder(place)}/{name}.json"

    def _folder(self, place: str) -> str:
        return f"{self._root}/outbox/{place}"


_PATH = re.compile(rf"(?:{PLACE.pattern})/(?:(?:start|metrics|failed)-\d{{1,18}}|end(?:-\w+)?)")
_METRICS = re.compile(r"metrics-(\d{1,18})\.json")
_KINDS = ("start", METRICS, "failed", END)


def _order(path: str) -> tuple[int, str, int, str]:
    """Sort by iteration, the whole run first; within a place by kind."""
    place, _, name = path.partition("/")
    iteration = iteration_of(place)
    kind = name.split("-", 1)[0]
    return (-1 if iteration is None else iteration, place, _KINDS.index(kind), name)
