"""gate: is M_{t+1} better than M_t on the same items, and does the loop go on?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from components.shared.digest import digest_of_uri, seed_of
from components.shared.errors import BadInput
from components.shared.progress import emit, step
from components.shared.recipe import Gate, Recipe
from components.shared.records import EvalItem
from components.shared.stage import new_stage, open_stage
from components.shared.statistics import Interval, paired_gains
from components.shared.store import open_store

VERSION = 1

Differences = dict[str, list[float]]


@step("gate")
def gate(
    recipe: str, store: str, before: str, after: str, iteration: int, max_iterations: int
) -> str:
    """Decide on a new model by a paired comparison with its predecessor.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        before: URI of the evaluate stage of M_t.
        after: URI of the evaluate stage of M_{t+1}.
        iteration: t + 1.
        max_iterations: the loop stops after this many.

    Returns:
        URI of the stage, whose counts are the decision: `verdict` (continue or stop), `promoted`,
        `reason`, and every number it stands on.

    Raises:
        BadInput: the two evaluations do not hold the same items.
    """
    settings = Recipe.model_validate_json(recipe)
    stage = new_stage(
        open_store(store),
        "gate",
        VERSION,
        {"before": digest_of_uri(before), "after": digest_of_uri(after)},
        {
            "iteration": iteration,
            "max_iterations": max_iterations,
            "seed": settings.seed,
            "languages": settings.languages.model_dump(mode="json"),
            **settings.gate.model_dump(mode="json", exclude={"max_iterations"}),
        },
    )
    if stage.done():
        emit("reused")
        return stage.uri
    differences = _differences(before, after)
    decision = decide(settings, differences, iteration, max_iterations)
    emit("number", name="verdict", value=f"{decision['verdict']}: {decision['reason']}")
    return stage.finish(decision)


def decide(
    settings: Recipe, differences: Differences, iteration: int, max_iterations: int
) -> dict[str, Any]:
    """Return the decision on paired differences (after - before) per language.

    A model is promoted when the mean gain over the other languages lies above the bar with its
    lower bound and no language falls by more than its tolerance. The loop goes on after a
    promotion, up to `max_iterations`.
    """
    codes = [code for code in settings.languages.all if code in differences]
    gains = _gains(settings, differences, codes, iteration)
    others = [code for code in codes if code in settings.languages.others]
    _, mean = paired_gains(
        [np.asarray(differences[code]) for code in others],
        confidence=settings.gate.confidence,
        resamples=settings.gate.resamples,
        seed=seed_of(settings.seed, iteration, "gate", "mean"),
    )
    problem = _problem(settings.gate, gains, mean)
    verdict: Literal["continue", "stop"] = (
        "stop" if problem or iteration >= max_iterations else "continue"
    )
    reason = problem or _promotion(mean)
    if not problem and verdict == "stop":
        reason += f"; the bound of {max_iterations} iterations is reached"
    return {
        "verdict": verdict,
        "promoted": not problem,
        "reason": reason,
        "mean_gain": mean,
        "languages": {
            code: {
                "gain": gains[code],
                "won": sum(d > 0 for d in differences[code]),
                "lost": sum(d < 0 for d in differences[code]),
                "tolerance": settings.gate.tolerance,
            }
            for code in codes
        },
    }


def _gains(
    settings: Recipe, differences: Differences, codes: Sequence[str], iteration: int
) -> dict[str, Interval]:
    each, _ = paired_gains(
        [np.asarray(differences[code]) for code in codes],
        confidence=settings.gate.confidence,
        resamples=settings.gate.resamples,
        seed=seed_of(settings.seed, iteration, "gate"),
    )
    return dict(zip(codes, each, strict=True))


def _problem(rules: Gate, gains: Mapping[str, Interval], mean: Interval) -> str:
    """Return why the model is not promoted, or ""."""
    for code, gain in gains.items():
        if gain["value"] < -rules.tolerance:
            return (
                f"regression: {code} fell by {-gain['value']:.1%}, "
                f"more than the tolerance of {rules.tolerance:.1%}"
            )
    if mean["low"] <= rules.min_gain:
        return (
            f"plateau: the mean gain of {mean['value']:+.1%} "
            f"({mean['low']:+.1%} to {mean['high']:+.1%}) is not above {rules.min_gain:+.1%}"
        )
    return ""


def _promotion(mean: Interval) -> str:
    return (
        f"mean gain {mean['value']:+.1%} ({mean['low']:+.1%} to {mean['high']:+.1%}), "
        "no language fell beyond its tolerance"
    )


def _differences(before: str, after: str) -> Differences:
    old, new = (_scores(uri) for uri in (before, after))
    if old.keys() != new.keys():
        missing = sorted(old.keys() ^ new.keys())[0]
        raise BadInput(
            f"the evaluations hold different items, for example {missing}",
            remedy="Evaluate both models with the same recipe.",
        )
    differences: Differences = {}
    for key in sorted(old):
        differences.setdefault(key[1], []).append(new[key] - old[key])
    return differences


def _scores(uri: str) -> dict[tuple[str, str, str], float]:
    items: list[EvalItem] = open_stage(uri).read_records(["items.parquet"], EvalItem)
    return {(item.task, item.language, item.item_id): item.score for item in items}
