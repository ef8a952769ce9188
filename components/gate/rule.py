"""The rule that decides on a model, and the reasons it gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from lidr.components.gate.harms import BARS, find_harms, p_text, remarks, share_text
from lidr.components.shared.config.evaluation import Gate
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import seed_of
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.stats.intervals import DIGITS, Interval, bootstrap_mean
from lidr.components.shared.stats.paired import PairedItems, by_question, unmatched_tasks
from lidr.components.shared.stats.premise import premise_text
from lidr.components.shared.stats.significance import holm, sign_flip

Decision = Literal["promote", "keep", "stop"]
Cause = Literal["regression", "off_target", "truncated", "plateau", "fall", "chance", "gain"]
Finding = tuple[Decision, Cause, str]


def decide(
    settings: Recipe,
    paired: Mapping[str, PairedItems],
    iteration: int,
    max_iterations: int,
    premise: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the decision on M_{t+1}, with its reason and every number behind it.

    *Promote*: the lower bound of the mean gain over the other languages is above the bar, the gain
    is significant, and no test speaks against it. *Keep*: M_t stays for lack of evidence, and the
    loop continues from it. *Stop*: M_t stays, and another iteration is not worth it.

    Args:
        settings: the recipe.
        paired: the compared items of each language.
        iteration: t + 1.
        max_iterations: the loop stops after this many iterations.
        premise: of the start, as `check_premise` returns it; if it fails, the reason says so.

    Returns:
        `decision`, the loop's `verdict`, whether the model is `promoted`, the `cause` and `reason`,
        `remarks` on what could not be tested, `alpha`, `mean_gain` with its `p`, and by language
        its gain and its tests.

    Raises:
        BadInput: there are no items in the other languages.
    """
    codes = [code for code in settings.languages.all if code in paired]
    others = [code for code in settings.languages.others if code in paired]
    if not others:
        raise BadInput(
            "the evaluations hold no items in the other languages",
            remedy="Check evaluation.tasks and evaluation.languages.",
        )
    seed = seed_of(settings.seed, iteration, "gate")
    groups = [paired[code] for code in others]
    mean, p = _mean_gain(settings.gate, groups, seed)
    languages = _languages(settings.gate, {code: paired[code] for code in codes}, seed)
    counts = {"mean_gain": mean, "p": p, "languages": languages}
    name = others[0] if len(others) == 1 else f"mean of {', '.join(others)}"
    decision, cause, reason = next(_findings(settings.gate, name, counts))
    last = decision != "stop" and iteration >= max_iterations
    parts = [
        reason,
        f"the bound of {max_iterations} iterations is reached" if last else "",
        premise_text(premise) if premise else "",
    ]
    return {
        "decision": decision,
        "verdict": "stop" if last or decision == "stop" else "continue",
        "promoted": decision == "promote",
        "cause": cause,
        "reason": "; ".join(filter(None, parts)),
        "remarks": [*remarks(settings.gate, languages), *_doubts(settings.gate, languages, groups)],
        "alpha": settings.gate.alpha,
        **counts,
    }


def _mean_gain(rules: Gate, groups: Sequence[PairedItems], seed: int) -> tuple[Interval, float]:
    """Return the mean gain, whose lower limit is one-sided at level alpha, and its p-value."""
    parts, values = by_question(groups)
    draws = rules.resamples
    mean = bootstrap_mean(values, confidence=1 - 2 * rules.alpha, resamples=draws, seed=seed)
    for limit in ("value", "low", "high"):  # a sum that cancels out is 0, not 1e-18
        mean[limit] = round(mean[limit], DIGITS)
    mean["n"] = sum(len(group.gains) for group in groups)
    return mean, sign_flip(parts, alternative="greater", resamples=draws, seed=seed)


def _languages(rules: Gate, paired: Mapping[str, PairedItems], seed: int) -> dict[str, Any]:
    """Return the gain of each language and the tests against it; p-values are Holm-corrected."""
    draws = rules.resamples
    gains = {
        code: bootstrap_mean(
            pair.gains, confidence=rules.confidence, resamples=draws, seed=seed_of(seed, code)
        )
        for code, pair in paired.items()
    }
    differs = holm([sign_flip(pair.gains, resamples=draws, seed=seed) for pair in paired.values()])
    harms = find_harms(rules, paired, seed)
    return {
        code: {
            "gain": gains[code],
            "won": int((pair.gains > 0).sum()),
            "lost": int((pair.gains < 0).sum()),
            "p": p,
            "tolerance": rules.tolerance_of(code),
            **harms[code],
        }
        for (code, pair), p in zip(paired.items(), differs, strict=True)
    }


def _findings(rules: Gate, name: str, counts: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the findings, most serious first; the last one, a promotion, is always there."""
    yield from _regressions(rules, counts["languages"], proven=True)
    yield from _broken_bars(rules, counts["languages"])
    mean, p = counts["mean_gain"], counts["p"]
    chance = f"{p_text(p)}{' against no gain' if rules.min_gain else ''}"  # not against the bar
    gain, bar = f"{name} {_points(mean)}", f"the bar of {rules.min_gain * 100:.1f}"
    if mean["value"] <= rules.min_gain:
        where = "below" if mean["value"] < rules.min_gain else "not above"
        yield "stop", "plateau", f"{gain}, {where} {bar}: a plateau"
    yield from _regressions(rules, counts["languages"], proven=False)
    if mean["low"] <= rules.min_gain:
        yield "keep", "chance", f"{gain}, not above {bar} with its lower bound ({chance})"
    elif p > rules.alpha:
        yield "keep", "chance", f"{gain}, above {bar} by what may be chance ({chance})"
    yield (
        "promote",
        "gain",
        f"{gain}, above {bar} ({chance}); no language fell beyond its tolerance",
    )


def _regressions(rules: Gate, languages: Mapping[str, Any], *, proven: bool) -> Iterator[Finding]:
    for code, row in languages.items():
        fell = row["gain"]["value"] < -row["tolerance"]
        significant = row["p_fall"] <= rules.alpha
        if not fell or significant != proven:
            continue
        fall = (
            f"{code} {_points(row['gain'])}, a fall beyond the tolerance of "
            f"{row['tolerance'] * 100:.1f}"
        )
        if proven:
            yield "stop", "regression", f"{fall}: a regression ({p_text(row['p_fall'])})"
        else:
            yield "keep", "fall", f"{fall} that may be chance ({p_text(row['p_fall'])})"


def _broken_bars(rules: Gate, languages: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the shares that are provably above their bar and the predecessor's."""
    for code, row in languages.items():
        for name, words in BARS.items():
            if row[name]["p"] <= rules.alpha:
                said = share_text(code, words, row[name])
                yield "stop", name, f"{said} ({p_text(row[name]['p'])})"


def _doubts(
    rules: Gate, languages: Mapping[str, Any], groups: Sequence[PairedItems]
) -> Iterator[str]:
    """Yield why tests prove less than they might: few resamples, questions without a match."""
    bars = [row[name] for row in languages.values() for name in BARS]
    tests = len(languages) + sum(each["bar"] < 1 and each["n"] > 0 for each in bars)
    least = math.ceil(tests / rules.alpha) - 1  # p is 1 / (resamples + 1) at least
    if rules.resamples < least:
        yield (
            f"{rules.resamples} resamples cannot prove a fall of graded scores: "
            f"set gate.resamples to {least} or more"
        )
    if tasks := unmatched_tasks(groups):
        more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
        yield (
            f"the questions of {tasks[0]}{more} could not be matched between languages: "
            "the mean gain is tested as if all languages rose and fell together"
        )


def _points(gain: Interval) -> str:
    # + 0.0 turns -0.0 into 0.0
    value, low, high = (round(100 * gain[key], 1) + 0.0 for key in ("value", "low", "high"))
    return f"{value:+.1f} [{low:.1f}, {high:.1f}]"
