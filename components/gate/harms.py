"""Tests against a model: falls of a language, and the bars on off-target and cut answers.

Each is a test on the items that both models answered. They are corrected together (Holm), so
that if the two models are copies, any test rejects the second with probability alpha at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from lidr.components.gate.power import least_items
from lidr.components.shared.config.evaluation import Gate
from lidr.components.shared.stats.paired import Marks, PairedItems
from lidr.components.shared.stats.significance import binomial_above, holm, mcnemar, sign_flip

Bar = Literal["off_target", "truncated"]

BARS: dict[Bar, str] = {"off_target": "off-target answers", "truncated": "truncated answers"}
"""Flaws with a bar, `max_<name>` in the recipe's gate, and their names in messages."""


def find_harms(
    rules: Gate, paired: Mapping[str, PairedItems], seed: int
) -> dict[str, dict[str, Any]]:
    """Return the tests against a model, by language.

    Args:
        rules: the bars, and the level of the tests.
        paired: the items of each language.
        seed: of the randomisation test.

    Returns:
        By language `p_fall`, and for each of `BARS` its shares `before` and `after`, how many
        items were `raised` (flawed only now) and `lowered`, the `bar`, the number of items `n`,
        how many the test needs to find anything (`least`), and its `p`. All p-values are corrected
        for their number.
    """
    bars = rules.bars
    tests: dict[tuple[str, str], float] = {}
    for code, pair in paired.items():
        tests[code, "fall"] = sign_flip(
            -pair.gains, alternative="greater", resamples=rules.resamples, seed=seed
        )
        for name, marks in _marks(pair).items():
            if bars[name] < 1 and marks.after.size:
                tests[code, name] = raised_above(marks, bars[name])
    adjusted = dict(zip(tests, holm(list(tests.values())), strict=True))
    return {
        code: {
            "p_fall": adjusted[code, "fall"],
            **{
                name: {
                    **_counts(marks),
                    "bar": bars[name],
                    "least": least_items(rules.alpha, len(tests), bars[name]),
                    "p": adjusted.get((code, name), 1.0),
                }
                for name, marks in _marks(pair).items()
            },
        }
        for code, pair in paired.items()
    }


def raised_above(marks: Marks, bar: float) -> float:
    """Return the p-value of a share being above its bar and above the predecessor's.

    As both must be shown, it is the larger of two (Berger 1982): McNemar's exact test on the items
    where the models differ, and the exact binomial test against the bar.

    Args:
        marks: which answers are flawed, of both models.
        bar: share from 0 to 1.
    """
    raised = int((marks.after & ~marks.before).sum())
    lowered = int((marks.before & ~marks.after).sum())
    above = binomial_above(int(marks.after.sum()), marks.after.size, bar)
    return max(mcnemar(raised, lowered, "greater"), above)


def remarks(rules: Gate, languages: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the bars could not decide: too few items, or a rise that may be chance.

    Args:
        rules: the bars, and the level of the tests.
        languages: as `find_harms` returns them.
    """
    for name, words in BARS.items():
        rows = {code: row[name] for code, row in languages.items() if row[name]["bar"] < 1}
        few = [code for code, row in rows.items() if 0 < row["n"] < row["least"]]
        if few:
            least = rows[few[0]]["least"]
            yield f"gate.max_{name} cannot be tested in {', '.join(few)}: it takes {least} items"
        for code, row in rows.items():
            above = row["after"] > max(row["bar"], row["before"])
            if above and row["p"] > rules.alpha:
                yield f"{share_text(code, words, row)}, which may be chance ({p_text(row['p'])})"


def share_text(code: str, words: str, row: Mapping[str, Any]) -> str:
    """Return the beginning of a sentence on a share above its bar."""
    return (
        f"{code} has {row['after']:.1%} {words} ({row['before']:.1%} before), "
        f"above the bar of {row['bar']:.1%}"
    )


def p_text(p: float) -> str:
    """Return a p-value in two significant digits, as `p = 0.012` or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _marks(pair: PairedItems) -> dict[Bar, Marks]:
    return {"off_target": pair.off_target, "truncated": pair.truncated}


def _counts(marks: Marks) -> dict[str, float]:
    before, after = marks.before, marks.after
    return {
        "before": float(before.mean()) if before.size else 0.0,
        "after": float(after.mean()) if after.size else 0.0,
        "raised": int((after & ~before).sum()),
        "lowered": int((before & ~after).sum()),
        "n": int(after.size),
    }
