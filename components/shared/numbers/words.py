"""Parses numbers that are written out: eighteen, dos mil, fünfundzwanzig, สามสิบ.

The words are CLDR's (`lexicon`), with some that it lacks (`missing_words`), for 49 of our
languages. Chinese numerals are read elsewhere (`hanzi`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

from lidr.components.shared.numbers.combine import Part, combined
from lidr.components.shared.numbers.lexicon import HAN, Lexicon, lexicon_of, words_of

_PARTLY = frozenset(("cy", "ga", "ka", "ta", "tl", "zu"))
"""Languages that change or join the parts of larger numbers in ways that are not parsed here."""
_PREFIXES = frozenset(("و", "ו"))
"""Arabic and Hebrew join "and" to the word that follows."""
_COUNTING = frozenset("두세네열")
"""Korean numbers of one syllable that count things where they stand alone."""
_ALONE = re.compile("[백천만억조](?=원|$)")
"""A Korean hundred, thousand or more alone: 백 is a bag as well, 백성 are people."""
_AFTER_TEN = re.compile("(?<=[ 백천만]열) (?=[한두세네둘셋넷]|하나|다섯|여섯|일곱|여덟|아홉)")
"""A space within a Korean number from eleven to nineteen: 열 두 개."""
_DIGIT = re.compile("[일이삼사오육칠팔구]")
_SINO = re.compile(r"[일이삼사오육칠팔구십백천만억조]\Z")
"""The end of a Korean number in Chinese words."""
_LONE = re.compile(r"[\d백천만]")
_COUNTED = re.compile("명|개|권|살|마리|시간|대|장|병|번|곳|가지|그루|송이|자루|잔|쌍")
"""What native Korean numbers count, also after hundreds in Chinese words: 이백 세 명 is 203."""
_MYRIAD = 10**4
_MAX_COMPOUND_CHARS = 80
_MAX_CHARS = 200
"""Characters that are read for one written-out number."""


def can_read(language: str) -> bool:
    """Return whether numbers that are written out in a language can be parsed."""
    readable = language not in _PARTLY and lexicon_of(language) is not None
    return language in HAN or readable


def scale_words(language: str) -> dict[str, int]:
    """Return the words that multiply the number before them: thousand, million, lakh."""
    lexicon = lexicon_of(language)
    return {} if lexicon is None else {" ".join(ws): s for ws, s in lexicon.scales.items()}


def spelled(text: str, language: str) -> Iterator[int]:
    """Yield the values of the numbers that are written out, in order.

    Words with a second meaning are included (French neuf, the article un). Nothing is found where
    `can_read` says no; for Chinese numerals see `hanzi`.
    """
    lexicon = lexicon_of(language) if can_read(language) else None
    if lexicon is not None:
        yield from combined(_parts(words_of(text), lexicon, language))


def leading_number(text: str, language: str) -> int | None:
    """Return the value of the written-out number that a text begins with, or None.

    As in `spelled`, there is none where `can_read` says no.
    """
    lexicon = lexicon_of(language) if can_read(language) else None
    if lexicon is None:
        return None
    parts = _parts(words_of(text[:_MAX_CHARS]), lexicon, language)
    return next(combined(parts), None) if parts and parts[0] else None


def _parts(words: Sequence[str], lexicon: Lexicon, language: str) -> list[Part]:
    if language == "ko":
        return list(_korean(words, lexicon))
    if language == "th":
        return list(_thai(words, lexicon))
    return list(_spaced(list(words), lexicon))


def _spaced(words: list[str], lexicon: Lexicon) -> Iterator[Part]:
    at = 0
    while at < len(words):
        word, (part, taken) = words[at], _phrase(words, at, lexicon)
        prefixed = word[:1] in _PREFIXES & lexicon.joiners and word[1:] in lexicon.starts
        if prefixed and (not part or part[0] == "scale"):
            words[at] = word[1:]
            yield ("joiner", 0)
            continue
        if part:
            yield part
            at += taken
            continue
        at += 1
        if word in lexicon.joiners or word == ",":
            yield ("joiner", 0) if word != "," else ("comma", 0)
        elif parts := _compound(word, lexicon):
            yield from parts
        else:
            yield None


def _phrase(words: Sequence[str], at: int, lexicon: Lexicon) -> tuple[Part, int]:
    if words[at] in lexicon.starts:
        for size in range(min(lexicon.longest, len(words) - at), 0, -1):
            phrase = tuple(words[at : at + size])
            for kind, known in (
                ("value", lexicon.values),
                ("scale", lexicon.scales),
                ("before", lexicon.before),
            ):
                if phrase in known:
                    return (kind, known[phrase]), size
    return None, 0


def _compound(word: str, lexicon: Lexicon) -> list[Part]:
    """Return the parts of a word such as fünfhunderttausend; none if it is not a number."""
    ends: dict[int, list[str]] = {0: []}
    for at in range(len(word) if len(word) <= _MAX_COMPOUND_CHARS else 0):
        if at in ends:
            for piece in lexicon.pieces.get(word[at], ()):
                if word.startswith(piece, at):
                    ends.setdefault(at + len(piece), [*ends[at], piece])
    pieces = ends.get(len(word), [])
    return [part for piece in pieces if (part := _phrase([piece], 0, lexicon)[0])]


def _thai(words: Sequence[str], lexicon: Lexicon) -> Iterator[Part]:
    """Parse numbers in text without spaces between words."""
    for word in words:
        at = 0
        while at < len(word):
            parts, end = _run(word, at, lexicon)
            yield from parts
            if end == at or end < len(word):
                yield None
            at = max(end, at + 1)


def _korean(words: Sequence[str], lexicon: Lexicon) -> Iterator[Part]:
    """Parse numbers whose words may be joined or not, and that begin a word: 만 오천이백."""
    before: Part = None
    words = _AFTER_TEN.sub("", f" {' '.join(words)}").split(" ")[1:]
    for last, word, following in zip(["", *words], words, [*words[1:], ""], strict=False):
        parts, end = _korean_run(word, following, lexicon)
        first = lexicon.run.match(word)
        counts = first is not None and first[0] in _COUNTING
        is_unit = counts and _is_unit(last, before, word[1:3] or following)
        if is_unit or (end < 2 and word not in _COUNTING):
            goes_on = _goes_on(last, before, word, lexicon)  # 이 is "this" as well as 2
            if not goes_on and not _begins_number(last, word, following, lexicon):
                yield None
                before = None
                continue
        if _is_another(before, parts):
            yield None
        yield from parts
        before = parts[-1]
        if end < len(word):
            yield None
            before = None


def _korean_run(word: str, following: str, lexicon: Lexicon) -> tuple[list[Part], int]:
    """Return the number that begins a word, and where it ends: before the 세 of 이십세."""
    parts: list[Part] = []
    at = 0
    while found := lexicon.run.match(word, at):
        if parts and found[0] in (*_COUNTING, "한"):
            counted = word[found.end() : found.end() + 2] or following
            if word[:2] == f"만{found[0]}" or _is_unit(word[at - 1], parts[-1], counted):
                break
        parts.append(_phrase([found[0]], 0, lexicon)[0])
        at = found.end()
    return parts, at


def _is_unit(last: str, before: Part, following: str) -> bool:
    """Return whether 두, 세, 네 or 열 is a unit or another word after a number: 이십 세.

    세 is a year of age, 두 a head of cattle, 열 a row; as numbers they follow native tens (스물세).
    """
    if not (_SINO.search(last) if before else _LONE.fullmatch(last)):
        return False
    return (before is not None and before[1] < 100) or not _COUNTED.match(following)


def _is_another(before: Part, parts: Sequence[Part]) -> bool:
    """Return whether parts are a number of their own: 천만 after 이만."""
    if before is None or before[0] != "scale" or before[1] < _MYRIAD:
        return False
    return any(part and part[0] == "scale" and part[1] >= before[1] for part in parts)


def _goes_on(last: str, before: Part, word: str, lexicon: Lexicon) -> bool:
    """Return whether a word is a lone scale of the number before: 천 of 이만 천, 만 of 삼백 만."""
    scale = lexicon.scales[(word[0],)] if _ALONE.match(word) else 0
    if before is None or not scale:
        return False
    if before[0] == "scale" and before[1] > scale:
        return True
    return before[1] < scale and scale >= _MYRIAD and bool(_SINO.search(last))


def _begins_number(last: str, word: str, following: str, lexicon: Lexicon) -> bool:
    """Return whether a lone scale or digit is part of a number: 만 of 만 오천 원, 오 of 오 만 원.

    Before a time of less than 100, 만 means that it is complete: 만 이십 개월.
    """
    if _DIGIT.fullmatch(word):
        read = word != "이" or _SINO.search(last)
        return bool(read) and _goes_on(word, ("value", 1), following, lexicon)
    if not (len(word) == 1 and _ALONE.match(word)):
        return False
    scale = lexicon.scales[(word,)]
    parts, end = _run(following, 0, lexicon)
    if end < 2:
        return _goes_on(word, ("scale", scale), following, lexicon)
    if scale < _MYRIAD:  # 백 이십만 has a scale of its own
        parts = list(takewhile(lambda part: part and part[1] < _MYRIAD, parts))
    value = next(combined(parts), 0)
    return scale <= _MYRIAD and (100 if scale == _MYRIAD else 1) <= value < scale


def _run(word: str, at: int, lexicon: Lexicon) -> tuple[list[Part], int]:
    """Return the parts of the number at a place in a word, and where it ends."""
    parts: list[Part] = []
    while found := lexicon.run.match(word, at):
        parts.append(_phrase([found[0]], 0, lexicon)[0])
        at = found.end()
    return parts, at
