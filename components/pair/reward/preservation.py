"""Tests of a translation: it must keep code, links and names, and must not copy its source."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from lidr.components.shared.core.text import normalized_text, split_code

_NGRAM_CHARS = 5
"""Characters per n-gram when two texts are compared."""

_MIN_COPY_OVERLAP = 0.9
"""Share of common n-grams from which a translation counts as a copy of its source."""

_MIN_CODE_OVERLAP = 0.5
"""Share of common n-grams from which a code block counts as kept, comments aside."""

_MIN_NAME_LETTERS = 3

_PREFIX_LETTERS = 4
"""First letters that a name and its form in another language share: Marie, María."""

_STRING_OR_COMMENT = re.compile(
    r"""
    (?P<long>\"{3}(?:\\.|[^\\]){0,9999}?\"{3}|'{3}(?:\\.|[^\\]){0,9999}?'{3})
    | "(?:\\.|[^"\\\n]){0,999}" | '(?:\\.|[^'\\\n]){0,999}' | `[^`\n]{0,999}`
    | (?P<comment>
        (?<![^\s;]) \# (?=[\s\#]|[^\x00-\x7f]|\Z) [^\n]*  # not #include, #fff or ${#list}
        | (?<![^\s;,{})]) // [^\n]*  # not the // of https://
        | (?<![^\s;,{}()]) /\* .{0,9999}? \*/  # not src/*
        | (?<!\S) -- (?=\s) [^\n]*  # not --option
        | <!-- .{0,9999}? -->
    )
    """,
    re.DOTALL | re.VERBOSE,
)
"""A string, which may hold what looks like a comment, or a comment, in any programming language.

Lengths are limited for speed: a model's text may open a thousand of them and close none."""

_LINK = re.compile(r"https?://[^\s<>\"'`\\\[\](){}\x80-\U0010ffff]+")
"""A link ends at the first character that is not ASCII: text without spaces may follow it."""

_WORD = re.compile(r"[^\W\d_]+")
_SENTENCE_BREAK = re.compile(
    r"(?:[.!?:;\n\"'\u00bb\u00ab\u201c\u201d\u2026\u00bf\u00a1*#>|\u2013\u2014\u2022-]|\d\))\s*$"
)
_MARKER = r"(?:(?:[^\w\s]+|\(?(?:\d+|[a-z])[.)]|\(?[A-Z]\))[ \t]+)"
_ITEM = re.compile(rf"[ \t]*{_MARKER}+")
"""The start of a list item, up to its first word."""

_TITLE = re.compile(rf"^[ \t>]*(?:\#[^\n]*|{_MARKER}*(\*\*|__)[^\n]+?\1)", re.MULTILINE)
"""A heading, or the bold text that a line or list item begins with."""

_TITLE_END = re.compile(r"[:.!?\u2013\u2014]")
_MIN_TITLE_LETTERS = 4
"""Shorter words may be in lower case in a title: Eat a Balanced Diet."""

_NOUN_CAPITALISING = frozenset({"de"})
"""Languages that capitalise every noun, so that capitals do not mark names."""


def is_copy(source: str, translation: str) -> bool:
    """Tell whether at least 90% of the longer text's 5-grams of characters are in both."""
    return _overlap(source, translation) >= _MIN_COPY_OVERLAP


def keeps_code(source: str, translation: str) -> bool | None:
    """Tell whether all fenced code blocks are kept, comments aside; None if there are none."""
    _, blocks = split_code(source)
    if not blocks:
        return None
    _, found = split_code(translation)
    return len(found) == len(blocks) and all(
        _keeps_block(before, after) for before, after in zip(blocks, found, strict=True)
    )


def keeps_links(source: str, translation: str) -> bool | None:
    """Tell whether a translation has exactly the source's links; None if the source has none."""
    links = Counter(_links(source))
    return links == Counter(_links(translation)) if links else None


def keeps_names(source: str, translation: str, language: str) -> bool | None:
    """Tell whether at least half of the source's names are in the translation.

    A heuristic: a name is a word that is always capitalised and occurs inside a sentence, not in
    a title alone (a list item that capitalises each long word counts as one). It is matched by its
    first letters, ignoring accents. Names that differ between languages (Germany, Deutschland) are
    not matched, so half of them is enough.

    Args:
        source: the text that was translated.
        translation: its translation.
        language: ISO 639-1 code of the source's language.

    Returns:
        None if this cannot be told: the source has no names in Latin script, its language
        capitalises every noun, or the translation is not in Latin script.
    """
    if language in _NOUN_CAPITALISING or not _is_latin(translation):
        return None
    names = _names(source)
    if not names:
        return None
    prefixes = {_folded(word)[:_PREFIX_LETTERS] for word in _WORD.findall(translation)}
    kept = sum(_folded(name)[:_PREFIX_LETTERS] in prefixes for name in names)
    return kept * 2 >= len(names)


def _keeps_block(before: str, after: str) -> bool:
    """Tell whether a block of code is kept; one of comments alone is compared as it is."""
    code = _without_comments(before)
    overlap = _overlap(code, _without_comments(after)) if code.strip() else _overlap(before, after)
    return overlap >= _MIN_CODE_OVERLAP


def _without_comments(code: str) -> str:
    return _STRING_OR_COMMENT.sub(_kept_part, code)


def _kept_part(found: re.Match[str]) -> str:
    """Return a string as it is; "" for a comment or a Python docstring."""
    if found["long"]:
        before = found.string[: found.start()].rstrip()
        return "" if not before or before.endswith(":") else found[0]
    return "" if found["comment"] else found[0]


def _names(text: str) -> list[str]:
    lower = {word for word in _WORD.findall(text) if word.islower()}
    text = _without_titles(text)
    within = {
        word
        for word, start in ((found[0], found.start()) for found in _WORD.finditer(text))
        if len(word) >= _MIN_NAME_LETTERS and word.istitle() and _is_latin(word)
        if start and not _SENTENCE_BREAK.search(text[max(0, start - 20) : start])
    }
    return sorted(word for word in within if word.lower() not in lower)


def _without_titles(text: str) -> str:
    """Return a text without titles, which may capitalise any word, and without list markers."""
    lines = []
    for line in _TITLE.sub("", text).split("\n"):
        item = _ITEM.match(line)
        kept = line[item.end() :] if item else line
        title = _TITLE_END.split(kept, maxsplit=1)[0] if item else ""
        words = [word for word in _WORD.findall(title) if len(word) >= _MIN_TITLE_LETTERS]
        is_title = len(words) > 1 and all(word[0].isupper() for word in words)
        lines.append((kept[len(title) :] if is_title else kept).lstrip())
    return "\n".join(lines)


def _folded(text: str) -> str:
    """Return a text in lower case without accents."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(c for c in parts if not unicodedata.combining(c)).lower()


def _is_latin(text: str) -> bool:
    letters = {char: count for char, count in Counter(text).items() if char.isalpha()}
    latin = [c for c in letters if c.isascii() or unicodedata.name(c, "").startswith("LATIN")]
    return sum(letters[char] for char in latin) * 2 > sum(letters.values())


def _links(text: str) -> list[str]:
    return [link.rstrip(".,;:!?*") for link in _LINK.findall(text)]


def _overlap(first: str, second: str) -> float:
    """Return the share of the longer text's n-grams that both have; 1 for equal texts."""
    one, other = normalized_text(first), normalized_text(second)
    if one == other:
        return 1.0
    grams, others = _grams(one), _grams(other)
    longer = max(grams.total(), others.total())
    return (grams & others).total() / longer if longer else 0.0


def _grams(text: str) -> Counter[str]:
    return Counter(text[i : i + _NGRAM_CHARS] for i in range(len(text) - _NGRAM_CHARS + 1))
