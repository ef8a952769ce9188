"""Finds the number that an answer gives, as a person would read it.

An explicit marker counts first (`\\boxed{}`, `####`, "the answer is" in the answer's language or in
English, a labelled or bold result); else the last number of the text does, as in the usual scoring
of MGSM. Arithmetic is exact. Ranges and approximations are no numbers.
docs/evaluation.md compares this with the harness's filters.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Iterator
from fractions import Fraction

from lidr.components.shared.numbers import digits, hanzi, markers, roman, words
from lidr.components.shared.numbers.digits import Number
from lidr.components.shared.numbers.normalize import normalized

_WINDOW_CHARS = 2048
"""Size of the first window at an answer's end that is searched for its last number."""

_MARGIN_CHARS = 256
"""No number is longer, so the window's start cannot have cut one that begins this far inside."""

_MAX_IN_ASIDE = 8
_MAX_ASIDE_CHARS = 80
_ASIDE = re.compile(r"(?:[\w%*.] |[^\x00-\x7f ]{1,2})\([^()\n]{1,80}\)")
_SENTENCE_END = re.compile(r"[.!?](?=\s)|[。！？।॥\n]")

_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*+)\}")
_TRIMMED = " \t\n\u00a0{}()*_$.,:;!?\"'"
_MIN_SPELLED = 2
"""A spelled-out one is an article more often than a number."""

_OPERATOR = re.compile(
    r"[^\w\n.,;]{0,4}(?:[+×*÷/−–·-]|\\(?:times|cdot|div))[^\w\n]{0,4}\Z|[ )]{0,2}[x×][ (]{0,2}\Z"
)
_EQUALS = re.compile(r"[=≈]|\\approx")


def extract_number(text: str, language: str) -> Fraction | None:
    """Return the number an answer gives, or None where it gives none.

    Args:
        text: a model's answer, of any length and content.
        language: ISO 639-1 code of the language that was asked for; it decides what 1.234 is.
    """
    text = normalized(text)
    for start, end in markers.spans(text, language):
        if found := _first_result(text, start, end, language):
            return found.value
        if (spelled := _spelled(text[start:end], language)) is not None:
            return Fraction(spelled)
    if last := _last(text, language):
        return last.value
    in_words = deque(words.spelled(text[-_WINDOW_CHARS:], language), maxlen=1)
    return Fraction(in_words[0]) if in_words and in_words[0] >= _MIN_SPELLED else None


def all_numbers(text: str, language: str) -> list[Fraction | None]:
    """Return the numbers of a text in order, in digits or numerals; None for 3-5 and 三四个.

    Args:
        text: a model's answer, of any length and content.
        language: ISO 639-1 code of its language.
    """
    text = normalized(text)
    return [number.value for number in _numbers(text, language, 0)]


def _spelled(result: str, language: str) -> int | None:
    """Return a result that is in words or Roman numerals: "eighteen dollars", XIV."""
    text = _TEXT.sub(r"\1", result).strip(_TRIMMED)
    if value := roman.value(text):
        return value
    found = words.leading_number(text, language)
    alone = len(text.split()) <= 1
    return found if alone or (found or 0) >= _MIN_SPELLED else None


def _numbers(text: str, language: str, start: int, end: int = sys.maxsize) -> Iterator[Number]:
    found = digits.numbers(text, language, start, end)
    if language not in hanzi.LANGUAGES:
        return found
    found_numerals = hanzi.numbers(text, language, start, min(end, len(text)))
    numerals = [Number(*each) for each in found_numerals]
    return iter(sorted([*found, *numerals], key=lambda number: number.start))


def same_number(text: str, target: str, language: str) -> bool:
    """Return whether an answer gives the target, as an exact number.

    Args:
        text: a model's answer.
        target: the right number, written as in English (`70000`, `2.5`, `1/3`).
        language: ISO 639-1 code of the answer's language.
    """
    number = extract_number(text, language)
    return number is not None and number == extract_number(target, "en")


def _first_result(text: str, start: int, end: int, language: str) -> Number | None:
    """Return the first number of a span, or the result of the calculation that it begins."""
    first: Number | None = None
    previous: Number | None = None
    for number in _numbers(text, language, start, end):
        if previous is None or _EQUALS.search(text, previous.end, number.start):
            first = number
        elif not _continues(text, previous, number):
            break
        previous = number
    return first


def _continues(text: str, before: Number, number: Number) -> bool:
    """Return whether a calculation goes on: by an operator, or by a minus taken for a sign."""
    subtracted = text[number.start] in "-–" and not text[before.end : number.start].strip()
    return subtracted or bool(_OPERATOR.search(text, before.end, number.start))


def _last(text: str, language: str) -> Number | None:
    """Return the last number of a text; windows from its end keep this quick on megabytes."""
    size = _WINDOW_CHARS
    while True:
        start = max(0, len(text) - size)
        found = deque(_numbers(text, language, start), maxlen=_MAX_IN_ASIDE + 1)
        if start == 0 or (found and found[-1].start >= start + _MARGIN_CHARS):
            return _without_asides(text, list(found))
        size *= 2


def _without_asides(text: str, found: list[Number]) -> Number | None:
    """Return the last number, or the one that it restates: 1.5 in "1.5 hours (90 minutes)"."""
    if not found:
        return None
    last = found[-1]
    opening = text.rfind("(", max(0, last.start - _MAX_ASIDE_CHARS), last.start)
    aside = _ASIDE.match(text, max(0, opening - 2), opening + _MAX_ASIDE_CHARS)
    if opening < 0 or not aside or last.start > aside.end():
        return last
    for number in reversed(found):
        if number.end <= opening:
            return last if _SENTENCE_END.search(text, number.end, opening) else number
    return last
