"""Loads and scores the items of our own mathematical tasks for the harness."""

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from datasets import Dataset

from lidr.components.evaluate.items.problems import problems
from lidr.components.evaluate.mathematics import Verifier
from lidr.components.shared.core.events import emit
from lidr.components.shared.numbers.answer import same_number


def load(*, family: str, language: str, data: Mapping[str, str], **_: object) -> dict[str, Dataset]:
    """Return the items of one language as the harness's `test` split.

    Args:
        family: mgsm, mmath or math500.
        language: ISO 639-1 code.
        data: the recipe's `evaluation.data`.
    """
    return {"test": Dataset.from_list(problems(family, language, data))}


def same_number_as_target(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Score an answer by the number a person would say it gives."""
    return {"exact_match": float(same_number(results[0], doc["answer"], doc["language"]))}


def equal_to_target(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Score an answer by math-verify."""
    verifier = _verifier()
    given_up = verifier.given_up
    equal = verifier.same(results[0], doc["answer"])
    if verifier.given_up > given_up:
        emit(
            "warning",
            message=f"item {doc['item_id']} ({doc['language']}): math-verify gave no result for "
            "the answer (time or memory); it counts as wrong",
        )
    return {"exact_match": float(equal)}


@cache
def _verifier() -> Verifier:
    verifier = Verifier()
    atexit.register(verifier.close)
    return verifier
