"""Verifies a lineage: every marker, and every byte of every file that should exist."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lidr.components.shared.core.digest import canonical_json, digest_of
from lidr.components.shared.core.errors import (
    BadInput,
    CorruptStage,
    DamagedObject,
    StoreError,
)
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
        uri: of the file or stage.
        what: what is wrong, as a predicate, e.g. `is gone`.
    """

    uri: str
    what: str


def verify(graph: Graph, advance: Callable[[int], None] = lambda _: None) -> list[LineageFinding]:
    """Return what is wrong anywhere in a lineage: models outside first, then stages' files.

    Files of stages are hashed four at a time.

    Of a pruned stage only the marker is checked. A model from outside the store is compared with
    the fingerprint that was taken when it was brought in: every byte of a folder, the listing of
    an `s3://` prefix; `hf://` is pinned by its revision and is not fetched. Of one that `lidr
    fetch` has brought, every byte is compared with its marker.

    Args:
        graph: to verify.
        advance: called after each file of a stage with its recorded size; models outside are not
            counted.

    Raises:
        StoreError: the lineage's own store cannot be reached.
    """
    found = [finding for node in graph for finding in _faults(node)]
    checks = [(node, name) for node in graph for name in _files_to_hash(node)]
    own = {graph.nodes[root].stage.store.uri for root in graph.roots}

    def fault(check: tuple[Node, str]) -> str:
        node, name = check
        return _file_fault(own, node.stage, name, node.files[name].get("sha256"))

    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        for (node, name), what in zip(checks, pool.map(fault, checks), strict=True):
            advance(node.files[name].get("size", 0))
            if what:
                found.append(LineageFinding(f"{node.uri}/{name}", what))
    return found


def bytes_to_read(graph: Graph) -> int:
    """Return how many bytes of stages' files `verify` reads."""
    return sum(node.size for node in graph if node.presence is Presence.WHOLE)


def _faults(node: Node) -> Iterator[LineageFinding]:
    if node.presence is Presence.GONE:
        yield LineageFinding(node.uri, "is gone")
        return
    what = marker_fault(node.data, node.digest) if node.data else "cannot be read"
    if what:
        yield LineageFinding(f"{node.uri}/{node.marker_name}", what)
    if node.presence is Presence.WHOLE:
        yield from _outside_faults(node)


def _outside_faults(node: Node) -> Iterator[LineageFinding]:
    described = node.section("facts").get("model")
    if not isinstance(described, dict):
        return
    for name, key in (("source", "digest"), ("adapter", "adapter_digest")):
        uri, expected = node.outside.get(name, ""), described.get(key)
        if uri and expected and not uri.startswith("hf://"):
            yield from _model_faults(current_uri(node.stage.store, uri), str(expected))


def _model_faults(uri: str, expected: str) -> Iterator[LineageFinding]:
    """Yield what is wrong with a model from outside, whose fingerprint must be the expected one."""
    if what := _outside_fault(uri, expected):
        yield LineageFinding(uri, what)
    elif source := locate_source(uri):  # its fingerprint is of what pins it: no file was read
        for name, described in sorted(source.marker()["files"].items()):
            if what := _file_fault(frozenset(), source, name, described.get("sha256")):
                yield LineageFinding(f"{uri}/{name}", what)


def _outside_fault(uri: str, expected: str) -> str:
    try:
        folder = local_folder(uri)
        if not (open_store(uri).list("") if folder is None else folder.is_dir()):
            return "is gone"
        if source := locate_source(uri):
            if not source.done():
                return "is not complete"
            source.marker()  # as it is now: that of `model_fingerprint` may have been read before
        actual = model_fingerprint(uri, lambda _: None)
    except (BadInput, CorruptStage) as error:  # e.g. of a host that is away: check the rest
        return f"cannot be read: {error}"
    return "" if actual == expected else "is not the model that was brought in"


def _files_to_hash(node: Node) -> list[str]:
    """Return the names of files that must exist, weights last: others are checked faster."""
    if node.presence is not Presence.WHOLE:
        return []
    return sorted(node.files, key=lambda name: (is_weights(name), name))


def _file_fault(own: AbstractSet[str], stage: Stage, name: str, expected: object) -> str:
    try:
        actual = stage.store.sha256(stage.key(name))
    except FileNotFoundError:
        return "is gone"
    except DamagedObject:
        return "cannot be read"
    except StoreError as error:
        if stage.store.uri in own:
            raise
        return f"cannot be read: {error}"
    return "" if actual == expected else "was changed after it was written"


def recipe_fault(data: bytes, digest: str) -> str:
    """Return what is wrong with a run's `recipe.json`; or "".

    Args:
        data: the file's content.
        digest: the recipe's, from a registered version's tag `lidr.recipe_digest`.
    """
    try:
        recipe = json.loads(data)
        same = canonical_json(recipe).encode() == data and digest_of(recipe) == digest
    except (TypeError, ValueError):
        same = False
    return "" if same else "is not the recipe that was registered"
