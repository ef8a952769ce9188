"""Words that make a number larger (70 mil, 3万, 2 লক্ষ, elfu 70) or negative (minus 5, 负5)."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import cache
from math import prod

from lidr.components.shared.numbers import hanzi, words

_AFTER: dict[str, dict[str, int]] = {
    "ar": {"آلاف": 10**3, "ألف": 10**3},
    "bn": {"শত": 100, "হাজার": 10**3, "লক্ষ": 10**5, "লাখ": 10**5, "কোটি": 10**7},
    "de": {"tsd.": 10**3, "mio.": 10**6, "mio": 10**6, "mrd.": 10**9, "mrd": 10**9},
    "en": {
        "hundred": 100,
        "dozen": 12,
        "k": 10**3,
        "bn": 10**9,
        "trillion": 10**12,
        "lakh": 10**5,
        "lakhs": 10**5,
        "lac": 10**5,
        "crore": 10**7,
        "crores": 10**7,
    },
    "es": {"docenas": 12},
    "fr": {"douzaines": 12, "milliers": 10**3},
    "gu": {"સો": 100, "હજાર": 10**3, "લાખ": 10**5, "કરોડ": 10**7},
    "hi": {"सौ": 100, "हजार": 10**3, "हज़ार": 10**3, "अरब": 10**9},
    "ja": {"百": 100, "千": 10**3, "万": 10**4, "億": 10**8, "兆": 10**12},
    "ko": {"백": 100, "천": 10**3, "만": 10**4, "억": 10**8, "조": 10**12},
    "mr": {"शे": 100, "हजार": 10**3, "लाख": 10**5, "कोटी": 10**7},
    "pa": {"ਸੌ": 100, "ਹਜ਼ਾਰ": 10**3, "ਲੱਖ": 10**5, "ਕਰੋੜ": 10**7},
    "pl": {"tys.": 10**3, "mln": 10**6, "mld": 10**9},
    "ru": {"тыс.": 10**3, "млн": 10**6, "млрд": 10**9, "трлн": 10**12},
    "ta": {"லட்சம்": 10**5, "இலட்சம்": 10**5, "கோடி": 10**7},
    "te": {
        "వందలు": 100,
        "వందల": 100,
        "వేలు": 10**3,
        "వేల": 10**3,
        "లక్షలు": 10**5,
        "లక్షల": 10**5,
        "లక్ష": 10**5,
        "కోట్లు": 10**7,
        "కోట్ల": 10**7,
        "కోటి": 10**7,
    },
    "th": {"ร้อย": 100},
    "uk": {"тис.": 10**3, "млн": 10**6, "млрд": 10**9},
    "ur": {"سو": 100, "ہزار": 10**3, "لاکھ": 10**5, "کروڑ": 10**7},
    "vi": {"trăm": 100, "tỷ": 10**9},
    "zh": {"百": 100, "千": 10**3, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8},
}
"""Words that are added to those of `words.scale_words`."""

_BEFORE = {"sw": {"elfu": 10**3, "laki": 10**5, "milioni": 10**6, "bilioni": 10**9, "mia": 100}}

_UNSPACED_UNITS = frozenset(("ja", "ko", "th", "zh"))
"""Languages that join the next word to a scale word: 3만원."""

_OTHER_WORD = re.compile(rf"(?<=千)[{hanzi.METRIC}]|(?<=百)[分帕]|(?<=พัน)ธ")
"""千克 is a kilogram, 百帕 a hectopascal, 百分 per cent, พันธุ์ a breed."""

_MINUS = {
    "ar": ("سالب", "ناقص"),
    "bn": ("ঋণাত্মক", "মাইনাস"),
    "de": ("minus",),
    "en": ("minus", "negative"),
    "es": ("menos",),
    "fr": ("moins",),
    "hi": ("ऋणात्मक", "माइनस"),
    "ja": ("マイナス", "負の"),
    "pt": ("menos",),
    "ru": ("минус",),
    "sw": ("hasi",),
    "te": ("మైనస్", "రుణాత్మక", "ఋణ"),
    "th": ("ลบ", "ติดลบ"),
    "vi": ("âm",),
    "zh": ("负", "負"),
}
_OPERAND = re.compile(r"[\d)]\s*\Z")

_LETTER = re.compile(r"(?<=\d)([KMB])(?![\w²³])")
"""3.5M, 128K: capitals right after the digits. Metre is written m; M² and M³ are units."""
_LETTERS = {"K": 10**3, "M": 10**6, "B": 10**9}


@cache
def _words(language: str) -> tuple[dict[str, int], re.Pattern[str] | None]:
    """Return the factors of a language's words, and a pattern that finds a word after a number."""
    scales = {word: size for word, size in words.scale_words(language).items() if size >= 1000}
    known = scales | _AFTER.get(language, {})
    either = "|".join(re.escape(word) for word in sorted(known, key=len, reverse=True))
    stop = "" if language in _UNSPACED_UNITS else r"(?!\w)"
    found = re.compile(rf"[ \u00a0]?({either}){stop}", re.IGNORECASE)
    return known, found if known else None


_REST = re.compile(
    r"(?: (?=\d{1,4}[백천만]))?(\d{1,4}+)(?:((?:[百千万萬億亿백천만억]){1,2}+)|(?!\d|[.,]\d))"
)
"""What is added in 3万5千, 3만5000, 3만 5천 and 1億5千万, part by part."""
_KOREAN_REST = re.compile(r" ?([일이삼사오육칠팔구][천백][일이삼사오육칠팔구십백천]{0,8})")

_MAX_WORD_CHARS = 12

_MAX_WORDS = 4
"""Words read after one number; a model in a loop may repeat one for ever."""


def scaled(value: Fraction, text: str, start: int, end: int, language: str) -> tuple[Fraction, int]:
    """Return the number at `start` to `end` times the words around it, and where those end."""
    if language in _BEFORE:
        before = text[max(0, start - _MAX_WORD_CHARS) : start].lower().rstrip(" $")
        if size := _BEFORE[language].get(re.split(r"\W+", before)[-1]):
            return value * size, end
    if letter := _LETTER.match(text, end):
        return value * _LETTERS[letter[1]], letter.end()
    known, pattern = _words(language)
    factor = 1
    for _ in range(_MAX_WORDS):
        found = pattern.match(text, end) if pattern else None
        if not found:
            break
        if language in _UNSPACED_UNITS and _OTHER_WORD.match(text, found.end()):
            break
        factor *= _size(known, found[1])
        end = found.end()
    value *= factor
    while factor > 1 and language in ("ja", "ko", "zh") and (rest := _REST.match(text, end)):
        size = prod(known.get(unit, 0) for unit in rest[2] or "")
        if not 0 < size < factor:
            break
        value, end, factor = value + int(rest[1]) * size, rest.end(), size
    more, more_end = _numeral(text, end, language) if factor > 1 else (0, end)
    return (value + more, more_end) if 0 < more < factor else (value, end)


def _numeral(text: str, end: int, language: str) -> tuple[int, int]:
    """Return the value and the end of a numeral after a number's word: 五千 in 2万五千, or 0."""
    if language in hanzi.LANGUAGES:
        return hanzi.rest(text, end, language)
    if language != "ko" or not (found := _KOREAN_REST.match(text, end)):
        return 0, end
    return words.leading_number(found[1], language) or 0, found.end()


def _size(known: dict[str, int], word: str) -> int:
    """Return a word's factor in any case.

    A pattern that ignores case takes İ and ı for i, as `str.lower` does not.
    """
    return known.get(word.lower()) or next(
        size for each, size in known.items() if re.fullmatch(re.escape(each), word, re.IGNORECASE)
    )


def says_minus(before: str, language: str) -> bool:
    """Return whether the text before a number ends with a word for minus, as a sign."""
    lowered = before.lower()
    for word in _MINUS.get(language, ()):
        if lowered.endswith(word):
            rest = lowered[: -len(word)]
            joined = language not in _UNSPACED_UNITS and rest[-1:].isalpha()
            return not joined and not _OPERAND.search(rest)
    return False
