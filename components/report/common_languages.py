"""What can be compared of two runs: averages over common languages, and common items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from lidr.components.report.comparison import Evaluated
from lidr.components.report.history import Round
from lidr.components.report.runs import Run
from lidr.components.report.words import language, listed
from lidr.components.shared.stats.intervals import macro_average
from lidr.components.shared.stats.paired import PairedItems, compare


def common_languages(first: Run, second: Run) -> tuple[list[str], list[str]]:
    """Return the other languages that both runs average over, and those that only one does."""
    own = [_averaged(run) for run in (first, second)]
    codes = [code for code in own[0] if code in own[1]]
    return codes, [code for code in dict.fromkeys((*own[0], *own[1])) if code not in codes]


def _averaged(run: Run) -> list[str]:
    others = run.settings.languages.others
    return [code for code in others if all(code in item.scores for item in run.rounds)]


def average_over(codes: Sequence[str], run: Run) -> Run:
    """Return a run whose averages are over these languages alone; without any, `n` is 0."""
    return replace(run, rounds=[_average_over(codes, item) for item in run.rounds])


def _average_over(codes: Sequence[str], item: Round) -> Round:
    rows = [item.scores[code] for code in codes]
    counts = {
        **item.counts("evaluate"),
        "average": macro_average([row["accuracy"] for row in rows]),
        "average_truncated": fmean([row["truncated"]["value"] for row in rows] or [0.0]),
    }
    marker = {**item.stages["evaluate"], "counts": counts}
    return replace(item, stages={**item.stages, "evaluate": marker})


def averages_note(codes: Sequence[str], left_out: Sequence[str]) -> str:
    """Return a sentence on what `common_languages` left out of the averages; "" for nothing."""
    if not codes:
        return "The runs measured no other language in common, so no averages are compared."
    if not left_out:
        return ""
    are = "is" if len(left_out) == 1 else "are"
    names = listed([language(code) for code in left_out])
    return f"Only the other languages that both runs measured are averaged: {names} {are} left out."


def paired_items(first: Evaluated, second: Evaluated) -> dict[str, PairedItems]:
    """Return the items of two models, for the languages in which both have the same ones.

    An item's id may be just its row in a file of its run, so the right answers must agree, too.
    """
    keys = [
        {(item.language, item.task, item.item_id, item.target) for item in model.items}
        for model in (first, second)
    ]
    different = {key[0] for key in keys[0] ^ keys[1]}
    old, new = (
        [item for item in model.items if item.language not in different]
        for model in (first, second)
    )
    return compare(old, new)
