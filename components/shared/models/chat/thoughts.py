"""Thoughts: finding the marks that a model puts around them, and removing them from answers.

A thought stands between two marks, `<think>` and `</think>` in most models. A model's marks are
read from its chat template and its special tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_WORD = r"think(?:ing)?|thoughts?|reason(?:ing)?"
_TAG = re.compile(rf"</?((?:\w+:)?(?:{_WORD}))>", re.IGNORECASE)
_BRACKET = re.compile(rf"\[/?({_WORD})\]", re.IGNORECASE)
_BAR = re.compile(rf"<\|(?:START|END)_({_WORD})\|>", re.IGNORECASE)
_OF = re.compile(rf"<\|(?:begin|end)_of_({_WORD})\|>")
_SIGN = re.compile(rf"\u25c1/?({_WORD})\u25b7")


@dataclass(frozen=True)
class ThoughtMarks:
    """The strings that begin and end a thought.

    Attributes:
        opening: begins a thought.
        closing: ends it; the answer follows.
    """

    opening: str
    closing: str


HARMONY = ThoughtMarks("<|channel|>analysis<|message|>", "<|channel|>final<|message|>")
"""Channels (https://cookbook.openai.com/articles/openai-harmony): the final one is the answer."""

CHANNEL = ThoughtMarks("<|channel>thought", "<channel|>")

COMMON = ThoughtMarks("<think>", "</think>")


def find_marks(template: str, tokens: Iterable[str]) -> tuple[ThoughtMarks, ...]:
    """Return the thought marks that a model uses; empty where its files show none.

    Args:
        template: its chat template.
        tokens: its special tokens.
    """
    if "<|channel|>" in template and "final" in template:
        return (HARMONY,)
    source = "\n".join([template, *tokens])
    found = [ThoughtMarks(f"<{name}>", f"</{name}>") for name in _names(_TAG, source)]
    found += [ThoughtMarks(f"[{name}]", f"[/{name}]") for name in _names(_BRACKET, source)]
    found += [ThoughtMarks(f"<|START_{n}|>", f"<|END_{n}|>") for n in _names(_BAR, source)]
    found += [ThoughtMarks(f"<|begin_of_{n}|>", f"<|end_of_{n}|>") for n in _names(_OF, source)]
    found += [ThoughtMarks(f"\u25c1{n}\u25b7", f"\u25c1/{n}\u25b7") for n in _names(_SIGN, source)]
    if CHANNEL.opening in source:
        found.append(CHANNEL)
    return tuple(found)


def _names(pattern: re.Pattern[str], source: str) -> list[str]:
    return sorted(set(pattern.findall(source)))


def strip_thoughts(text: str, marks: Sequence[ThoughtMarks], *, opened: bool = False) -> str | None:
    """Return an answer without its thoughts; None where a thought was never closed.

    Args:
        text: what the model wrote.
        marks: the model's, from `find_marks`.
        opened: whether the prompt ended inside a thought.
    """
    if opened:
        _, closed, text = _after_first(text, marks)
        if not closed:
            return None
    for each in marks:
        # A thought without its opening mark: some models write the closing one alone.
        end, start = text.find(each.closing), text.find(each.opening)
        if end >= 0 and not 0 <= start < end:
            text = text[end + len(each.closing) :].lstrip()
        while (start := text.find(each.opening)) >= 0:
            end = text.find(each.closing, start)
            if end < 0:
                return None
            before, after = text[:start].rstrip(), text[end + len(each.closing) :]
            text = f"{before}{after}" if before else after.lstrip()
    return text.lstrip() if opened else text


def _after_first(text: str, marks: Sequence[ThoughtMarks]) -> tuple[str, str, str]:
    ends = [(text.find(each.closing), each.closing) for each in marks if each.closing in text]
    return text.partition(min(ends)[1]) if ends else (text, "", "")


def final_channel(text: str) -> str | None:
    """Return the text of the final channel (Harmony); None where the model never reached it."""
    _, found, said = text.rpartition(HARMONY.closing)
    return said if found else None
