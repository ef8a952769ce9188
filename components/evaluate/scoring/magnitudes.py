"""Words that make a number larger (70 mil, 3万, 2 লক্ষ, elfu 70) or negative (minus 5, 负5)."""

from __future__ import annotations

import re
from fractions import Fraction

_AFTER: dict[str, dict[str, int]] = {
    "ar": {"ألف": 10**3, "آلاف": 10**3, "مليون": 10**6},
    "bn": {"শত": 100, "হাজার": 10**3, "লক্ষ": 10**5, "লাখ": 10**5, "কোটি": 10**7},
    "de": {"tausend": 10**3, "millionen": 10**6, "million": 10**6, "mio.": 10**6},
    "en": {
        "thousand": 10**3,
        "million": 10**6,
        "billion": 10**9,
        "hundred": 100,
        "dozen": 12,
        "k": 10**3,
    },
    "es": {"mil": 10**3, "millones": 10**6, "millón": 10**6},
    "fr": {"mille": 10**3, "millions": 10**6, "million": 10**6},
    "hi": {"सौ": 100, "हज़ार": 10**3, "हजार": 10**3, "लाख": 10**5, "करोड़": 10**7},
    "it": {"mila": 10**3, "milioni": 10**6, "milione": 10**6},
    "ja": {"百": 100, "千": 10**3, "万": 10**4, "億": 10**8},
    "ko": {"백": 100, "천": 10**3, "만": 10**4, "억": 10**8},
    "pt": {"mil": 10**3, "milhões": 10**6, "milhão": 10**6},
    "ru": {
        "тыс.": 10**3,
        "тысяча": 10**3,
        "тысячи": 10**3,
        "тысяч": 10**3,
        "миллион": 10**6,
        "миллиона": 10**6,
        "миллионов": 10**6,
        "млн": 10**6,
    },
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
    "th": {"ร้อย": 100, "พัน": 10**3, "หมื่น": 10**4, "แสน": 10**5, "ล้าน": 10**6},
    "vi": {"trăm": 100, "nghìn": 10**3, "ngàn": 10**3, "triệu": 10**6, "tỷ": 10**9},
    "zh": {"百": 100, "千": 10**3, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8},
}

_BEFORE = {"sw": {"elfu": 10**3, "laki": 10**5, "milioni": 10**6, "mia": 100}}

_UNSPACED = frozenset(("ja", "ko", "th", "zh"))
_OTHER_WORD = re.compile(r"[克米瓦卡分ธุ]|ธุ์")
"""千克 is a kilogram, 千米 a kilometre, 百分 per cent, พันธุ์ a breed."""

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


def _pattern(words: dict[str, int], language: str) -> re.Pattern[str]:
    either = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    stop = "" if language in _UNSPACED else r"(?!\w)"
    return re.compile(rf"[ \u00a0]?({either}){stop}", re.IGNORECASE)


_AFTER_PATTERNS = {code: _pattern(words, code) for code, words in _AFTER.items()}
_REST = re.compile(r"(\d{1,4})(百|千|万|萬|백|천|만)?(?![\d.,])")
"""What is added in 3万5千 and 3만 5000."""

_LONGEST_WORD = 12

_MAX_WORDS = 4
"""After one number; a model in a loop may write a hundred thousand."""


def scaled(value: Fraction, text: str, start: int, end: int, language: str) -> tuple[Fraction, int]:
    """Return a number from `start` to `end` times the words around it, and where those end."""
    before = re.split(r"[^\w]+", text[max(0, start - _LONGEST_WORD) : start].lower().rstrip(" $"))
    if size := _BEFORE.get(language, {}).get(before[-1]):
        return value * size, end
    pattern = _AFTER_PATTERNS.get(language)
    enlarged = False
    for _ in range(_MAX_WORDS):
        found = pattern.match(text, end) if pattern else None
        if not found:
            break
        if language in _UNSPACED and _OTHER_WORD.match(text, found.end()):
            break
        value *= _AFTER[language][found[1].lower()]
        end, enlarged = found.end(), True
    if enlarged and language in ("ja", "ko", "zh") and (rest := _REST.match(text, end)):
        size = _AFTER[language].get(rest[2] or "", 1)
        return value + int(rest[1]) * size, rest.end()
    return value, end


def says_minus(before: str, language: str) -> bool:
    """Tell whether the text before a number ends with a word for minus that subtracts nothing."""
    lowered = before.lower()
    for word in _MINUS.get(language, ()):
        if lowered.endswith(word):
            rest = lowered[: -len(word)]
            joined = language not in _UNSPACED and rest[-1:].isalpha()
            return not joined and not _OPERAND.search(rest)
    return False
