"""The section on the gate: each verdict with its numbers."""

from __future__ import annotations

from typing import Any

from lidr.components.report import rows
from lidr.components.report.blocks import (
    Chart,
    Section,
    Table,
    by_language,
    swatch,
    verdict,
)
from lidr.components.report.history import Round
from lidr.components.report.svg import Heading, rounded_domain
from lidr.components.report.words import level, limits, p_value, percent, plain, signed
from lidr.components.shared.config.recipe import Recipe


def decisions(settings: Recipe, rounds: list[Round]) -> Section | None:
    """Return the gate's verdicts with their numbers; None without any."""
    judged = [item for item in rounds if item.counts("gate")]
    if not judged:
        return None
    lines = [row for item in judged for row in _rows(settings, item)]
    low, high = rows.extent(row.value for row in lines)
    bars = (row.bar for row in lines if row.bar is not None)
    domain = rounded_domain(min(low, *bars), max(high, 0.01))
    alpha = settings.gate.alpha
    said = [(item.name, each) for item in judged for each in item.counts("gate").get("remarks", [])]
    return Section(
        "gate",
        "Gate",
        f"Each model is compared with its predecessor on the same items (paired bootstrap, "
        f"{level(settings.gate.confidence)} intervals, {level(1 - 2 * alpha)} for the mean). "
        "Promoted: the lower limit of the mean gain over the other languages is above "
        f"{signed(settings.gate.min_gain)} points, and no language falls by more than its "
        "tolerance (the dashed marks); a model that is no better is promoted in at most "
        f"{level(alpha)} of cases. Keep: the predecessor stays for lack of evidence, and the loop "
        "continues. Stop: the predecessor stays, and the loop ends. Together, the tests for falls "
        "and for the bars on off-target and cut answers stop a model that is no worse in at most "
        f"{level(alpha)} of cases.",
        warnings=[f"{name}: {each}" for name, each in said],
        charts=[_chart(settings, item, domain) for item in judged],
        tables=[
            _verdicts(judged),
            *(_numbers(settings, item) for item in judged),
            *(_bars(settings, item) for item in judged),
        ],
    )


def _rows(settings: Recipe, item: Round) -> list[rows.ReportRow]:
    counts, languages = item.counts("gate"), settings.languages
    gains = by_language(languages, counts["languages"])
    return rows.gain_rows(languages, counts["mean_gain"], gains)


def _chart(settings: Recipe, item: Round, domain: tuple[float, float]) -> Chart:
    lines = _rows(settings, item)
    title = f"{item.name} against {item.predecessor}"
    described = rows.in_words(lines)
    heading = Heading(f"gate-{item.iteration}", f"Gain in points, {title}", described)
    return Chart(f"{title}, gain in points", rows.dots(heading, lines, domain, {0.0: "zero"}))


def _verdicts(judged: list[Round]) -> Table:
    return Table(
        "Verdicts",
        ["Model", "Decision", "Loop", "Reason"],
        [
            [item.name, verdict(item), str(item.state["verdict"]), str(item.state["reason"])]
            for item in judged
        ],
        wordy=True,
    )


def _numbers(settings: Recipe, item: Round) -> Table:
    counts = item.counts("gate")
    mean = counts["mean_gain"]
    return Table(
        f"{item.name} against {item.predecessor}: gain in points, items won and lost. The p of the "
        "mean is for a gain (one-sided), that of a language for any difference; the latter and the "
        "p of a fall are Holm-corrected",
        ["Language", "Gain", "Interval", "p", "p of a fall", "Won", "Lost", "Tolerance"],
        [
            [
                "Mean of the other languages",
                signed(mean["value"]),
                limits(mean),
                _p(counts),
                *[""] * 4,
            ],
            *(
                [swatch(settings.languages, code), *_line(row)]
                for code, row in by_language(settings.languages, counts["languages"]).items()
            ),
        ],
        folded=True,
    )


def _bars(settings: Recipe, item: Round) -> Table:
    """Return the tests of the bars, which are Holm-corrected together with those for falls."""
    tests = by_language(settings.languages, item.counts("gate")["languages"])
    heads = ("share", "raised", "lowered", "bar", "p")
    return Table(
        f"{item.name} against {item.predecessor}: shares of off-target and cut answers, how many "
        "items have one only now (raised) or only before (lowered), the bar, and the p of a share "
        "above both the bar and the predecessor's share (Holm-corrected)",
        ["Language", *(f"{name} {head}" for name in ("Off-target", "Cut") for head in heads)],
        [
            [
                swatch(settings.languages, code),
                *(cell for name in ("off_target", "truncated") for cell in _bar(row[name])),
            ]
            for code, row in tests.items()
        ],
        folded=True,
    )


def _bar(row: dict[str, Any]) -> list[str]:
    return [
        f"{percent(row['before'])} → {percent(row['after'])}",
        str(row["raised"]),
        str(row["lowered"]),
        percent(row["bar"]) if row["bar"] < 1 else "off",
        p_value(row["p"]) if row["bar"] < 1 else "–",
    ]


def _line(row: dict[str, Any]) -> list[str]:
    return [
        signed(row["gain"]["value"]),
        limits(row["gain"]),
        _p(row),
        _p(row, "p_fall"),
        str(row["won"]),
        str(row["lost"]),
        plain(row["tolerance"] * 100),
    ]


def _p(row: dict[str, Any], key: str = "p") -> str:
    """Return a p-value as text; "–" for a gate of an older version, which computed none."""
    return p_value(row[key]) if key in row else "–"
