"""The lineage of a run's models, drawn: stages by step and iteration, and what each read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from lidr.components.report import words
from lidr.components.report.blocks import Chart, Section, Table
from lidr.components.report.history import Round
from lidr.components.report.svg import Heading, figure, tag, text
from lidr.components.report.words import number
from lidr.components.shared.lineage.graph import Node, Presence, trace
from lidr.components.shared.steps import STEPS

_STEPS = tuple(step.name for step in STEPS if step.state or step.name == "model")
_ROOTS = ("model", "evaluation", "judgements", "decision")
_ASIDE = ("inputs", "reference")
"""Inputs without an edge: almost every stage reads `inputs`, and a training's `reference` is mostly
the same stage as its `start`, which has an edge."""

_BOX = (92.0, 40.0)
_PAGE, _PHONE = 988, 354
"""Minimum widths of a drawing in pixels; a smaller one would be scaled up."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where boxes are, in pixels.

    Attributes:
        identity: id of the drawing in the page.
        size: width and height.
        place: gives the top left corner of (column, row).
        flat: iterations are rows, so that edges within one are horizontal.
    """

    identity: str
    size: tuple[float, float]
    place: Callable[[int, int], tuple[float, float]]
    flat: bool


@dataclass(frozen=True, slots=True)
class _Stages:
    """What is drawn.

    Attributes:
        nodes: the stages that are not gone.
        rounds: by URI, how many trainings are behind a stage; this is the number of its row.
        first: the row of the run's M_0, which another run may have trained.
    """

    nodes: list[Node]
    rounds: dict[str, int]
    first: int

    def name(self, row: int) -> str:
        """Return a row's model, M₀, M₁, ... of this run, or `earlier` for a row before M₀."""
        return words.model(row - self.first) if row >= self.first else "earlier"


def lineage(made: list[Round]) -> Section | None:
    """Return what a run's models were made from; None if their stages are gone."""
    states = [item.state for item in made]
    graph = trace(str(state[name]) for state in states for name in _ROOTS if state.get(name))
    nodes = [node for node in graph if node.presence is not Presence.GONE]
    if not nodes:
        return None
    rounds = graph.rounds()
    stages = _Stages(nodes, rounds, rounds.get(str(states[0]["model"]), 0))
    return Section(
        "lineage",
        "Lineage",
        "What each model was made from. Each box is a stage on the store, named by the digest of "
        "all that it read. The command lidr lineage follows one version to its beginning and "
        "verifies it.",
        charts=[Chart("", *_images(stages))],
        tables=[_table(stages)],
    )


def _images(stages: _Stages) -> tuple[Markup, Markup]:
    """Return a wide drawing with iterations as rows, and a narrow one with them as columns."""
    steps = [step for step in _STEPS if step in {node.step for node in stages.nodes}]
    rows = 1 + max(stages.rounds.values())
    width, height = _BOX
    wide = Layout(
        "lineage-wide",
        (max(44 + len(steps) * (width + 26), _PAGE), rows * (height + 44) - 16),
        lambda column, row: (44 + column * (width + 26), 14 + row * (height + 44)),
        flat=True,
    )
    narrow = Layout(
        "lineage-narrow",
        (max(rows * (width + 26), _PHONE), 24 + len(steps) * (height + 28)),
        lambda column, row: (row * (width + 26) + 13, 32 + column * (height + 28)),
        flat=False,
    )
    return _draw(stages, steps, wide), _draw(stages, steps, narrow)


def _draw(stages: _Stages, steps: list[str], layout: Layout) -> Markup:
    rounds = stages.rounds
    drawn = [node for node in stages.nodes if node.step in steps]
    places = {n.uri: layout.place(steps.index(n.step), rounds[n.uri]) for n in drawn}
    edges = [
        _edge(places[uri], places[node.uri], layout.flat)
        for node in drawn
        for name, uri in node.inputs.items()
        if uri in places and name not in _ASIDE
    ]
    rows = sorted({rounds[node.uri] for node in drawn})
    heads = [_head(layout, row, stages.name(row)) for row in rows]
    boxes = [_box(node, places[node.uri]) for node in drawn]
    described = f"{len(drawn)} stages over {len(heads)} iterations; the table below lists them."
    heading = Heading(layout.identity, "Lineage of the run's models", described)
    return figure(heading, layout.size, *edges, *heads, *boxes)


def _head(layout: Layout, row: int, name: str) -> Markup:
    left, top = layout.place(0, row)
    if layout.flat:
        return text(0, top + _BOX[1] / 2, name, "axis")
    return text(left + _BOX[0] / 2, 10, name, "axis", "middle")


def _box(node: Node, place: tuple[float, float]) -> Markup:
    (left, top), (width, height) = place, _BOX
    middle = left + width / 2
    kind = f"stage {node.presence.value}"
    return tag(
        "g",
        tag("title", f"{node.step} {node.digest}, {len(node.files)} files, {node.presence.value}"),
        tag("rect", x=left, y=top, width=width, height=height, rx=6.0, class_=kind),
        text(middle, top + 14, node.step, "label", "middle"),
        text(middle, top + 29, node.digest[:8], "value", "middle"),
    )


def _edge(start: tuple[float, float], end: tuple[float, float], flat: bool) -> Markup:
    """Draw a curve from an input's box to its reader's, between the sides that face each other."""
    (width, height), (x1, y1), (x2, y2) = _BOX, start, end
    along = y1 == y2 if flat else x1 == x2
    if flat == along:
        x1, y1, y2 = x1 + width, y1 + height / 2, y2 + height / 2
        bend = max(12.0, abs(x2 - x1) / 2)
        curve = f"C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    else:
        x1, y1, x2 = x1 + width / 2, y1 + height, x2 + width / 2
        bend = max(12.0, abs(y2 - y1) / 2)
        curve = f"C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}"
    return tag("path", d=f"M{x1:.1f} {y1:.1f}{curve}", class_="edge")


def _table(stages: _Stages) -> Table:
    rounds = stages.rounds
    rows = [
        [
            f"{stages.name(rounds[node.uri])} {node.step}",
            Markup("<code>{}</code>").format(node.digest[:12]),
            ", ".join(f"{name} {uri.rpartition('/')[2][:8]}" for name, uri in node.inputs.items()),
            number(len(node.files)),
            "" if node.presence is Presence.WHOLE else node.presence.value,
        ]
        for node in sorted(stages.nodes, key=lambda node: rounds[node.uri])
    ]
    columns = ["Stage", "Digest", "Made from", "Files", "State"]
    return Table("Stages behind the models", columns, rows, folded=True, wordy=True)
