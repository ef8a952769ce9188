"""All stages of a store, each with its files and the stages it was made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lidr.components.shared.lineage.graph import Node, Presence, reach, read_node
from lidr.components.shared.steps import STEPS
from lidr.components.shared.store.base import Entry, Store
from lidr.components.shared.store.marker import MARKER, PRUNED_MARKER
from lidr.components.shared.store.stage import Stage

_READ_THREADS = 8
_WEIGHT_INPUTS = ("base", "source", "adapter")
_INPUTS_OF_ANY_ITERATION = {name for step in STEPS for name in step.any_iteration}
_READING_STEPS = [step.name for step in STEPS if step.reads]
_STEPS_UP_TO_TRAIN = _READING_STEPS[: _READING_STEPS.index("train") + 1]
"""Steps from a model to the one that is trained from it."""


@dataclass(frozen=True)
class StoredStage:
    """A stage and its objects.

    Attributes:
        node: the stage; read as GONE while it has no marker, so that its inputs are unknown.
        entries: its objects, with its marker or pruned marker.
    """

    node: Node
    entries: tuple[Entry, ...]

    @property
    def uri(self) -> str:
        """The stage's URI."""
        return self.node.uri

    @property
    def finished(self) -> bool:
        """Whether it has a marker, readable or not, that was not put aside."""
        return any(self.name(entry) == MARKER for entry in self.entries)

    @property
    def newest(self) -> float:
        """When anything of it was last written, in seconds since 1970; see `newest_of`."""
        return newest_of(self.entries)

    def name(self, entry: Entry) -> str:
        """Return an object's name within the stage."""
        return entry.key.removeprefix(f"{self.node.stage.prefix}/")

    @property
    def files(self) -> tuple[Entry, ...]:
        """Its objects without the markers."""
        return tuple(e for e in self.entries if self.name(e) not in (MARKER, PRUNED_MARKER))


@dataclass(frozen=True)
class StoredStages:
    """All stages of a store, by URI."""

    store: Store
    by_uri: Mapping[str, StoredStage]

    def upstream(self, roots: Iterable[str]) -> set[str]:
        """Return stages and all that they were made from."""
        return self._reach(roots, lambda node: node.inputs.values())

    def needed(self, roots: Collection[str]) -> set[str]:
        """Return stages and what they were made from in the same iteration.

        Leaves out models of earlier iterations, unless an adapter is added to them or a `prepare`
        stage points to them.
        """

        def inputs(node: Node) -> list[str]:
            earlier = node.step == "train" and node.uri not in roots
            return [
                uri
                for name, uri in node.inputs.items()
                if name in _WEIGHT_INPUTS or not (earlier or "/stages/train/" in uri)
            ]

        return self._reach(roots, inputs)

    def next_iteration(self, model: str) -> set[str]:
        """Return a model and the stages of the iteration that starts from it.

        Of what was made from the models trained there, these are the evaluations, judgements,
        decisions and registrations, but not the stages of a later iteration.
        """
        users: dict[str, list[str]] = defaultdict(list)
        for stage in self.by_uri.values():
            for name, uri in stage.node.inputs.items():
                if name not in _INPUTS_OF_ANY_ITERATION:
                    users[uri].append(stage.uri)

        def following(uri: str) -> list[str]:
            trained = uri != model and "/stages/train/" in uri
            return [
                u for u in users[uri] if not trained or u.split("/")[-2] not in _STEPS_UP_TO_TRAIN
            ]

        return reach([model], following)

    def _reach(self, roots: Iterable[str], inputs: Callable[[Node], Iterable[str]]) -> set[str]:
        """Return the given stages and those they were made from, as far as the store has them."""

        def following(uri: str) -> Iterable[str]:
            return filter(self.by_uri.__contains__, inputs(self.by_uri[uri].node))

        return reach(filter(self.by_uri.__contains__, roots), following)


def newest_of(entries: Iterable[Entry]) -> float:
    """Return when the newest of a stage's objects was written; a pruned marker does not count."""
    times = (entry.modified for entry in entries if not entry.key.endswith(f"/{PRUNED_MARKER}"))
    return max(times, default=0.0)


def list_stages(store: Store) -> StoredStages:
    """List a store's stages and read their markers.

    Raises:
        StoreError: the store cannot be read.
    """
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in store.list("stages"):
        parts = entry.key.split("/")
        if len(parts) > 3:
            groups["/".join(parts[:3])].append(entry)

    def read(prefix: str) -> StoredStage:
        entries = groups[prefix]
        marked = any(e.key in (f"{prefix}/{MARKER}", f"{prefix}/{PRUNED_MARKER}") for e in entries)
        stage = Stage(store, prefix)
        node = read_node(stage) if marked else Node(stage, Presence.GONE)
        return StoredStage(node, tuple(entries))

    with ThreadPoolExecutor(_READ_THREADS) as pool:
        found = list(pool.map(read, groups))
    return StoredStages(store, {stage.uri: stage for stage in found})
