"""The section on a judge's scores of open-ended answers."""

from __future__ import annotations

from typing import Any

from lidr.components.report.blocks import Section, Table, by_language, measured, swatch
from lidr.components.report.history import Counts, Round
from lidr.components.report.words import listed, number, percent, plain, spelled
from lidr.components.shared.config.judge import PAIRWISE, Price
from lidr.components.shared.config.recipe import Recipe

_TITLES = {
    "x_alpacaeval": "X-AlpacaEval: win rate against the reference answers",
    "mt_bench": "MT-Bench: mean grade, as a share of 10",
    "care": "CARE: mean grade, as a share of 10",
    "head_to_head": "Head to head: win rate against the model's predecessor",
}


def judged(settings: Recipe, rounds: list[Round]) -> Section | None:
    """Return win rates and grades by task, language and iteration, and the judge's failures."""
    seen = [item for item in rounds if item.counts("judge")]
    if not seen:
        return None
    tasks = [name for name in _TITLES if any(name in _tasks(item) for item in seen)]
    models = sorted({str(item.counts("judge")["model"]) for item in seen})
    return Section(
        "judged",
        "Judged answers",
        f"Open-ended answers, judged by {listed(models)}, with 95% intervals. Answers are "
        "compared in both orders and count as won or lost where both agree. The length-controlled "
        "win rate estimates what it would be if the two answers were equally long.",
        warnings=[warning for item in seen for warning in _warnings(settings, item)],
        tables=[
            *(_scores(settings, seen, name) for name in tasks),
            *(_pairwise(settings, seen, name) for name in tasks if name in PAIRWISE),
            _costs(settings.judge.price if settings.judge else Price(), seen),
        ],
    )


def _tasks(item: Round) -> Counts:
    tasks: Counts = item.counts("judge")["tasks"]
    return tasks


def _languages_of(settings: Recipe, item: Round, task: str) -> Counts:
    """Return a task's counts by language, in the recipe's order."""
    found = _tasks(item).get(task, {"languages": {}})["languages"]
    return by_language(settings.languages, found)


def _scores(settings: Recipe, seen: list[Round], task: str) -> Table:
    codes = [
        code
        for code in settings.languages.all
        if any(code in _languages_of(settings, item, task) for item in seen)
    ]
    return Table(
        _TITLES[task],
        ["Language", *(item.name for item in seen)],
        [
            [
                swatch(settings.languages, code),
                *(
                    measured(_languages_of(settings, item, task).get(code, {}).get("score"))
                    for item in seen
                ),
            ]
            for code in codes
        ]
        + [
            [
                "Average of the other languages",
                *(measured(_tasks(item).get(task, {}).get("average")) for item in seen),
            ]
        ],
    )


def _pairwise(settings: Recipe, seen: list[Round], task: str) -> Table:
    return Table(
        f"{_TITLES[task]}, in detail",
        [
            "Model and language",
            "Length-controlled",
            "Won",
            "Tied (the orders disagree)",
            "Lost",
            "First answer preferred",
        ],
        [
            [
                f"{item.name} {code}",
                measured(counts["length_controlled"]),
                number(counts["won"]),
                number(counts["tied"]),
                number(counts["lost"]),
                percent(counts["first_preference"]),
            ]
            for item in seen
            for code, counts in _languages_of(settings, item, task).items()
            if "won" in counts
        ],
        folded=True,
    )


def _costs(price: Price, seen: list[Round]) -> Table:
    """Return what the judgements cost at the recipe's price, also if the stage was reused."""
    return Table(
        "Judgements and what they cost",
        ["Model", "Judgements", "Failed", "Tokens read", "Tokens written", "Dollars"],
        [
            [
                item.name,
                number(counts["judgements"]),
                _failures(counts["failures"]),
                number(counts["input_tokens"]),
                number(counts["output_tokens"]),
                plain(price.dollars(counts["input_tokens"], counts["output_tokens"])),
            ]
            for item in seen
            if (counts := item.counts("judge"))
        ],
        folded=True,
    )


def _failures(failures: dict[str, Any]) -> str:
    return ", ".join(f"{count} {spelled(name)}" for name, count in failures.items()) or "none"


def _warnings(settings: Recipe, item: Round) -> list[str]:
    """Return a sentence for every task and language with questions that have no score."""
    return [
        f"{item.name}, {task} {code}: questions without a score: {missing}."
        for task in _tasks(item)
        for code, counts in _languages_of(settings, item, task).items()
        if (missing := counts["left_out"] + counts["unanswered"])
    ]
