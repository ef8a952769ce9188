"""Verifies a lineage: every marker, and every byte of every file that should exist.

Models of the hub (`hf://`) are not read: their revision pins them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from lidr.components.shared.core.digest import canonical_json, digest_of
from lidr.components.shared.core.errors import BadInput, CorruptStage, StoreUnavailable
from lidr.components.shared.inputs.fetched import locate_source
from lidr.components.shared.lineage.graph import Graph, Node, Presence
from lidr.components.shared.models.outside import is_weights, model_fingerprint
from lidr.components.shared.store.marker import current_uri, marker_fault
from lidr.components.shared.store.open import local_folder, open_store
from lidr.components.shared.store.stage import Stage

_FILES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class LineageFinding:
    """Something in a lineage that is not as it was recorded.

    Attributes:
        uri: URI of the file or stage.
        what: what is wrong, as a predicate, e.g. `is gone`.
    """

    uri: str
    what: str


def verify(graph: Graph, advance: Callable[[int], None] = lambda _: None) -> list[LineageFinding]:
    """Return what is wrong anywhere in a lineage: markers and outside models, then stages' files.

    Files of stages are hashed four at a time. What cannot be read is a finding, too. A store that
    does not answer is not asked again.

    Of a pruned stage only the marker is checked. A model from outside the store is compared with
    the fingerprint that was taken when it was brought in: every byte of a folder, the listing of
    an `s3://` prefix; `hf://` is pinned by its revision and is not fetched. If `lidr fetch` has
    brought the model, every byte is compared with its marker.

    Args:
        graph: the lineage to verify.
        advance: called after each file of a stage with its recorded size; models outside are not
            counted.

    Raises:
        StoreUnavailable: the lineage's own store does not answer.
    """
    verifier = _Verifier(frozenset(graph.nodes[root].stage.store.uri for root in graph.roots))
    found = [finding for node in graph for finding in verifier.faults(node)]
    checks = [(node, name) for node in graph for name in _files_to_hash(node)]

    def faults(check: tuple[Node, str]) -> list[LineageFinding]:
        node, name = check
        return verifier.file_faults(node.stage, name, node.files[name])

    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        for (node, name), findings in zip(checks, pool.map(faults, checks), strict=True):
            advance(node.files[name].get("size", 0))
            found += findings
    return found


def bytes_to_read(graph: Graph) -> int:
    """Return how many bytes of stages' files `verify` reads."""
    return sum(node.size for node in graph if node.presence is Presence.WHOLE)


@dataclass(frozen=True, slots=True)
class _Verifier:
    """Checks one lineage.

    Attributes:
        own: URIs of the lineage's own stores.
        lost: other stores that did not answer, with the error: the next attempt may take minutes.
    """

    own: AbstractSet[str]
    lost: dict[str, StoreUnavailable] = field(default_factory=dict)

    def faults(self, node: Node) -> Iterator[LineageFinding]:
        """Yield what is wrong with a stage's marker, and with the models that it names."""
        if node.presence is Presence.GONE:
            yield LineageFinding(node.uri, "is gone")
            return
        data = node.data
        if what := "cannot be read" if data is None else marker_fault(data, node.digest):
            yield LineageFinding(f"{node.uri}/{node.marker_name}", what)
        if node.presence is Presence.WHOLE:
            for uri, expected in _outside_models(node):
                yield from self._guarded(
                    node.stage.store.uri, uri, self._moved_model_faults, node, uri, expected
                )

    def file_faults(
        self, stage: Stage, name: str, described: Mapping[str, Any]
    ) -> list[LineageFinding]:
        """Return what is wrong with a file, as its marker describes it."""
        uri = f"{stage.uri}/{name}"
        return self._guarded(stage.store.uri, uri, _file_faults, stage, name, described)

    def _moved_model_faults(self, node: Node, uri: str, expected: str) -> list[LineageFinding]:
        place = current_uri(node.stage.store, uri)
        root = place.rpartition("/sources/")[0] or place
        return self._guarded(root, place, self._model_faults, place, expected)

    def _model_faults(self, uri: str, expected: str) -> Iterator[LineageFinding]:
        """Yield what is wrong with a model from outside, whose fingerprint must be `expected`."""
        source = locate_source(uri)
        if what := _outside_fault(uri, source, expected):
            yield LineageFinding(uri, what)
        elif source:  # its fingerprint covers only what pins it, so no file has been read yet
            for name, described in sorted(source.marker()["files"].items()):
                yield from self.file_faults(source, name, described)

    def _guarded(
        self, root: str, uri: str, check: Callable[..., Iterable[LineageFinding]], *args: Any
    ) -> list[LineageFinding]:
        """Return the findings of a check of a file or model; one finding if it cannot be read.

        Args:
            root: URI of the store that it is in.
            uri: URI of the file or model.
            check: returns the findings.
            args: the arguments of `check`.

        Raises:
            StoreUnavailable: the lineage's own store does not answer.
        """
        try:
            if root not in self.lost:
                return list(check(*args))
            error: Exception = self.lost[root]
        except StoreUnavailable as unavailable:
            if root in self.own:
                raise
            error = self.lost[root] = unavailable
        except (BadInput, CorruptStage, OSError) as unreadable:
            error = unreadable
        return [LineageFinding(uri, f"cannot be read: {error}")]


def _outside_models(node: Node) -> Iterator[tuple[str, str]]:
    """Yield the URI and the fingerprint of each model from outside that a stage names."""
    described = node.section("facts").get("model")
    if not isinstance(described, dict):
        return
    for name, key in (("source", "digest"), ("adapter", "adapter_digest")):
        uri, expected = node.outside.get(name, ""), described.get(key)
        if uri and expected and not uri.startswith("hf://"):
            yield uri, str(expected)


def _outside_fault(uri: str, source: Stage | None, expected: str) -> str:
    folder = local_folder(uri)
    if not (open_store(uri).list("") if folder is None else folder.is_dir()):
        return "is gone"
    if source:
        if not source.done():
            return "is not complete"
        source.marker()  # read it now: `model_fingerprint` may use one that was read before
    actual = model_fingerprint(uri, lambda _: None)
    return "" if actual == expected else "is not the model that was brought in"


def _file_faults(stage: Stage, name: str, described: Mapping[str, Any]) -> Iterator[LineageFinding]:
    uri = f"{stage.uri}/{name}"
    try:
        actual = stage.store.sha256(stage.key(name))
    except FileNotFoundError:
        yield LineageFinding(uri, "is gone")
        return
    if actual != described.get("sha256"):
        yield LineageFinding(uri, "was changed after it was written")


def _files_to_hash(node: Node) -> list[str]:
    """Return the names of files that must exist, weights last: others are checked faster."""
    if node.presence is not Presence.WHOLE:
        return []
    return sorted(node.files, key=lambda name: (is_weights(name), name))


def recipe_fault(data: bytes, digest: str) -> str:
    """Return what is wrong with a run's `recipe.json`; or "".

    Args:
        data: the file's content.
        digest: the recipe's, from a registered version's tag `lidr.recipe_digest`.
    """
    try:
        recipe = json.loads(data)
        same = canonical_json(recipe).encode() == data and digest_of(recipe) == digest
    except (TypeError, ValueError, RecursionError):
        same = False
    return "" if same else "is not the recipe that was registered"
