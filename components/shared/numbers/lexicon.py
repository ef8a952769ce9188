"""Number words by language, from CLDR, and what each of them does to a number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from unicode_rbnf import FormatPurpose, RbnfEngine
from unicode_rbnf.engine import RbnfError

from lidr.components.shared.numbers import missing_words

_SCALES = (100, 10**3, 10**6, 10**9, 10**12)
_OTHER_SCALES = (10**4, 10**5, 10**7, 10**8)
_WITH_OTHER_SCALES = frozenset(("hi", "ko", "ta", "th"))
"""Languages with a word for ten thousand or a hundred thousand."""
_LOCALES = {"bs": ("bs", "hr"), "nb": ("no",), "sr": ("sr", "sr_Latn"), "tl": ("fil",)}
HAN = frozenset(("ja", "zh"))
_COUNTS = (1, 2, 5, 30)
"""How many thousands and millions are spelled out, to find all of a scale's plurals."""
_MAX_CASES = 8
_MAX_ORDINAL = 31

Phrase = tuple[str, ...]

_WORD = re.compile(r"[^\W\d_]+(?:[\u0300-\u036f\u0900-\u0e4f\u064b-\u0652][^\W\d_]*)*|[,\n]|\S")
_MARKS = str.maketrans(
    {
        **dict.fromkeys("-\u2010\u2011", " "),
        **dict.fromkeys("\u00ad\u200b\u200c\u093c\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652"),
        **dict.fromkeys("أإآ", "ا"),
        "\u0901": "\u0902",
        "ё": "е",
        **dict.fromkeys("’ʼ", "'"),
        "ş": "ș",
        "ţ": "ț",
    }
)
"""Removes variants of spelling: hyphens, vowel signs of Arabic, the dots of Hindi's ज़.

CLDR writes Hindi's पाँच where most people write पांच, and Romanian with cedillas, not commas;
Ukrainians type either apostrophe.
"""


@dataclass(frozen=True)
class Lexicon:
    """A language's number words.

    Attributes:
        values: values of the phrases for 0 to 99 and the hundreds.
        scales: factors of the phrases that multiply the number before them.
        before: factors of the phrases that multiply the number after them.
        joiners: words between the parts of one number.
        longest: number of words in the longest phrase.
        starts: first words of the phrases.
        pieces: what one word may be joined of, by first letter, the longest first.
        run: matches the next word in a script without spaces.
    """

    values: dict[Phrase, int]
    scales: dict[Phrase, int]
    before: dict[Phrase, int]
    joiners: frozenset[str]
    longest: int
    starts: frozenset[str]
    pieces: dict[str, list[str]]
    run: re.Pattern[str]


@cache
def lexicon_of(language: str) -> Lexicon | None:
    """Return a language's number words, or None where CLDR has none (and for Chinese numerals)."""
    known = RbnfEngine.get_supported_languages()
    locales = [name for name in _LOCALES.get(language, (language,)) if name in known]
    if language in HAN or not locales:
        return None
    engines = [RbnfEngine.for_language(name) for name in locales]
    values = _known(missing_words.VALUES, language)
    for number in (*range(100), *range(100, 1000, 100)):
        common = number <= 20 or number % 10 == 0
        forms = _forms(engines, number, limit=_MAX_CASES if common else 3)
        if number <= _MAX_ORDINAL:
            forms |= _forms(engines, number, FormatPurpose.ORDINAL, _MAX_CASES)
        for form in forms:
            values.setdefault(form, number)
    tables = _Multipliers(engines, values)
    after = tables.after | _known(missing_words.SCALES, language)
    before = tables.before | _known(missing_words.BEFORE, language)
    joiners = tables.joiners | missing_words.JOINERS.get(language, frozenset())
    phrases = [*values, *after, *before]
    single = sorted({p[0] for p in phrases if len(p) == 1}, key=len, reverse=True)
    pieces: dict[str, list[str]] = {}
    for word in sorted({*single, *tables.joiners}, key=len, reverse=True):
        pieces.setdefault(word[0], []).append(word)
    return Lexicon(
        values,
        after,
        before,
        frozenset(joiners),
        max(map(len, phrases)),
        frozenset(phrase[0] for phrase in phrases),
        pieces,
        re.compile("|".join(map(re.escape, single))),
    )


def _known(table: Mapping[str, Mapping[str, int]], language: str) -> dict[Phrase, int]:
    return {words_of(text): value for text, value in table.get(language, {}).items()}


def words_of(text: str) -> Phrase:
    """Split a text into words as in a lexicon; commas, line breaks and signs are words, too."""
    return tuple(_WORD.findall(text.lower().translate(_MARKS)))


def _forms(
    engines: list[RbnfEngine],
    number: int,
    purpose: FormatPurpose = FormatPurpose.CARDINAL,
    limit: int = 4,
) -> set[Phrase]:
    """Return a number's names in up to `limit` cases and genders, the most basic ones."""
    texts = (text for engine in engines for text in _texts(engine, number, purpose, limit))
    found = {tuple(word for word in words_of(text) if word != ",") for text in texts}
    return {form for form in found if form and not form[0][0].isdigit()}


def _texts(engine: RbnfEngine, number: int, purpose: FormatPurpose, limit: int) -> Iterator[str]:
    names = [
        name
        for name, rules in engine.rulesets.items()
        if not rules.is_private
        and "verbose" not in name
        and FormatPurpose.from_ruleset_name(name) == purpose
    ]
    for name in sorted(names, key=len)[:limit]:
        with suppress(RbnfError, ValueError):  # a rule that the library does not support
            yield "".join(engine.iter_format_number(number, name))


class _Multipliers:
    """Words for hundred, thousand and so on, found in the names of 2,000, 5,001 and the like.

    Attributes:
        after: factors of the phrases that multiply the number before them.
        before: factors of the phrases that multiply the number after them (Swahili elfu).
        joiners: words between hundreds or thousands and ones.
    """

    def __init__(self, engines: list[RbnfEngine], values: dict[Phrase, int]) -> None:
        self._values = values
        self.after: dict[Phrase, int] = {}
        self.before: dict[Phrase, int] = {}
        self.joiners: set[str] = set()
        for whole, one in ((100, 1), (1000, 1), (100, 8), (1000, 8)):
            self._find_joiners(
                _forms(engines, whole + one), _forms(engines, whole), _forms(engines, one)
            )
        others = _OTHER_SCALES if engines[0].language in _WITH_OTHER_SCALES else ()
        for scale in sorted((*_SCALES, *others)):
            self._find(engines, scale)
        for phrase, value in list(values.items()):
            if value >= _SCALES[1] and self._is_composite(phrase, value):  # Hungarian két|ezer
                del values[phrase]
        self.joiners -= {phrase[0] for phrase in (*values, *self.after, *self.before)}

    def _find(self, engines: list[RbnfEngine], scale: int) -> None:
        """Add what the names of 2,000, 5,001 and the like hold besides those of 2, 5 and 1."""
        found: Counter[tuple[Phrase, bool]] = Counter()
        for count in _COUNTS:
            forms = _forms(engines, count * scale)
            for one in (1, 8) if scale == 100 else (1,):
                names = _forms(engines, one)
                longer = _forms(engines, count * scale + one)
                heads = {_cut(form, name) for form in longer for name in names} - {()}
                forms |= {head[:-1] if head[-1] in self.joiners else head for head in heads} - {()}
            counts = _forms(engines, count, limit=_MAX_CASES)
            rests = {(_cut_front(form, name), False) for form in forms for name in counts}
            rests |= {(f[: -len(n)], True) for f in forms for n in counts if _ends(f, n)}
            if not rests - {((), False)}:
                rests = {(form, False) for form in forms if count == 1}
                if count == 2 and scale in _SCALES[1:]:  # Hungarian kétezer
                    pairs = dict.fromkeys((form for form in forms if len(form) == 1), 2 * scale)
                    self._values.update(pairs | self._values)
            found.update(rests)
        for (phrase, leads), times in found.items():
            named = times > 1 or scale in _SCALES
            fits = len(phrase) in (1, 2) and self._values.get(phrase, scale) == scale
            if named and fits and not self._is_composite(phrase, scale):
                self._values.pop(phrase, None)
                (self.before if leads else self.after).setdefault(phrase, scale)

    def _is_composite(self, phrase: Phrase, value: int) -> bool:
        """Return whether a phrase joins two known words whose product is the value."""
        joined = "".join(phrase)
        known = {"".join(p): v for t in (self._values, self.after) for p, v in t.items()}
        return any(
            known[joined[:at]] * known[joined[at:]] == value and 1 < known[joined[:at]] < value
            for at in range(1, len(joined))
            if joined[:at] in known and joined[at:] in known
        )

    def _find_joiners(self, forms: set[Phrase], wholes: set[Phrase], ones: set[Phrase]) -> None:
        for form in forms:
            for whole in wholes:
                for one in ones:
                    rest = _cut_front(form, whole)
                    middle = "".join(rest).removesuffix("".join(one))
                    if len(_cut(rest, one)) == 1 and middle.isalpha():
                        self.joiners.add(middle)


def _ends(form: Phrase, name: Phrase) -> bool:
    return len(form) > len(name) and form[-len(name) :] == name


def _cut(form: Phrase, name: Phrase) -> Phrase:
    """Return a phrase without the name at its end, even if joined to a word; () without one."""
    if _ends(form, name):
        return form[: -len(name)]
    if len(name) == 1 and form and form[-1].endswith(name[0]) and form[-1] != name[0]:
        return form[:-1] or (form[-1].removesuffix(name[0]),)
    return ()


def _cut_front(form: Phrase, name: Phrase) -> Phrase:
    """Return a phrase without the name at its start, even if joined to a word; () without one."""
    if len(form) > len(name) and form[: len(name)] == name:
        return form[len(name) :]
    if len(name) == 1 and form[0].startswith(name[0]) and form[0] != name[0]:
        return (form[0].removeprefix(name[0]), *form[1:])
    return ()
