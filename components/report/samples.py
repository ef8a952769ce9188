"""The section with sample pairs, side by side, with the words that differ marked."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from markupsafe import Markup, escape

from components.report.blocks import swatch
from components.report.history import Round
from components.report.words import language, model
from components.shared.recipe import Recipe
from components.shared.records import Kind

_MOST = 12
_LONGEST = 3000
"""Characters of a text that are shown."""

_TOKEN = re.compile(r"\s+|[^\s.,;:!?]+|[.,;:!?]")
_MOST_TOKENS = 800
_ALIKE = 0.3
"""Texts less alike than this are not marked: everything would be."""

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Characters that would change how the text around them is shown."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One pair as the page shows it; the texts are escaped."""

    iteration: str
    language: Markup
    meaning: str
    prompt: Markup
    chosen: Markup
    rejected: Markup


def samples(settings: Recipe, rounds: list[Round]) -> list[Sample]:
    """Return a dozen pairs, in turn from every iteration, language and kind; differing ones first.

    Args:
        settings: the recipe.
        rounds: the run's iterations.
    """
    groups: dict[tuple[int, str, str], list[dict[str, Any]]] = defaultdict(list)
    for item in rounds:
        found = item.counts("pair").get("samples", [])
        for pair in sorted(found, key=lambda pair: pair["chosen"] == pair["rejected"]):
            groups[item.iteration, pair["language"], pair["kind"]].append(pair)
    turns = [
        (key, group[turn])
        for turn in range(_MOST)
        for key, group in groups.items()
        if turn < len(group)
    ]
    turns.sort(key=lambda found: found[1]["chosen"] == found[1]["rejected"])
    order = {code: index for index, code in enumerate(settings.languages.all)}
    chosen = sorted(turns[:_MOST], key=lambda found: (found[0][0], order.get(found[0][1], 99)))
    return [_sample(settings, iteration, pair) for (iteration, _, _), pair in chosen]


def marked(text: str, other: str) -> Markup:
    """Return a text escaped, the words that the other one lacks in <mark>."""
    own, theirs = (_TOKEN.findall(shortened(item)) for item in (text, other))
    if not own or max(len(own), len(theirs)) > _MOST_TOKENS:
        return Markup("").join(visible(token) for token in own)
    matcher = SequenceMatcher(None, theirs, own, autojunk=False)
    if _alike(matcher, own, theirs) < _ALIKE:
        return Markup("").join(visible(token) for token in own)
    return Markup("").join(
        _run(own[start:end], operation != "equal")
        for operation, _, _, start, end in matcher.get_opcodes()
        if start < end
    )


def visible(text: str) -> Markup:
    """Return a text escaped, control characters and bidirectional overrides shown by number."""
    parts, position = [], 0
    for match in _CONTROLS.finditer(text):
        parts.append(escape(text[position : match.start()]))
        parts.append(Markup('<span class="control">U+{}</span>').format(f"{ord(match[0]):04X}"))
        position = match.end()
    return Markup("").join([*parts, escape(text[position:])])


def shortened(text: str) -> str:
    """Return the first 3,000 characters, and how many were left out."""
    left_out = len(text) - _LONGEST
    return text if left_out <= 0 else f"{text[:_LONGEST]} … ({left_out:,} more characters)"


def _alike(matcher: SequenceMatcher[str], own: Sequence[str], theirs: Sequence[str]) -> float:
    """Return the share of words, white space left aside, that both texts have."""
    common = [
        token
        for block in matcher.get_matching_blocks()
        for token in own[block.b : block.b + block.size]
    ]
    both, either = (
        sum(not token.isspace() for token in part) for part in (common, [*own, *theirs])
    )
    return 2 * both / (either or 1)


def _run(tokens: Sequence[str], differs: bool) -> Markup:
    content = Markup("").join(visible(token) for token in tokens)
    return Markup("<mark>{}</mark>").format(content) if differs and content.strip() else content


def _sample(settings: Recipe, iteration: int, pair: dict[str, Any]) -> Sample:
    dominant = language(settings.languages.dominant)
    own = language(pair["language"])
    meanings = {
        Kind.TRANSLATION_CHOSEN: f"{dominant} answer, translated, over the {own} answer",
        Kind.OWN_CHOSEN: f"{own} answer over a translation into {own}",
    }
    return Sample(
        iteration=model(iteration),
        language=swatch(settings.languages, pair["language"]),
        meaning=meanings.get(pair["kind"], str(pair["kind"])),
        prompt=visible(shortened(pair["prompt"])),
        chosen=marked(pair["chosen"], pair["rejected"]),
        rejected=marked(pair["rejected"], pair["chosen"]),
    )
