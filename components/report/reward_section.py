"""The section on whether the reward can be trusted, with the check's measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from lidr.components.report import rows
from lidr.components.report.blocks import (
    Chart,
    Section,
    Table,
    by_direction,
    by_language,
    measured,
)
from lidr.components.report.history import Round
from lidr.components.report.svg import Heading, rounded_domain
from lidr.components.report.words import counted, language, percent, place_label
from lidr.components.shared.config.pairing import RewarderName
from lidr.components.shared.config.recipe import Languages, Recipe

_TRUST = {"train": "Yes", "warn": "With care", "stop": "No"}

_MEASURES = {
    "on_target": "In the right language",
    "not_copied": "Not copied",
    "numbers": "Numbers kept",
    "code": "Code kept",
    "links": "Links kept",
    "names": "Names kept",
    "length": "Of similar length to the source",
    "chosen_on_target": "Chosen text in the pair's language",
    "rejected_on_target": "Rejected text in the pair's language",
    "right": "The one right side is chosen",
    "agrees": "The one side that agrees with the dominant answer is chosen",
    "yield": "Candidates used",
}

_WITHOUT_TRANSLATIONS = (
    " What only translations show (their language, copies, numbers, code, links, names, round "
    "trips) is not verifiable here, as this rewarder makes no translations."
)

_ASSUMED: dict[RewarderName, str] = {
    "lidr": "The method assumes that the model translates faithfully and that {} answers are the "
    "better ones; this section tests that.",
    "icr": "The rewarder icr assumes that the policy has learnt in {} what makes a response "
    f"better, and knows it in other languages too.{_WITHOUT_TRANSLATIONS}",
    "judge": "The rewarder judge assumes that the judge's grades are right, in {} and beyond."
    f"{_WITHOUT_TRANSLATIONS}",
}

_CHARTS = {
    "on_target": "Translations by {} in the language they should be in, in percent",
    "numbers": "Translations by {} that keep the numbers, in percent",
    "right": "Pairs of {} with one right side: how often that side is chosen, in percent",
    "agrees": "Pairs of {} with one side that gives the dominant answer's number: how often that "
    "side is chosen, in percent",
}


def reward_check(settings: Recipe, rounds: list[Round]) -> Section | None:
    """Return the section on the reward check; None if no iteration has one."""
    paired = [item for item in rounds if item.counts("pair").get("reward")]
    if not paired:
        return None
    return Section(
        "reward",
        f"Can the reward be trusted? {_answer(settings, paired)}",
        _lede(settings, paired),
        warnings=[
            f"{item.name}: {finding['text']}. {finding['remedy']}"
            for item in paired
            for finding in _findings(item)
        ],
        charts=[chart for item in paired for chart in _charts(settings, item)],
        tables=[_numbers(settings, item) for item in paired],
    )


def _answer(settings: Recipe, paired: list[Round]) -> str:
    reward = paired[-1].counts("pair")["reward"]
    answer = _TRUST[reward["verdict"]]
    if reward["verdict"] == "stop" and settings.pairing.reward.on_stop == "train":
        return f"{answer}, but it was trained on anyway"
    return answer


def _lede(settings: Recipe, paired: list[Round]) -> str:
    dominant = language(settings.languages.dominant)
    rules = settings.pairing.reward
    said = "; ".join(
        f"for {item.name} the check says {item.counts('pair')['reward']['verdict']}"
        for item in paired
    )
    return (
        f"{said[0].upper()}{said[1:]}. {_ASSUMED[settings.pairing.rewarder].format(dominant)} A "
        f"bar counts as broken if a test proves it (level {rules.alpha:g}, corrected over measures "
        f"and directions or languages), for which it takes {rules.min_texts} independent texts; a "
        "measure with fewer is not verifiable here."
    )


def _findings(item: Round) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = item.counts("pair")["reward"]["findings"]
    return found


def _places(languages: Languages, item: Round) -> dict[str, dict[str, Any]]:
    """Return the measurements by direction or language, followed by those of the pools."""
    places: dict[str, dict[str, Any]] = item.counts("pair")["reward"]["places"]
    dominant = languages.dominant
    pools = (f"{dominant}-*", f"*-{dominant}", "*-*", "*")
    single = by_direction(languages, places) or by_language(languages, places)
    return {**single, **{key: places[key] for key in pools if key in places}}


def _charts(settings: Recipe, item: Round) -> list[Chart]:
    found = []
    for measure, caption in _CHARTS.items():
        lines = _chart_rows(settings.languages, item, measure)
        if not lines:
            continue
        low = min(row.value["low"] for row in lines)
        bar = settings.pairing.reward.stopping_shares[measure]
        domain = rounded_domain(min(low, bar or 1.0, 0.9), 1.0)
        title = caption.format(item.predecessor)
        marks = {bar: "tolerance"} if bar else {}
        identity = f"{measure.replace('_', '-')}-{item.iteration}"
        heading = Heading(identity, title, rows.in_words(lines))
        found.append(Chart(title, rows.dots(heading, lines, domain, marks)))
    return found


def _chart_rows(languages: Languages, item: Round, measure: str) -> list[rows.ReportRow]:
    return [
        _row(languages, key, shares[measure])
        for key, shares in _places(languages, item).items()
        if "*" not in key and shares.get(measure, {}).get("n")
    ]


def _row(languages: Languages, key: str, interval: Mapping[str, float]) -> rows.ReportRow:
    source, _, target = key.partition("-")
    code = target if source == languages.dominant and target else source
    row = rows.language_row(languages, code, interval, percent(interval["value"]))
    return replace(row, label=place_label(key))


def _numbers(settings: Recipe, item: Round) -> Table:
    places = _places(settings.languages, item)
    shown = [name for name in _MEASURES if any(name in shares for shares in places.values())]
    translated = settings.pairing.rewarder == "lidr"
    trips = ["chrF of round trips"] if translated else []
    head = ["Direction" if translated else "Language", *(_MEASURES[name] for name in shown), *trips]
    what = "shares of translations or pairs" if translated else "shares of pairs"
    chrf = "chrF from 0 to 100, copies left out; " if translated else ""
    of = "translations relative to sources" if translated else "chosen relative to rejected texts"
    return Table(
        f"What the check measured for {item.name}: {what} with 95% intervals; {chrf}median "
        f"length of {of}",
        [*head, "Length ratio"],
        [
            [
                place_label(key),
                *(_cell(shares, name) for name in shown),
                *([_round_trip(shares)] if translated else []),
                f"{shares['length_ratio']:.2f}",
            ]
            for key, shares in places.items()
        ],
        folded=True,
    )


def _cell(shares: Mapping[str, Any], measure: str) -> str:
    interval = shares.get(measure)
    if interval is None or measure in shares["verifiable"]:
        return measured(interval)
    return _unverifiable(interval["n"])


def _round_trip(shares: Mapping[str, Any]) -> str:
    trip = shares["round_trip"]
    if "round_trip" not in shares["verifiable"]:
        return _unverifiable(trip["n"]) if trip["n"] else measured(None)
    return Markup("{} <small>{}–{}</small>").format(
        *(f"{trip[key]:.1f}" for key in ("value", "low", "high"))
    )


def _unverifiable(n: int) -> Markup:
    return Markup('<span class="none">not verifiable here ({})</span>').format(counted(n, "text"))
