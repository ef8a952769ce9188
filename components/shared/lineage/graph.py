"""Lineage: what a stage was made from, stage by stage, back to the base model and the prompt files.

The graph is read from markers alone. A marker names what its stage read by digest, so the same
chain is found wherever the store is now, across runs that share stages. A stage that is not there
any more stays in the graph, as gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from graphlib import TopologicalSorter
from typing import Any

from lidr.components.shared.core.errors import DamagedObject
from lidr.components.shared.models.sources import BASE_FILE
from lidr.components.shared.steps import MAKERS, STEPS
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.marker import MARKER, RECORD, home_of, parsed
from lidr.components.shared.store.stage import Stage, locate_stage

_FURTHER = {step.name: step.further_than for step in STEPS if step.further_than}
_OUTSIDE = tuple(step.name for step in STEPS if step.further_than == "source")
"""Steps whose input `model` is no stage: they bring it in."""


class Presence(StrEnum):
    """What there is of a stage."""

    WHOLE = "whole"
    PRUNED = "pruned"
    """Its marker alone, as a record; its files were removed on purpose."""
    DAMAGED = "damaged"
    """Its marker cannot be read, or is another stage's."""
    GONE = "gone"


@dataclass(frozen=True)
class Node:
    """One stage of a lineage.

    Attributes:
        stage: its address.
        presence: what there is of it.
        marker: the content of its marker; empty where there is none.
        data: the marker's bytes.
        kept_as: the name of its marker.
        inputs: URI of each stage it read, by the name it has there; `source`, `adapter` and `base`
            for the stages in which an outside model's files are.
        outside: what it read that is no stage: a model's source, an adapter.
    """

    stage: Stage
    presence: Presence
    marker: Mapping[str, Any] = field(default_factory=dict)
    data: bytes = b""
    kept_as: str = MARKER
    inputs: Mapping[str, str] = field(default_factory=dict)
    outside: Mapping[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """Where the stage is."""
        return self.stage.uri

    @property
    def step(self) -> str:
        """The step that made it."""
        return self.stage.prefix.split("/")[1]

    @property
    def digest(self) -> str:
        """Of everything it read."""
        return self.stage.digest

    @property
    def files(self) -> Mapping[str, Mapping[str, Any]]:
        """Size and SHA-256 of each file, as its marker names them."""
        return {
            name: described
            for name, described in self.marker.get("files", {}).items()
            if isinstance(described, dict)
        }

    @property
    def size(self) -> int:
        """Bytes of all its files when it was finished."""
        return sum(int(described.get("size") or 0) for described in self.files.values())

    def facts(self, name: str) -> Mapping[str, Any]:
        """Return a section of the marker: counts, versions, origin, facts; empty without one."""
        section = self.marker.get(name)
        return section if isinstance(section, dict) else {}


@dataclass(frozen=True)
class Graph:
    """Stages by URI; each comes after all that it was made from.

    Attributes:
        nodes: every stage.
        roots: URIs of those that were asked for.
    """

    nodes: Mapping[str, Node]
    roots: tuple[str, ...]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def rounds(self) -> dict[str, int]:
        """Return by URI how many models were trained on the way to a stage, from M_0 on.

        What M_t answers, translates and is paired for belongs to M_{t+1}, as in a run's folder.
        """
        found: dict[str, int] = {}
        for node in self:
            before = {name: found[uri] for name, uri in node.inputs.items()}
            after = [before[name] + 1 for name in (_FURTHER.get(node.step),) if name in before]
            found[node.uri] = max([*before.values(), *after], default=0)
        return found


def trace(roots: Iterable[str], follow: Callable[[Node, str], bool] = lambda *_: True) -> Graph:
    """Return all that stages were made from, and the stages themselves.

    Args:
        roots: URIs of stages.
        follow: takes a stage and the name of one of its inputs: whether to go on there.

    Raises:
        BadInput: a URI is not a stage's, or the store cannot be read.
    """
    roots = tuple(dict.fromkeys(roots))
    nodes: dict[str, Node] = {}

    def inputs(uri: str) -> list[str]:
        node = nodes[uri] = read_node(locate_stage(uri))
        return [read for name, read in node.inputs.items() if follow(node, name)]

    reach(roots, inputs)
    known = {uri: nodes.keys() & set(node.inputs.values()) for uri, node in nodes.items()}
    order = TopologicalSorter(known)
    return Graph({uri: nodes[uri] for uri in order.static_order()}, roots)


def reach(roots: Iterable[str], following: Callable[[str], Iterable[str]]) -> set[str]:
    """Return all URIs that can be reached from some, which are among them.

    Args:
        roots: where to begin.
        following: returns the URIs that follow from one; called once for each.
    """
    reached, waiting = set[str](), list(roots)
    while waiting:
        uri = waiting.pop()
        if uri not in reached:
            reached.add(uri)
            waiting += following(uri)
    return reached


def read_node(stage: Stage) -> Node:
    """Return a stage with what its marker says, whatever is left of it."""
    for name, presence in ((MARKER, Presence.WHOLE), (RECORD, Presence.PRUNED)):
        try:
            data = stage.store.read(stage.key(name))
        except FileNotFoundError:
            continue
        except DamagedObject:
            return Node(stage, Presence.DAMAGED, kept_as=name)
        marker = parsed(data, stage.digest)
        if not marker:
            return Node(stage, Presence.DAMAGED, data=data, kept_as=name)
        inputs, outside = _read(stage, marker)
        return Node(stage, presence, marker, data, name, inputs, outside)
    return Node(stage, Presence.GONE)


def _read(stage: Stage, marker: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the stages that a stage read, and what it read from elsewhere, by name."""
    step = stage.prefix.split("/")[1]
    inputs: dict[str, str] = {}
    for name, digest in (marker["identity"].get("inputs") or {}).items():
        steps = MAKERS.get(name, ())
        if steps and isinstance(digest, str) and digest and step not in _OUTSIDE:
            inputs[name] = _stage_with(stage.store, steps, digest)
    outside: dict[str, str] = {}
    for name, place in _places(stage, step, marker).items():
        uri = stage_of(home_of(stage.store, place))
        if uri:
            inputs[name] = uri
        else:
            outside[name] = place
    return inputs, outside


def _stage_with(store: Store, steps: Sequence[str], digest: str) -> str:
    """Return the URI of the stage with a digest; where no step has one, of where it would be."""
    places = [f"stages/{step}/{digest}" for step in steps]
    if len(places) > 1:
        known = (p for p in places if any(store.exists(f"{p}/{m}") for m in (MARKER, RECORD)))
        places = [next(known, places[0])]
    return f"{store.uri}/{places[0]}"


def _places(stage: Stage, step: str, marker: Mapping[str, Any]) -> dict[str, str]:
    """Return where the files are of a model that a stage only points at."""
    described: dict[str, Any] = {}
    recorded = (marker.get("facts") or {}).get("model")
    if step in _OUTSIDE:
        described = recorded if isinstance(recorded, dict) else _json(stage, marker, "model.json")
    elif step == "train":
        described = {"base": _json(stage, marker, BASE_FILE).get("stage")}
    wanted = {name: described.get(name) for name in ("source", "adapter", "base")}
    return {name: place for name, place in wanted.items() if isinstance(place, str) and place}


def _json(stage: Stage, marker: Mapping[str, Any], name: str) -> dict[str, Any]:
    if name not in marker["files"]:
        return {}
    try:
        content = json.loads(stage.store.read(stage.key(name)))
    except (FileNotFoundError, ValueError, DamagedObject):  # verifying says so
        return {}
    return content if isinstance(content, dict) else {}


def stage_of(uri: str) -> str:
    """Return the URI of the stage that a URI names or lies in; "" where it is in none."""
    root, found, rest = uri.rpartition("/stages/")
    parts = rest.strip("/").split("/")
    if not found or len(parts) < 2:
        return ""
    return f"{root}/stages/{parts[0]}/{parts[1]}"
