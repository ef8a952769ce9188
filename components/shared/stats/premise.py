"""The method's premise: the dominant language is the one that the model is best in.

Its answers are chosen over the other languages' (arXiv 2410.08964, section 3). If another language
is stronger, the pairs may prefer the worse answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.records.schema import EvalItem
from lidr.components.shared.stats.intervals import DIGITS
from lidr.components.shared.stats.paired import Question, question_of
from lidr.components.shared.stats.significance import holm, sign_flip

_LEVEL = 0.05
"""The text says that a lead with a larger p-value may be chance; nothing else depends on this."""


def check_premise(
    items: Iterable[EvalItem], dominant: str, others: Sequence[str]
) -> dict[str, Any]:
    """Return whether the dominant language is the strongest one on an evaluation.

    Args:
        items: of all languages, with scores from 0 to 1.
        dominant: ISO 639-1 code.
        others: codes of the other languages.

    Returns:
        `holds` (also if nothing can be compared), the `dominant` language, the `stronger` ones,
        furthest ahead first, and the mean `score` of every language over all of its questions.
        Each stronger language has its own `score`, the `lead` over the dominant one as a fraction,
        and the Holm-corrected `p` of a paired randomisation test: all three on the questions asked
        in both. If there are none, the means are compared, and `p` is None.
    """
    asked: dict[str, dict[Question, float]] = {}
    for item in items:
        key = (item.task, item.language, item.item_id)
        asked.setdefault(item.language, {})[question_of(key)] = item.score
    known = [code for code in others if code in asked and dominant in asked]
    compared = {code: _compared(asked[code], asked[dominant]) for code in known}
    tested = [code for code in known if asked[code].keys() & asked[dominant].keys()]
    p_values = holm([sign_flip(_leads(*compared[code]), alternative="greater") for code in tested])
    p = dict(zip(tested, p_values, strict=True))
    rows: list[dict[str, Any]] = [
        {
            "language": code,
            "score": fmean(own),
            "lead": round(fmean(own) - fmean(dominants), DIGITS),
            "p": p.get(code),
        }
        for code, (own, dominants) in compared.items()
    ]
    stronger = sorted((row for row in rows if row["lead"] > 0), key=lambda row: -row["lead"])
    return {
        "holds": not stronger,
        "dominant": dominant,
        "stronger": stronger,
        "score": {code: fmean(own.values()) for code, own in asked.items()},
    }


def premise_text(premise: Mapping[str, Any]) -> str:
    """Return a sentence that says how the premise fails, or "" if it holds."""
    if premise["holds"]:
        return ""
    dominant = premise["dominant"]
    leads = ", ".join(
        f"{NAMES.get(row['language'], row['language'])} has {row['score']:.1%} against "
        f"{row['score'] - row['lead']:.1%} ({row['lead'] * 100:+.1f}{_p_text(row['p'])})"
        for row in premise["stronger"]
    )
    return (
        f"the method's premise does not hold: {NAMES.get(dominant, dominant)} is not the strongest "
        f"language on this evaluation: {leads}; its answers may be no better than those they are "
        "chosen over"
    )


def _compared(
    other: Mapping[Question, float], dominant: Mapping[Question, float]
) -> tuple[list[float], list[float]]:
    """Return the scores on the questions asked in both languages; all scores if there are none."""
    common = sorted(other.keys() & dominant.keys())
    if not common:
        return [*other.values()], [*dominant.values()]
    return [other[key] for key in common], [dominant[key] for key in common]


def _leads(other: Sequence[float], dominant: Sequence[float]) -> list[float]:
    return [mine - its for mine, its in zip(other, dominant, strict=True)]


def _p_text(p: float | None) -> str:
    if p is None:
        return ""
    return f", p = {p:.2g}" if p <= _LEVEL else f", may be chance: p = {p:.2g}"
