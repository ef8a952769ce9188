"""The sections on what the models learnt from: pairs, and whether the reward can be trusted."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from lidr.components.report import rows
from lidr.components.report.blocks import (
    Chart,
    Section,
    Table,
    by_direction,
    by_language,
    kind_of,
    measured,
    shape_of,
    swatch,
)
from lidr.components.report.history import Round
from lidr.components.report.svg import rounded_domain
from lidr.components.report.words import direction, language, number, percent, spelled
from lidr.components.shared.config.recipe import Recipe

_LEGEND = (
    ("kept", "kept, sides differ"),
    ("same", "kept, sides identical"),
    ("dropped", "dropped"),
)


def pairs(settings: Recipe, rounds: list[Round]) -> Section | None:
    """Return how many pairs each iteration made, and why the rest was dropped."""
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
        "A pair needs both answers and a translation that succeeded. Pairs with identical sides "
        "teach nothing by contrast; their share grows as the languages come to agree.",
        warnings=swapped,
        charts=[_yield_chart(settings, item) for item in paired],
        tables=[
            *(_yield_table(settings, item) for item in paired),
            *(table for item in paired for table in _failures(settings, item)),
        ],
    )


def reward_check(settings: Recipe, rounds: list[Round]) -> Section | None:
    """Return whether translations keep the content and better answers win."""
    paired = [item for item in rounds if item.counts("pair").get("directions")]
    if not paired:
        return None
    dominant = language(settings.languages.dominant)
    return Section(
        "reward",
        "Can the reward be trusted?",
        f"The method assumes that the model translates faithfully and that {dominant} answers are "
        "the better ones. Faithfulness: share of translations that keep the numbers of their "
        f"source. Agreement: where one side alone ends with the {dominant} answer's number, how "
        "often it is the chosen one; below one half the reward is inverted.",
        warnings=[
            f"{item.name}: {message}"
            for item in paired
            for message in item.counts("pair").get("warnings", [])
        ],
        charts=_trust_charts(settings, paired),
        tables=[_faithfulness_table(settings, paired), _agreement_table(settings, paired)],
    )


def _yield_chart(settings: Recipe, item: Round) -> Chart:
    counts = item.counts("pair")
    lines = []
    for code, row in by_language(settings.languages, counts["languages"]).items():
        same = min(max(row["identical"] - row["dropped"].get("identical", 0), 0), row["kept"])
        parts = [
            (row["kept"] - same, "kept"),
            (same, "same"),
            (row["candidates"] - row["kept"], "dropped"),
        ]
        lines.append((language(code), parts, f"{number(row['kept'])}"))
    title = (
        f"{item.name} learnt from {number(counts['pairs'])} of "
        f"{number(counts['candidates'])} pairs; {percent(counts['identical_share'])} identical"
    )
    described = "; ".join(
        f"{name}: {number(parts[0][0])} differ, {number(parts[1][0])} identical, "
        f"{number(parts[2][0])} dropped"
        for name, parts, _ in lines
    )
    image = rows.stacked(f"pairs-{item.iteration}", title, described, lines)
    return Chart(title, image, legend=_LEGEND)


def _yield_table(settings: Recipe, item: Round) -> Table:
    counted = by_language(settings.languages, item.counts("pair")["languages"])
    reasons = sorted({reason for row in counted.values() for reason in row["dropped"]})
    return Table(
        f"{item.name}: pairs and reasons of those that were dropped",
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
    """Return what went wrong before pairing, where generate and translate are still there."""
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
    return tables


def _reasons(failures: dict[str, int]) -> str:
    return ", ".join(f"{number(n)} {spelled(name)}" for name, n in failures.items()) or "none"


def _trust_charts(settings: Recipe, paired: list[Round]) -> list[Chart]:
    found = []
    kept = [row for item in paired for row in _faithful(settings, item)]
    low = min((row.value["low"] for row in kept), default=0.0)
    domain = rounded_domain(max(0.0, min(low, 0.9)), 1.0)
    for item in paired:
        before = item.predecessor
        if lines := _faithful(settings, item):
            caption = f"Translations by {before} that keep the numbers, in percent"
            found.append(_dots(f"faithful-{item.iteration}", caption, lines, domain, {}))
        if lines := _agreeing(settings, item):
            caption = f"Pairs of {before} in which the better side is chosen, in percent"
            found.append(
                _dots(f"agree-{item.iteration}", caption, lines, (0.0, 1.0), {0.5: "tolerance"})
            )
    return found


def _dots(
    identity: str,
    caption: str,
    lines: list[rows.ReportRow],
    domain: tuple[float, float],
    references: dict[float, str],
) -> Chart:
    described = "; ".join(f"{row.label} {row.written}" for row in lines)
    return Chart(caption, rows.dots(identity, caption, described, lines, domain, references))


def _faithful(settings: Recipe, item: Round) -> list[rows.ReportRow]:
    return [
        _row(settings, key.removeprefix(f"{settings.languages.dominant}-").split("-")[0], kept, key)
        for key, row in by_direction(settings.languages, item.counts("pair")["directions"]).items()
        if (kept := row["numbers_preserved"])["n"]
    ]


def _agreeing(settings: Recipe, item: Round) -> list[rows.ReportRow]:
    return [
        _row(settings, code, row["agree"])
        for code, row in by_language(
            settings.languages, item.counts("pair").get("reward", {})
        ).items()
        if row["agree"]["n"]
    ]


def _row(settings: Recipe, code: str, value: dict[str, Any], key: str = "") -> rows.ReportRow:
    return rows.ReportRow(
        direction(key) if key else language(code),
        kind_of(settings.languages, code),
        shape_of(settings.languages, code),
        value,
        percent(value["value"]),
    )


def _faithfulness_table(settings: Recipe, paired: list[Round]) -> Table:
    def cells(item: Round, key: str) -> list[str]:
        row = item.counts("pair")["directions"].get(key)
        if row is None:
            return [measured(None), measured(None)]
        back = row["round_trip"]
        return [
            measured(row["numbers_preserved"]),
            f"{back['value']:.1f}" if back["n"] else measured(None),
        ]

    keys = by_direction(settings.languages, paired[-1].counts("pair")["directions"])
    head = [
        name
        for item in paired
        for name in (f"Numbers kept, {item.predecessor}", f"chrF, {item.predecessor}")
    ]
    return Table(
        "Faithfulness by direction; chrF (0 to 100) compares a response with its round trip",
        ["Direction", *head],
        [[direction(key), *(c for item in paired for c in cells(item, key))] for key in keys],
        folded=True,
    )


def _agreement_table(settings: Recipe, paired: list[Round]) -> Table:
    def cell(item: Round, code: str) -> str:
        row = item.counts("pair").get("reward", {}).get(code)
        if row is None:
            return measured(None)
        flag = Markup(' <span class="badge bad">inverted</span>') if row["inverted"] else ""
        return Markup("{}{}").format(measured(row["agree"]), flag)

    return Table(
        "Reward agreement, by the model that made the pairs",
        ["Language", *(item.predecessor for item in paired)],
        [
            [swatch(settings.languages, code), *(cell(item, code) for item in paired)]
            for code in settings.languages.others
        ],
        folded=True,
    )
