"""What a store holds: every stage with its files and what it was made from, in one listing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lidr.components.shared.lineage.graph import Node, Presence, reach, read_node
from lidr.components.shared.steps import STEPS
from lidr.components.shared.store.base import Entry, Store
from lidr.components.shared.store.marker import MARKER, RECORD
from lidr.components.shared.store.stage import Stage

_READERS = 8
_WEIGHTS = ("base", "source", "adapter")
_ASIDE = {name for step in STEPS for name in step.aside}
_MAKING = [step.name for step in STEPS if step.reads]
_LATER = _MAKING[: _MAKING.index("train") + 1]
"""Steps on the way from a model to the one that is trained from it."""


@dataclass(frozen=True)
class Holding:
    """A stage's folder.

    Attributes:
        node: the stage; GONE where it is unfinished.
        entries: its objects, marker and record among them.
    """

    node: Node
    entries: tuple[Entry, ...]

    @property
    def uri(self) -> str:
        """Where it is."""
        return self.node.uri

    @property
    def finished(self) -> bool:
        """Whether it is complete, or at least has a marker that nobody can read."""
        return self.node.presence in (Presence.WHOLE, Presence.DAMAGED)

    @property
    def newest(self) -> float:
        """When anything of it was last written, in seconds since 1970; see `newest_of`."""
        return newest_of(self.entries)

    def name(self, entry: Entry) -> str:
        """Return an object's name within the stage."""
        return entry.key.removeprefix(f"{self.node.stage.prefix}/")

    @property
    def files(self) -> tuple[Entry, ...]:
        """Its objects without marker and record."""
        return tuple(e for e in self.entries if self.name(e) not in (MARKER, RECORD))


@dataclass(frozen=True)
class Holdings:
    """All stages of a store, by URI."""

    store: Store
    stages: Mapping[str, Holding]

    def upstream(self, roots: Iterable[str]) -> set[str]:
        """Return stages and all that they were made from."""
        return self._reach(roots, lambda node: node.inputs.values())

    def needed(self, roots: Collection[str]) -> set[str]:
        """Return stages and what they were made from in the same iteration.

        That ends at the model that answered: it belongs to the iteration before. The weights under
        an adapter belong to it, and so do those that a stage `prepare` stands for.
        """

        def inputs(node: Node) -> list[str]:
            earlier = node.step == "train" and node.uri not in roots
            return [
                uri
                for name, uri in node.inputs.items()
                if name in _WEIGHTS or not (earlier or "/stages/train/" in uri)
            ]

        return self._reach(roots, inputs)

    def next_iteration(self, model: str) -> set[str]:
        """Return the stages that were made from a model, up to the models trained from it."""
        users: dict[str, list[str]] = defaultdict(list)
        for holding in self.stages.values():
            for name, uri in holding.node.inputs.items():
                if name not in _ASIDE:
                    users[uri].append(holding.uri)

        def following(uri: str) -> list[str]:
            trained = uri != model and "/stages/train/" in uri
            return [u for u in users[uri] if not trained or u.split("/")[-2] not in _LATER]

        return reach([model], following)

    def _reach(self, roots: Iterable[str], inputs: Callable[[Node], Iterable[str]]) -> set[str]:
        """Return the stages, among those of the store, that stages were made from."""

        def following(uri: str) -> Iterable[str]:
            return filter(self.stages.__contains__, inputs(self.stages[uri].node))

        return reach(filter(self.stages.__contains__, roots), following)


def newest_of(entries: Iterable[Entry]) -> float:
    """Return when the newest of a stage's objects was written; a record only marks a removal."""
    times = (entry.modified for entry in entries if not entry.key.endswith(f"/{RECORD}"))
    return max(times, default=0.0)


def read_holdings(store: Store) -> Holdings:
    """List a store's stages and read their markers.

    Raises:
        StoreError: the store cannot be read.
    """
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in store.list("stages"):
        parts = entry.key.split("/")
        if len(parts) > 3:
            groups["/".join(parts[:3])].append(entry)

    def held(prefix: str) -> Holding:
        entries = groups[prefix]
        marked = any(e.key in (f"{prefix}/{MARKER}", f"{prefix}/{RECORD}") for e in entries)
        stage = Stage(store, prefix)
        node = read_node(stage) if marked else Node(stage, Presence.GONE)
        return Holding(node, tuple(entries))

    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(held, groups))
    return Holdings(store, {holding.uri: holding for holding in found})
