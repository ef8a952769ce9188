"""The section with training curves."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from lidr.components.report import charts
from lidr.components.report.blocks import Chart, Section, Table
from lidr.components.report.charts import Curve
from lidr.components.report.history import Round
from lidr.components.report.svg import Heading
from lidr.components.report.words import number, plain

_MAX_POINTS = 300
"""Points of a training curve; longer curves are averaged into buckets."""


@dataclass(frozen=True, slots=True)
class _Panel:
    """One chart; its metrics are (key in metrics.jsonl, label, CSS class of the colour)."""

    title: str
    identity: str
    metrics: tuple[tuple[str, str, str], ...]
    domain: tuple[float, float] | None = None


_PANELS = (
    _Panel(
        "Loss",
        "loss",
        (
            ("loss", "total", "dominant"),
            ("dpo_loss", "DPO", "first"),
            ("nll_loss", "NLL", "second"),
        ),
    ),
    _Panel("Reward margin", "margin", (("reward_margin", "margin", "dominant"),)),
    _Panel(
        "Reward accuracy", "preferred", (("reward_accuracy", "accuracy", "dominant"),), (0.0, 1.0)
    ),
    _Panel(
        "Log-probability of the texts",
        "logps",
        (("chosen_logps", "chosen", "good"), ("rejected_logps", "rejected", "bad")),
    ),
    _Panel(
        "Implicit rewards",
        "rewards",
        (("chosen_reward", "chosen", "good"), ("rejected_reward", "rejected", "bad")),
    ),
    _Panel("Gradient norm", "gradient", (("grad_norm", "norm", "dominant"),)),
)


def training(rounds: list[Round]) -> Section | None:
    """Return the training curves of all iterations, one after the other; None without any."""
    trained = [item for item in rounds if item.curves]
    if not trained:
        return None
    starts: dict[float, str] = {}
    last = 0.0
    for item in trained:
        starts[last] = item.name
        last += item.curves[-1]["step"]
    drawn = [_chart(trained, starts, last, panel) for panel in _PANELS]
    return Section(
        "training",
        "Training",
        "By optimizer step; a vertical line marks where an iteration begins. The total loss is the "
        "sum of the DPO and NLL losses, each multiplied by its weight in the recipe.",
        charts=[chart for chart in drawn if chart is not None],
        tables=[_training_table(trained)],
    )


def _chart(
    trained: list[Round], starts: dict[float, str], last: float, panel: _Panel
) -> Chart | None:
    curves = []
    for key, label, kind in panel.metrics:
        parts = [
            _thinned([(start + row["step"], row[key]) for row in item.curves if key in row])
            for item, start in zip(trained, starts, strict=True)
        ]
        if parts := [part for part in parts if part]:
            curves.append(Curve(label, kind, parts))
    if not curves:
        return None
    described = "; ".join(
        f"{curve.label} from {plain(curve.parts[0][0][1])} to {plain(curve.parts[-1][-1][1])}"
        for curve in curves
    )
    heading = Heading(f"train-{panel.identity}", panel.title, described)
    return Chart(panel.title, charts.over_steps(heading, curves, starts, last, panel.domain))


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most 300 points, each the mean of neighbours if there were more."""
    size = -(-len(points) // _MAX_POINTS)
    if size <= 1:
        return points
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(fmean(x for x, _ in group), fmean(y for _, y in group)) for group in groups]


def _training_table(trained: list[Round]) -> Table:
    lines = []
    for item in trained:
        first, final, counts = item.curves[0], item.curves[-1], item.counts("train")
        lines.append(
            [
                item.name,
                number(counts.get("pairs", 0)),
                number(final["step"]),
                *(
                    f"{plain(first[key])} → {plain(final[key])}" if key in final else "–"
                    for key in ("loss", "dpo_loss", "nll_loss", "reward_margin", "reward_accuracy")
                ),
            ]
        )
    return Table(
        "First and last step of each iteration",
        ["Model", "Pairs", "Steps", "Loss", "DPO", "NLL", "Reward margin", "Reward accuracy"],
        lines,
        folded=True,
    )
