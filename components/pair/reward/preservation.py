"""What a faithful translation leaves as it is: code, links, names; and what it must not."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_GRAM = 5
"""Characters of the n-grams that two texts are compared by."""

_COPIED = 0.9
"""Share of the n-grams that two texts have in common, from which one is a copy of the other."""

_SAME_CODE = 0.5
"""The same of a block of code, whose comments may be translated."""

_MIN_NAME = 3
"""Letters."""

_PREFIX = 4
"""First letters that a name and its form in another language share: Marie, María."""

_FENCED = re.compile(r"```[^\n]*\n(.*?)```", re.DOTALL)
_LINK = re.compile(r"https?://[^\s<>\"'`\\\[\](){}]+")
_CAPITALISED = re.compile(r"(?<![^\W\d_])[^\W\d_]+")
_STARTS = re.compile(r"[.!?:;\n\"'\u00bb\u00ab\u201c\u201d\u00bf\u00a1*#>|-]\s*$")

_LATIN = re.compile("LATIN")

CAPITALISING = frozenset({"de"})
"""Languages that write every noun with a capital, so that names cannot be told by theirs."""


def is_copy(source: str, translation: str) -> bool:
    """Tell whether a translation is its source, with a few words changed at most."""
    return _overlap(source, translation) >= _COPIED


def keeps_code(source: str, translation: str) -> bool | None:
    """Tell whether each fenced block of code is as it was, comments aside; None without any."""
    blocks = _FENCED.findall(source)
    if not blocks:
        return None
    found = _FENCED.findall(translation)
    return len(found) == len(blocks) and all(
        _overlap(before, after) >= _SAME_CODE for before, after in zip(blocks, found, strict=True)
    )


def keeps_links(source: str, translation: str) -> bool | None:
    """Tell whether a translation holds the source's links; None where it has none."""
    links = Counter(_links(source))
    return links == Counter(_links(translation)) if links else None


def keeps_names(source: str, translation: str, language: str) -> bool | None:
    """Tell whether at least half of the source's names are in the translation.

    A heuristic: a name is a word that is always written with a capital and stands within a
    sentence, and is found again by its first letters, accents aside. Names that differ between
    languages (Germany, Deutschland) are missed, so one half is asked for.

    Args:
        source: the text that was translated.
        translation: of it.
        language: of the source, ISO 639-1.

    Returns:
        None where names cannot be told: there are none, the language writes every noun with a
        capital, or either text is not in Latin script.
    """
    if language in CAPITALISING or not _is_latin(translation):
        return None
    names = _names(source)
    if not names:
        return None
    held = {word[:_PREFIX] for word in _words(translation)}
    kept = sum(_folded(name)[:_PREFIX] in held for name in names)
    return kept * 2 >= len(names)


def _names(text: str) -> list[str]:
    words = [(found[0], found.start()) for found in _CAPITALISED.finditer(text)]
    lower = {word for word, _ in words if word.islower()}
    within = {
        word
        for word, start in words
        if len(word) >= _MIN_NAME and word.istitle() and _is_latin(word)
        if start and not _STARTS.search(text[max(0, start - 20) : start])
    }
    return sorted(word for word in within if word.lower() not in lower)


def _words(text: str) -> Sequence[str]:
    return [_folded(word) for word in _CAPITALISED.findall(text)]


def _folded(text: str) -> str:
    """Return a text in lower case without accents."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(c for c in parts if not unicodedata.combining(c)).lower()


def _is_latin(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    latin = sum(c.isascii() or bool(_LATIN.match(unicodedata.name(c, ""))) for c in letters)
    return latin * 2 > len(letters)


def _links(text: str) -> list[str]:
    return [link.rstrip(".,;:!?\u3002\uff0c") for link in _LINK.findall(text)]


def _overlap(first: str, second: str) -> float:
    """Return which share of the longer text's n-grams both have; 1 for equal texts."""
    one, other = (_plain(text) for text in (first, second))
    if one == other:
        return 1.0
    grams, others = (_grams(text) for text in (one, other))
    longer = max(grams.total(), others.total())
    return (grams & others).total() / longer if longer else 0.0


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _grams(text: str) -> Counter[str]:
    return Counter(text[i : i + _GRAM] for i in range(len(text) - _GRAM + 1))
