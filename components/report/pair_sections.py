"""The section on what the models learnt from: how many pairs, and why candidates were dropped."""

from __future__ import annotations

from typing import Any

from lidr.components.report import rows
from lidr.components.report.blocks import (
    Chart,
    Section,
    Table,
    by_direction,
    by_language,
    swatch,
)
from lidr.components.report.history import Round
from lidr.components.report.svg import Heading
from lidr.components.report.words import (
    direction,
    language,
    number,
    percent,
    plain,
    spelled,
)
from lidr.components.shared.config.pairing import RewarderName
from lidr.components.shared.config.recipe import Recipe

_LEGEND = (
    ("kept", "kept, sides differ"),
    ("same", "kept, sides identical"),
    ("dropped", "dropped"),
)

_IDENTICAL = "Pairs with identical sides have no contrast to learn from; their share grows as"
_BEST = "A pair is the best of a prompt's samples over the worst, by"

_LEDES: dict[RewarderName, str] = {
    "lidr": "A pair needs both answers and a translation that succeeded. "
    f"{_IDENTICAL} the languages come to agree.",
    "icr": f"{_BEST} their implicit reward. {_IDENTICAL} the model becomes sure of its answers.",
    "judge": f"{_BEST} a judge's grades. {_IDENTICAL} the model becomes sure of its answers.",
}


def pairs(settings: Recipe, rounds: list[Round]) -> Section | None:
    """Return how many pairs each iteration made and why candidates were dropped; None without."""
    paired = [item for item in rounds if item.counts("pair")]
    if not paired:
        return None
    swapped = [
        f"{item.name}: chosen and rejected were swapped on purpose (a control run)."
        for item in paired
        if item.counts("pair").get("swapped")
    ]
    return Section(
        "pairs",
        "Preference pairs",
        f"{_LEDES[settings.pairing.rewarder]}{_left_out(rounds)}",
        warnings=swapped,
        charts=[_yield_chart(settings, item) for item in paired],
        tables=[
            *(_yield_table(settings, item) for item in paired),
            *(table for item in paired for table in _failures(settings, item)),
        ],
    )


def _left_out(rounds: list[Round]) -> str:
    """Return a sentence on prompts left out as duplicates; "" without deduplication."""
    counts = next((item.counts("prepare") for item in rounds if item.counts("prepare")), {})
    found = counts.get("duplicates")
    if found is None:
        return ""
    return (
        f" Of {number(counts['prompts'] + sum(found.values()))} prompts, {number(found['exact'])} "
        f"exact and {number(found['near'])} near duplicates of an earlier one were left out."
    )


def _yield_chart(settings: Recipe, item: Round) -> Chart:
    counts = item.counts("pair")
    lines = []
    for code, row in by_language(settings.languages, counts["languages"]).items():
        same = row.get("kept_identical", 0)
        parts = [
            (row["kept"] - same, "kept"),
            (same, "same"),
            (row["candidates"] - row["kept"], "dropped"),
        ]
        lines.append((language(code), parts, number(row["kept"])))
    title = (
        f"{item.name} {'learnt' if item.measured else 'was to learn'} from "
        f"{number(counts['pairs'])} of "
        f"{number(counts['candidates'])} candidates; of those with both sides, "
        f"{percent(counts['identical_share'])} had identical ones"
    )
    described = "; ".join(
        f"{name}: {number(parts[0][0])} differ, {number(parts[1][0])} identical, "
        f"{number(parts[2][0])} dropped"
        for name, parts, _ in lines
    )
    heading = Heading(f"pairs-{item.iteration}", title, described)
    return Chart(title, rows.stacked_bars(heading, lines), legend=_LEGEND)


def _yield_table(settings: Recipe, item: Round) -> Table:
    counted = by_language(settings.languages, item.counts("pair")["languages"])
    reasons = sorted({reason for row in counted.values() for reason in row["dropped"]})
    return Table(
        f"{item.name}: pairs, and how many candidates were dropped for each reason",
        [
            "Language",
            "Candidates",
            "Kept",
            "Identical",
            *(spelled(reason).capitalize() for reason in reasons),
        ],
        [
            [
                swatch(settings.languages, code),
                number(row["candidates"]),
                number(row["kept"]),
                number(row["identical"]),
                *(number(row["dropped"].get(reason, 0)) for reason in reasons),
            ]
            for code, row in counted.items()
        ],
        folded=True,
    )


def _failures(settings: Recipe, item: Round) -> list[Table]:
    """Return tables on responses, translations and scores, for the stages that still exist."""
    before = item.predecessor
    tables = []
    if answers := item.counts("generate").get("languages"):
        lines = [
            [
                swatch(settings.languages, code),
                number(row["responses"]),
                percent(row["off_target"]),
                _reasons(row["failures"]),
            ]
            for code, row in by_language(settings.languages, answers).items()
        ]
        head = ["Language", "Responses", "Off target", "Failures"]
        tables.append(Table(f"Responses of {before}", head, lines, folded=True))
    if translated := item.counts("translate").get("directions"):
        lines = [
            [direction(key), number(row["translations"]), _reasons(row["failures"])]
            for key, row in by_direction(settings.languages, translated).items()
        ]
        head = ["Direction", "Translations", "Failures"]
        tables.append(Table(f"Translations by {before}", head, lines, folded=True))
    for step, title in (("score", "Implicit rewards"), ("grade", "Grades (0 to 1)")):
        if scored := item.counts(step).get("languages"):
            tables.append(_scores(settings, f"{title} of {before}'s responses", scored))
    return tables


def _scores(settings: Recipe, title: str, scored: dict[str, Any]) -> Table:
    lines = [
        [
            swatch(settings.languages, code),
            f"{number(row['scored'])} of {number(row['responses'])}",
            plain(row["mean"]),
            plain(row["spread"]),
            _reasons(row["failures"]),
        ]
        for code, row in by_language(settings.languages, scored).items()
    ]
    head = ["Language", "Scored", "Mean", "Best minus worst", "Failures"]
    return Table(title, head, lines, folded=True)


def _reasons(failures: dict[str, int]) -> str:
    return ", ".join(f"{number(n)} {spelled(name)}" for name, n in failures.items()) or "none"
