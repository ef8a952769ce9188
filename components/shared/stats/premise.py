"""The method's premise: the dominant language is the one that the model is best in.

Its answers are chosen over the other languages' (arXiv 2410.08964, section 3). If another language
is stronger, the pairs may prefer the worse answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.records.schema import EvalItem
from lidr.components.shared.stats.paired import Question, question_of
from lidr.components.shared.stats.tests import holm, sign_flip

_LEVEL = 0.05
"""The text says of a larger p-value that it may be chance; nothing else depends on it."""


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
        strongest first, and the mean `score` of every language. Each stronger language has its
        `lead` over the dominant one as a fraction, and the Holm-corrected `p` of a paired
        randomisation test on the questions asked in both, or None if there are none.
    """
    asked: dict[str, dict[Question, float]] = {}
    for item in items:
        key = (item.task, item.language, item.item_id)
        asked.setdefault(item.language, {})[question_of(key)] = item.score
    score = {code: sum(own.values()) / len(own) for code, own in asked.items()}
    known = [code for code in others if code in asked and dominant in asked]
    tested = [code for code in known if asked[code].keys() & asked[dominant].keys()]
    p_values = holm([_p_value(asked[code], asked[dominant]) for code in tested])
    p = dict(zip(tested, p_values, strict=True))
    stronger = [code for code in known if score[code] > score[dominant]]
    return {
        "holds": not stronger,
        "dominant": dominant,
        "stronger": [
            {"language": code, "lead": score[code] - score[dominant], "p": p.get(code)}
            for code in sorted(stronger, key=lambda code: -score[code])
        ],
        "score": score,
    }


def premise_text(premise: Mapping[str, Any]) -> str:
    """Return a sentence that says how the premise fails, or "" if it holds."""
    if premise["holds"]:
        return ""
    dominant, score = premise["dominant"], premise["score"]
    leads = ", ".join(
        f"{NAMES.get(row['language'], row['language'])} {score[row['language']]:.1%} "
        f"({row['lead'] * 100:+.1f}{_p_text(row['p'])})"
        for row in premise["stronger"]
    )
    return (
        f"the method's premise does not hold: {NAMES.get(dominant, dominant)} "
        f"({score[dominant]:.1%}) is not the strongest language on this evaluation, "
        f"below {leads}; its answers may be no better than those they are chosen over"
    )


def _p_value(other: Mapping[Question, float], dominant: Mapping[Question, float]) -> float:
    common = sorted(other.keys() & dominant.keys())
    return sign_flip([other[key] - dominant[key] for key in common], alternative="greater")


def _p_text(p: float | None) -> str:
    if p is None:
        return ""
    return f", p = {p:.2g}" if p <= _LEVEL else f", may be chance: p = {p:.2g}"
