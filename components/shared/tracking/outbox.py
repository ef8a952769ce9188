"""What waits on the store to be told to MLflow: small files, each written once.

    runs/<run>/tracking/recipe.json                       the resolved recipe
    runs/<run>/tracking/outbox/<place>/<name>.json         an entry
    runs/<run>/tracking/sent/<server>/<place>/<name>      the mark of a delivered one

A place is `run` for the whole run, and `<iteration>-<step>` for a stage. A name begins with the
entry's kind: `start-<ms>`, `metrics-<last step>`, `failed-<ms>`, `end`.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict, dataclass
from typing import Any

from lidr.components.shared.core.json_files import read_object
from lidr.components.shared.store.base import Store
from lidr.components.shared.tracking.entries import TrackingEntry

RUN = "run"
"""The place of the whole run."""

END = "end"
METRICS = "metrics"


def place_of(iteration: int, step: str) -> str:
    """Return the place of a stage."""
    return f"{iteration}-{step}"


def iteration_of(place: str) -> int | None:
    """Return the iteration that a place belongs to; None for the whole run."""
    return None if place == RUN else int(place.split("-", 1)[0])


def now() -> int:
    """Return the time in milliseconds since 1970, as MLflow counts it."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Waiting:
    """What the outbox held when it was listed.

    Attributes:
        names: the names of all entries by place, in the order of their writing as far as known.
        left: (place, name) of those that were not delivered yet; the oldest kind comes first.
    """

    names: dict[str, list[str]]
    left: list[tuple[str, str]]


class Outbox:
    """The outbox of one run.

    Args:
        store: where the run is.
        run: its name.
    """

    def __init__(self, store: Store, run: str) -> None:
        self.store = store
        self.run = run
        self._root = f"runs/{run}/tracking"

    def keep_recipe(self, recipe: str) -> None:
        """Keep the run's resolved recipe, which every entry's MLflow run shows."""
        self.store.create(f"{self._root}/recipe.json", recipe.encode())

    def begun(self) -> bool:
        """Tell whether a step of the run has noted anything."""
        return self.store.exists(f"{self._root}/recipe.json")

    def recipe(self) -> dict[str, Any]:
        """Return the resolved recipe."""
        key = f"{self._root}/recipe.json"
        found: dict[str, Any] = read_object(self.store.read(key), f"{self.store.uri}/{key}", {})
        return found

    def add(self, entry: TrackingEntry) -> bool:
        """Write an entry, unless there is one of its name already."""
        data = json.dumps(asdict(entry), ensure_ascii=False).encode("utf-8", "replace")
        return self.store.create(self._key(entry.place, entry.name), data)

    def has(self, place: str, name: str) -> bool:
        """Tell whether an entry was written."""
        return self.store.exists(self._key(place, name))

    def has_ended(self) -> bool:
        """Tell whether the run has come to an end before: one that was stopped may go on."""
        return any(f"/{END}-" in entry.key for entry in self.store.list(self._folder(RUN)))

    def steps_reported(self, place: str) -> int:
        """Return the last optimizer step whose metrics are in the outbox already; 0 for none."""
        names = [each.key.rsplit("/", 1)[-1] for each in self.store.list(self._folder(place))]
        told = [found[1] for name in names if (found := _METRICS.fullmatch(name))]
        return max(map(int, told), default=0)

    def read(self, place: str, name: str) -> TrackingEntry:
        """Return an entry.

        Raises:
            BadInput: it is damaged.
        """
        key = self._key(place, name)
        return TrackingEntry.parse(self.store.read(key), f"{self.store.uri}/{key}")

    def waiting(self, server: str) -> Waiting:
        """List the outbox.

        Args:
            server: whom entries are delivered to.
        """
        keys = [entry.key for entry in self.store.list(self._root)]
        begin, sent = f"{self._root}/outbox/", f"{self._root}/sent/{server}/"
        done = {key.removeprefix(sent) for key in keys if key.startswith(sent)}
        found = [
            key.removeprefix(begin).removesuffix(".json") for key in keys if key.startswith(begin)
        ]
        found = [
            path for path in found if _PATH.fullmatch(path)
        ]  # what else lies there is not ours
        names: dict[str, list[str]] = {}
        for each in sorted(found, key=_order):
            place, _, name = each.partition("/")
            names.setdefault(place, []).append(name)
        left = [(place, name) for place in names for name in names[place]]
        return Waiting(names, [each for each in left if "/".join(each) not in done])

    def mark(self, server: str, place: str, name: str) -> None:
        """Note that an entry was delivered."""
        self.store.write(f"{self._root}/sent/{server}/{place}/{name}", b"")

    def forget(self, server: str, place: str) -> None:
        """Forget that a place's entries were delivered: the MLflow run they went to is gone."""
        for entry in self.store.list(f"{self._root}/sent/{server}/{place}"):
            self.store.delete(entry.key)

    def note(self, name: str) -> dict[str, Any] | None:
        """Return a note that delivery left for later, or None."""
        try:
            return self._read_note(name)
        except FileNotFoundError:
            return None

    def agree(self, name: str, content: dict[str, Any]) -> dict[str, Any]:
        """Leave a note unless another writer was first; return the one that stands."""
        key = f"{self._root}/{name}.json"
        if self.store.create(key, json.dumps(content).encode()):
            return content
        return self._read_note(name)

    def drop(self, name: str) -> None:
        """Remove a note."""
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


_PATH = re.compile(r"(?:run|\d{1,9}-[a-z_-]+)/(?:(?:start|metrics|failed)-\d{1,18}|end(?:-\w+)?)")
_METRICS = re.compile(r"metrics-(\d{1,18})\.json")
_KINDS = ("start", METRICS, "failed", END)


def _order(path: str) -> tuple[int, str, int, str]:
    """Sort by iteration; the whole run comes first, and within a place the kinds in their order."""
    place, _, name = path.partition("/")
    iteration = iteration_of(place)
    kind = name.split("-", 1)[0]
    return (-1 if iteration is None else iteration, place, _KINDS.index(kind), name)
