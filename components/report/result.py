"""result.json: a run in numbers, for programs and for the report's first screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lidr.components.report.blocks import by_language
from lidr.components.report.history import Round, final_round, models_of
from lidr.components.report.usage import NO_USAGE, RunUsage
from lidr.components.report.words import language, listed, percent, points
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.stats.premise import premise_text
from lidr.components.shared.stats.truncation import truncation_warning

_MAX_NAMED_LANGUAGES = 4


def result_of(
    settings: Recipe,
    run: str,
    rounds: list[Round],
    report: str,
    usage: RunUsage = NO_USAGE,
) -> dict[str, Any]:
    """Return the content of result.json; shares are fractions.

    Args:
        settings: the recipe.
        run: name of the run.
        rounds: its iterations.
        report: URI of the HTML report.
        usage: what the run has used.
    """
    return {
        "run": run,
        "recipe": settings.name,
        "seed": settings.seed,
        "dominant": settings.languages.dominant,
        "others": list(settings.languages.others),
        "stopped": usage.stop or stopped(rounds),
        "iterations": [_iteration(settings, item) for item in models_of(rounds)],
        "final_model": final_round(rounds).model,
        "warnings": warnings_of(rounds),
        "used": usage.to_dict(),
        "report": report,
    }


def stopped(rounds: list[Round]) -> dict[str, Any] | None:
    """Return the iteration that ended without a model, and why; None if there is none."""
    last = rounds[-1]
    if last.measured:
        return None
    return {"iteration": last.iteration, "reason": last.state["reason"]}


def outcome(settings: Recipe, rounds: list[Round]) -> str:
    """Return the run's outcome in one or two sentences."""
    measured = rounds[0].scores
    names = [language(code) for code in settings.languages.others if code in measured]
    many = len(names) > _MAX_NAMED_LANGUAGES
    who = f"{len(names)} languages" if many else listed(names)
    subject = who if len(names) == 1 else f"Average of {who}"
    first, final = rounds[0], final_round(rounds)
    tried = len(models_of(rounds)) > 1
    dominant = language(settings.languages.dominant)
    before, after = (_scores(item, settings.languages.dominant) for item in (first, final))
    if first is final:
        opening = "No model was promoted" if tried else "Only the start was measured"
        return f"{opening}. {subject}: {percent(before[0])}, {dominant} {percent(before[1])}."
    return (
        f"{subject}: {percent(before[0])} → {percent(after[0])} "
        f"({points(after[0] - before[0])}), {dominant} {percent(before[1])} → {percent(after[1])}."
    )


def warnings_of(rounds: list[Round]) -> list[str]:
    """Return warnings about the accuracies, each prefixed with its model's name."""
    found = [
        (rounds[0].name, premise_text(rounds[0].counts("evaluate")["premise"])),
        *((item.name, truncation_warning(item.scores)) for item in models_of(rounds)),
    ]
    return [f"{name}: {warning}" for name, warning in found if warning]


def gap_of(item: Round, dominant: str) -> dict[str, float]:
    """Return by how much the dominant language leads the average of the others.

    The limits combine both intervals (MOVER) as if languages were independent. They are rather too
    wide, as all languages share their items.
    """
    return difference(item.accuracy[dominant], item.average)


def difference(lead: Mapping[str, float], rest: Mapping[str, float]) -> dict[str, float]:
    """Return the difference of two shares; its limits are MOVER's for independent ones."""
    value = lead["value"] - rest["value"]
    below = ((lead["value"] - lead["low"]) ** 2 + (rest["high"] - rest["value"]) ** 2) ** 0.5
    above = ((lead["high"] - lead["value"]) ** 2 + (rest["value"] - rest["low"]) ** 2) ** 0.5
    return {"value": value, "low": value - below, "high": value + above}


def off_target_average(item: Round, others: tuple[str, ...]) -> float:
    """Return the mean off-target rate of the other languages."""
    rates = [item.scores[code]["off_target"]["value"] for code in others if code in item.scores]
    return sum(rates) / len(rates) if rates else 0.0


def _iteration(settings: Recipe, item: Round) -> dict[str, Any]:
    scores = by_language(settings.languages, item.scores)
    return {
        "iteration": item.iteration,
        "model": item.model,
        "accuracy": {code: row["accuracy"] for code, row in scores.items()},
        "average": item.average,
        "off_target": {code: row["off_target"]["value"] for code, row in scores.items()},
        "average_truncated": item.counts("evaluate")["average_truncated"],
        "truncated": {code: row["truncated"]["value"] for code, row in scores.items()},
        "if_cut_right": {code: row["if_cut_right"] for code, row in scores.items()},
        "judged": _judged(settings, item),
        "decision": item.decision,
        "verdict": item.state["verdict"],
        "promoted": item.promoted,
        "reason": item.state["reason"],
        "version": item.state["version"],
    }


def _judged(settings: Recipe, item: Round) -> dict[str, Any]:
    """Return the judge's scores by task: the other languages' average, and each language's."""
    return {
        task: {
            "average": found["average"],
            "languages": {
                code: place["score"]
                for code, place in by_language(settings.languages, found["languages"]).items()
            },
        }
        for task, found in item.counts("judge").get("tasks", {}).items()
    }


def _scores(item: Round, dominant: str) -> tuple[float, float]:
    return item.average["value"], item.accuracy[dominant]["value"]
