"""Thoughts: finding the marks that a model puts around them, and removing them from answers.

In most models the marks are `<think>` and `</think>`. They are found in the model's chat template
and its special tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_WORD = r"think(?:ing)?|thoughts?|reason(?:ing)?"
_STYLES = (
    (re.compile(rf"</?((?:\w+:)?(?:{_WORD}))>", re.IGNORECASE), "<{}>", "</{}>"),
    (re.compile(rf"\[/?({_WORD})\]", re.IGNORECASE), "[{}]", "[/{}]"),
    (re.compile(rf"<\|(?:START|END)_({_WORD})\|>", re.IGNORECASE), "<|START_{}|>", "<|END_{}|>"),
    (re.compile(rf"<\|(?:begin|end)_of_({_WORD})\|>"), "<|begin_of_{}|>", "<|end_of_{}|>"),
    (re.compile(rf"\u25c1/?({_WORD})\u25b7"), "\u25c1{}\u25b7", "\u25c1/{}\u25b7"),
)
"""Styles of marks: a pattern that captures the word of either mark, then the opening and the
closing mark, in which {} is the word."""


@dataclass(frozen=True)
class ThoughtMarks:
    """The strings that begin and end a thought; the answer follows `closing`."""

    opening: str
    closing: str


HARMONY = ThoughtMarks("<|channel|>analysis<|message|>", "<|channel|>final<|message|>")
"""Channels (https://cookbook.openai.com/articles/openai-harmony): the final one is the answer."""

CHANNEL = ThoughtMarks("<|channel>thought", "<channel|>")
"""Gemma's channels: what follows the thought is the answer."""

THINK = ThoughtMarks("<think>", "</think>")


def find_marks(template: str, tokens: Iterable[str]) -> tuple[ThoughtMarks, ...]:
    """Return the thought marks that a model uses; empty if its files show none.

    Args:
        template: its chat template.
        tokens: its special tokens.
    """
    if "<|channel|>" in template and "final" in template:
        return (HARMONY,)
    source = "\n".join([template, *tokens])
    found = [
        ThoughtMarks(opening.format(word), closing.format(word))
        for pattern, opening, closing in _STYLES
        for word in sorted(set(pattern.findall(source)))
    ]
    if CHANNEL.opening in source:
        found.append(CHANNEL)
    return tuple(found)


def strip_thoughts(text: str, marks: Sequence[ThoughtMarks], *, opened: bool = False) -> str | None:
    """Return an answer without its thoughts; None if a thought was never closed.

    Args:
        text: what the model wrote.
        marks: the model's, from `find_marks`.
        opened: whether the prompt ended inside a thought.
    """
    if opened:
        _, closed, text = _partition_at_closing(text, marks)
        if not closed:
            return None
    for each in marks:
        # Some models write only the closing mark.
        end, start = text.find(each.closing), text.find(each.opening)
        if end >= 0 and not 0 <= start < end:
            text = text[end + len(each.closing) :].lstrip()
        while (start := text.find(each.opening)) >= 0:
            end = text.find(each.closing, start)
            if end < 0:
                return None
            before, after = text[:start], text[end + len(each.closing) :]
            if not before.strip():
                text = after.lstrip()
            elif not after or after[0].isspace():
                text = before.rstrip() + after
            else:  # keep the white space before the thought: it separates what is around it
                text = before + after
    return text.lstrip() if opened else text


def _partition_at_closing(text: str, marks: Sequence[ThoughtMarks]) -> tuple[str, str, str]:
    ends = [(text.find(each.closing), each.closing) for each in marks if each.closing in text]
    return text.partition(min(ends)[1]) if ends else (text, "", "")


def final_channel(text: str) -> str | None:
    """Return the text of Harmony's final channel; None if the model never reached it."""
    _, found, answer = text.rpartition(HARMONY.closing)
    return answer if found else None
