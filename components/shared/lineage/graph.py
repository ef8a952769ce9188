"""Lineage: what a stage was made from, stage by stage, back to the base model and the prompt files.

The graph is read from markers alone. A marker names its stage's inputs by digest, so the graph is
the same wherever the store is now, and spans runs that share stages. A deleted stage stays in the
graph, as gone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from graphlib import TopologicalSorter
from typing import Any, cast

from lidr.components.shared.core.digest import digest_of_bytes
from lidr.components.shared.core.errors import DamagedObject, StoreError
from lidr.components.shared.models.sources import BASE_FILE
from lidr.components.shared.steps import BY_NAME, MAKERS, STEPS
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.marker import (
    MARKER,
    PRUNED_MARKER,
    current_uri,
    parse_matching_marker,
    unsealed,
)
from lidr.components.shared.store.stage import Stage, locate_stage

_ADVANCES_FROM = {step.name: step.advances_from for step in STEPS if step.advances_from}
"""See `steps.Step.advances_from`."""
_OUTSIDE = tuple(step.name for step in STEPS if step.advances_from == "source")
"""Steps whose input `model` is not a stage: they bring a model in from outside."""
_STAGE = re.compile(rf"(.*/stages/(?:{'|'.join(BY_NAME)})/[0-9a-f]{{64}})(?:/.*)?", re.DOTALL)
"""URI of a stage, or of something in one."""
_CHECKED = ("identity", "counts", "files")
"""Sections of a marker whose form is checked even if its seal is broken."""


class Presence(StrEnum):
    """Which parts of a stage exist."""

    WHOLE = "whole"
    PRUNED = "pruned"
    """Only its marker, under another name; its files were removed on purpose."""
    DAMAGED = "damaged"
    """Its marker or its store cannot be read, or the marker is another stage's."""
    GONE = "gone"


@dataclass(frozen=True)
class Node:
    """One stage of a lineage.

    Attributes:
        stage: the stage, with its store and digest.
        presence: which parts of it exist.
        marker: the content of its marker; empty if it is missing or damaged; only identity, counts
            and files if it was changed after it was written.
        data: the marker's bytes; None if it is missing or cannot be read.
        marker_name: the file name of its marker.
        inputs: URI of each stage it read, by the name of the input; `source`, `adapter` and `base`
            name stages with files of a model that this stage only points at.
        outside: URIs of inputs that are not stages: a model's `source`, an `adapter`.
    """

    stage: Stage
    presence: Presence
    marker: Mapping[str, Any] = field(default_factory=dict)
    data: bytes | None = None
    marker_name: str = MARKER
    inputs: Mapping[str, str] = field(default_factory=dict)
    outside: Mapping[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """The stage's URI."""
        return self.stage.uri

    @property
    def step(self) -> str:
        """The step that made it."""
        return self.stage.prefix.split("/")[1]

    @property
    def digest(self) -> str:
        """The digest of everything it read."""
        return self.stage.digest

    @property
    def files(self) -> Mapping[str, Mapping[str, Any]]:
        """Size and SHA-256 of each file, from its marker."""
        files: Mapping[str, Mapping[str, Any]] = self.marker.get("files", {})
        return files

    @property
    def size(self) -> int:
        """Bytes of all its files when it was finished."""
        return sum(described.get("size", 0) for described in self.files.values())

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the marker: counts, versions, origin or facts; empty if missing."""
        section = self.marker.get(name)
        return section if isinstance(section, dict) else {}


@dataclass(frozen=True)
class Graph:
    """Stages and what they were made from.

    Attributes:
        nodes: by URI; each comes after all that it was made from.
        roots: URIs of the stages that were asked for.
    """

    nodes: Mapping[str, Node]
    roots: tuple[str, ...]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def rounds(self) -> dict[str, int]:
        """Return by URI how many models, one after the other, were trained for a stage.

        The responses, translations and pairs of M_t count for M_{t+1}, as in a run's folder.
        """
        found: dict[str, int] = {}
        for node in self:
            further = _ADVANCES_FROM.get(node.step)
            counts = [found[uri] + (name == further) for name, uri in node.inputs.items()]
            found[node.uri] = max(counts, default=0)
        return found


def trace(roots: Iterable[str], follow: Callable[[Node, str], bool] = lambda *_: True) -> Graph:
    """Return the graph of some stages and of all that they were made from.

    Stages of other stores than the roots' are only read; if that fails, they count as damaged.

    Args:
        roots: URIs of stages.
        follow: returns whether to trace an input, given a stage and the input's name.

    Raises:
        BadInput: a URI is not a stage's, or the roots' store cannot be read.
    """
    asked = {uri: locate_stage(uri) for uri in roots}
    own = {stage.store.uri for stage in asked.values()}
    nodes: dict[str, Node] = {}
    lost: set[str] = set()

    def inputs(uri: str) -> list[str]:
        if uri.rpartition("/stages/")[0] in own or uri in asked:
            node = read_node(asked.get(uri) or locate_stage(uri))
        else:
            node = _read_elsewhere(uri, lost)
        nodes[uri] = node
        return [read for name, read in node.inputs.items() if follow(node, name)]

    reach(asked, inputs)
    known = {uri: nodes.keys() & set(node.inputs.values()) for uri, node in nodes.items()}
    order = TopologicalSorter(known)
    return Graph({uri: nodes[uri] for uri in order.static_order()}, tuple(asked))


def reach(roots: Iterable[str], following: Callable[[str], Iterable[str]]) -> set[str]:
    """Return all URIs that can be reached from the roots, these included.

    Args:
        roots: where to begin.
        following: returns the URIs that are one step from a URI; called once for each.
    """
    reached, waiting = set[str](), list(roots)
    while waiting:
        uri = waiting.pop()
        if uri not in reached:
            reached.add(uri)
            waiting += following(uri)
    return reached


def read_node(stage: Stage) -> Node:
    """Return a stage with the content of its marker, whatever is left of it."""
    for name, presence in ((MARKER, Presence.WHOLE), (PRUNED_MARKER, Presence.PRUNED)):
        try:
            data = stage.store.read(stage.key(name))
        except FileNotFoundError:
            continue
        except DamagedObject:
            return Node(stage, Presence.DAMAGED, marker_name=name)
        marker = parse_matching_marker(data, stage.digest)
        if not marker:
            return Node(stage, Presence.DAMAGED, data=data, marker_name=name)
        if not unsealed(data):  # `verify` reports it
            marker = {section: marker[section] for section in _CHECKED}
        inputs, outside = _inputs_of(stage, marker)
        return Node(stage, presence, marker, data, name, inputs, outside)
    return Node(stage, Presence.GONE)


@dataclass(frozen=True)
class _UnopenedStore:
    """Stands for a store that cannot be opened."""

    uri: str


def _read_elsewhere(uri: str, lost: set[str]) -> Node:
    """Return a stage of another store than the lineage's own; damaged if it cannot be read.

    A store that cannot be opened is tried only once, as that may take a minute.
    """
    root, _, rest = uri.rpartition("/stages/")
    stage = Stage(cast("Store", _UnopenedStore(root)), f"stages/{rest}")
    if root not in lost:
        try:
            stage = locate_stage(uri, writable=False)
        except StoreError:
            lost.add(root)
        else:
            with suppress(StoreError):
                return read_node(stage)
    return Node(stage, Presence.DAMAGED)


def _inputs_of(stage: Stage, marker: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the URIs of the stages that a stage read, and of its other inputs, both by name."""
    step = stage.prefix.split("/")[1]
    inputs: dict[str, str] = {}
    for name, digest in (marker["identity"].get("inputs") or {}).items():
        steps = MAKERS.get(name, ())
        if steps and isinstance(digest, str) and digest and step not in _OUTSIDE:
            inputs[name] = _stage_with(stage.store, steps, digest)
    outside: dict[str, str] = {}
    for name, place in _model_uris(stage, step, marker).items():
        uri = stage_of(current_uri(stage.store, place))
        if uri:
            inputs[name] = uri
        else:
            outside[name] = place
    return inputs, outside


def _stage_with(store: Store, steps: Sequence[str], digest: str) -> str:
    """Return the URI of the stage with a digest, made by one of some steps.

    If there is none, the URI is that of the first step's stage.
    """
    prefixes = [f"stages/{step}/{digest}" for step in steps]
    if len(prefixes) == 1:
        return f"{store.uri}/{prefixes[0]}"
    names = (MARKER, PRUNED_MARKER)
    known = (each for each in prefixes if any(store.exists(f"{each}/{name}") for name in names))
    return f"{store.uri}/{next(known, prefixes[0])}"


def _model_uris(stage: Stage, step: str, marker: Mapping[str, Any]) -> dict[str, str]:
    """Return the recorded URIs of the files of a model that a stage only points at, by name."""
    described: dict[str, Any] = {}
    facts = marker.get("facts")
    recorded = facts.get("model") if isinstance(facts, dict) else None
    if step in _OUTSIDE:
        described = recorded if isinstance(recorded, dict) else _json(stage, marker, "model.json")
    elif step == "train":
        described = {"base": _json(stage, marker, BASE_FILE).get("stage")}
    wanted = {name: described.get(name) for name in ("source", "adapter", "base")}
    return {name: place for name, place in wanted.items() if isinstance(place, str) and place}


def _json(stage: Stage, marker: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a stage's JSON file; empty if it is missing or was changed (`verify` reports it)."""
    if name not in marker["files"]:
        return {}
    try:
        data = stage.store.read(stage.key(name))
        same = digest_of_bytes(data) == marker["files"][name].get("sha256")
        content = json.loads(data) if same else {}
    except (FileNotFoundError, ValueError, RecursionError, DamagedObject):
        return {}
    return content if isinstance(content, dict) else {}


def stage_of(uri: str) -> str:
    """Return the URI of the stage that a URI names or lies in; "" if there is none."""
    found = _STAGE.fullmatch(uri)
    return found[1] if found else ""
