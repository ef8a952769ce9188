"""Number words that CLDR lacks, or spells in another way than people do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def _each(start: int, step: int, words: str) -> dict[str, int]:
    """Return words with their values, which rise by `step`."""
    return {word: start + step * at for at, word in enumerate(words.split())}


def _tens_and_units(
    units: Iterable[Mapping[str, int]], tens: Mapping[str, int], between: str
) -> dict[str, int]:
    """Return the names of 21 to 99 in languages that put the unit first."""
    return {
        f"{unit}{between}{ten}": value + more
        for each in units
        for unit, value in each.items()
        for ten, more in tens.items()
    }


_ARABIC_MASCULINE = _each(3, 1, "ثلاثة أربعة خمسة ستة سبعة ثمانية تسعة")
_ARABIC_FEMININE = _each(3, 1, "ثلاث أربع خمس ست سبع ثماني تسع")
_ARABIC_ONES = {"واحد": 1, "واحدة": 1, "إحدى": 1, "اثنين": 2, "اثنتين": 2, "اثنان": 2, "اثنتان": 2}
_ARABIC_TENS = {
    **_each(20, 10, "عشرون ثلاثون أربعون خمسون ستون سبعون ثمانون تسعون"),
    **_each(20, 10, "عشرين ثلاثين أربعين خمسين ستين سبعين ثمانين تسعين"),
}
_ARABIC_HUNDREDS = _each(300, 100, "ثلاث أربع خمس ست سبع ثمان تسع")
_SLOVENIAN_ONES = _each(1, 1, "ena dva tri štiri pet šest sedem osem devet")
_SLOVENIAN_TENS = _each(
    20, 10, "dvajset trideset štirideset petdeset šestdeset sedemdeset osemdeset devetdeset"
)
_HINDI = {
    spelling: value
    for value, spellings in {
        6: "छः छे",
        15: "पंद्रह",
        18: "अट्ठारह अठ्ठारह",
        19: "उन्निस",
        22: "बाइस",
        23: "तेइस",
        25: "पचीस",
        27: "सत्ताइस",
        28: "अट्ठाइस अठ्ठाईस अठ्ठाइस अठाईस अठाइस",
        29: "उन्तीस उंतीस उनत्तीस",
        31: "इकत्तीस",
        33: "तेंतीस",
        39: "उन्तालीस उंतालीस उनचालीस",
        42: "बियालीस",
        43: "तेंतालीस",
        44: "चवालीस चौंवालीस",
        49: "उन्चास उंचास",
        53: "तिरपन",
        58: "अठावन अठ्ठावन",
        63: "तिरसठ",
        64: "चौसठ",
        69: "उन्हत्तर",
        79: "उन्यासी उन्नासी",
        88: "अठासी अठ्ठासी",
        91: "इक्यानवे",
        92: "बानवे",
        93: "तिरानवे",
        94: "चौरानवे",
        95: "पंचानवे पचानवे",
        96: "छियानवे",
        97: "सत्तानवे",
        98: "अट्ठानवे अठानवे",
        99: "निन्यानवे",
    }.items()
    for spelling in spellings.split()
}

VALUES: Mapping[str, Mapping[str, int]] = {
    "ar": {
        **_ARABIC_FEMININE,
        **_ARABIC_ONES,
        **_ARABIC_TENS,
        "ثمان": 8,
        "عشر": 10,
        "أحد عشر": 11,
        "إحدى عشرة": 11,
        "اثنتا عشرة": 12,
        "اثني عشر": 12,
        "اثنتي عشرة": 12,
        **{f"{word} عشرة": 10 + value for word, value in _ARABIC_FEMININE.items()},
        **_tens_and_units((_ARABIC_ONES, _ARABIC_MASCULINE, _ARABIC_FEMININE), _ARABIC_TENS, " و"),
        **{
            f"{word}{hundred}": value
            for word, value in _ARABIC_HUNDREDS.items()
            for hundred in ("مائة", "مئة")
        },
        **dict.fromkeys(("مئتان", "مئتين", "مائتين", "مئتا", "مئتي", "مائتا", "مائتي"), 200),
        **dict.fromkeys(("ألفان", "ألفين", "ألفي"), 2000),
        **dict.fromkeys(("مليونان", "مليونين", "مليوني"), 2 * 10**6),
        **dict.fromkeys(("ملياران", "مليارين", "ملياري"), 2 * 10**9),
    },
    "fr": {
        word: value
        for ten, tens in (("septante", 70), ("huitante", 80), ("octante", 80), ("nonante", 90))
        for word, value in ((ten, tens), (f"{ten} et un", tens + 1), (f"{ten} et une", tens + 1))
    },
    "he": _each(3, 1, "שלושת ארבעת חמשת ששת שבעת שמונת תשעת עשרת"),
    "hi": _HINDI,
    "hu": {"két": 2, "tizenkét": 12, "huszonkét": 22},
    "it": {"tré": 3},
    "mk": {
        "двеста": 200,
        "триста": 300,
        **_each(
            400,
            100,
            "четиристотини петстотини шестотини седумстотини осумстотини деветстотини",
        ),
    },
    "sl": {
        "en": 1,
        "ena": 1,
        "eno": 1,
        "dve": 2,
        "trije": 3,
        "štirje": 4,
        **_tens_and_units((_SLOVENIAN_ONES,), _SLOVENIAN_TENS, "in"),
    },
}
"""Values of words and phrases, by language."""

SCALES: Mapping[str, Mapping[str, int]] = {
    "ar": {
        "مئة": 100,
        "ألفا": 10**3,
        **dict.fromkeys(("مليونا", "ملايين"), 10**6),
        **dict.fromkeys(("مليارا", "مليارات"), 10**9),
    },
    "bs": {
        **dict.fromkeys(("hiljade", "hiljadu"), 10**3),
        **dict.fromkeys(("milioni", "miliona"), 10**6),
        "milijardu": 10**9,
    },
    "cs": {
        **dict.fromkeys(("milion", "miliony", "milionů"), 10**6),
        "miliard": 10**9,
        **dict.fromkeys(("bilion", "biliony", "bilionů"), 10**12),
    },
    "el": {"χιλιάδες": 10**3, "χιλιάδων": 10**3},
    "he": {"אלפים": 10**3},
    "hy": {"միլիոն": 10**6, "միլիարդ": 10**9, "տրիլիոն": 10**12},
    "id": {"sejuta": 10**6},
    "is": {
        "hundruð": 100,
        **dict.fromkeys(("milljón", "milljónir"), 10**6),
        **dict.fromkeys(("milljarður", "milljarðar"), 10**9),
    },
    "lt": {
        "šimtų": 100,
        "milijonai": 10**6,
        "milijardai": 10**9,
        "trilijonai": 10**12,
    },
    "lv": {
        **dict.fromkeys(("simts", "simti", "simtu"), 100),
        **dict.fromkeys(("tūkstotis", "tūkstošu"), 10**3),
        "miljonu": 10**6,
        "miljardu": 10**9,
    },
    "mk": {"илјади": 10**3, "милиони": 10**6, "милијарди": 10**9, "билиони": 10**12},
    "ro": {"de mii": 10**3, "de milioane": 10**6, "de miliarde": 10**9},
    "sk": {"miliárd": 10**9},
    "sl": {
        "milijoni": 10**6,
        **dict.fromkeys(("milijarde", "milijardi"), 10**9),
    },
    "sq": {"miliard": 10**9, "miliardë": 10**9},
    "vi": {"ngàn": 10**3, "tỉ": 10**9},
}
"""Factors of words that multiply the number before them, by language."""

BEFORE: Mapping[str, Mapping[str, int]] = {"sw": {"laki": 10**5}}
"""Factors of words that multiply the number after them, by language."""

JOINERS: Mapping[str, frozenset[str]] = {
    "bs": frozenset(("i",)),
    "en": frozenset(("and",)),
    "hr": frozenset(("i",)),
    "mk": frozenset(("и",)),
    "sr": frozenset(("i", "и")),
    "vi": frozenset(("linh",)),
}
"""Words between the parts of a number where CLDR writes nothing, or another word."""
