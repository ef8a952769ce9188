"""Languages of two scripts, of which lingua reads one: Serbian, Kazakh, Azerbaijani.

Serbian in Latin letters is, to lingua, Croatian or Bosnian. Kazakh in Latin letters and Azerbaijani
in Cyrillic ones are put into the script that it reads.
"""

from __future__ import annotations

import re


def _table(pairs: str) -> dict[int, str]:
    return {ord(pair[0]): pair[1] for pair in pairs.split()}


RIVALS: dict[str, tuple[str, ...]] = {"kk": ("tr", "az"), "sr": ("hr",)}
"""Languages to tell apart from one of ours, in whose second script they are written."""

_KAZAKH = _table(
    "aа äә áә bб vв gг ğғ ǵғ dд eе jж zз iи ıи kк qқ lл mм nн ñң "
    "ńң oо öө óө pп rр sс tт uу wу ýу ūұ üү úү fф hх xх çч şш yы cц"
)
"""Latin to Cyrillic, in the alphabets of 2018 and 2021."""
_AZERBAIJANI = _table(
    "аa бb вv гq ғğ дd еe әə жj зz иi ыı јy кk ҝg лl "
    "мm нn оo өö пp рr сs тt уu үü фf хx һh чç ҹc шş"
)
"""Cyrillic, as it was written from 1958 to 1991, to Latin."""

_OF_KAZAKH = re.compile("[қңұі]")
_OF_AZERBAIJANI = re.compile("[ҝҹ]|ә(?s:.*)ј|ј(?s:.*)ә")

_EKAVIAN = re.compile(
    r"\b(?:gde|ovde|onde|nigde|negde|uvek|dve|obe|mlek\w*|vreme\w*|reč\w*|devoj\w+|šta|takođe|hiljad\w+|"
    r"hleb\w*|lep\w{1,3}|dec[aeiou]|posle|pre|mest[oaiu]|čovek\w*|videti|hteo|sledeć\w+|reš\w+|"
    r"uopšte|opšt\w+|tačno|tačn\w+|svesk\w*|vež\w+|primer\w*|cel\w{1,3}|del\w{1,3}|razume\w*|"
    r"voleo|želeo|telo|tela|ćerk\w*|vazduh\w*|pozorišt\w+|fudbal\w*|sedi\w*|nedelj\w+)\b",
    re.IGNORECASE,
)
_IJEKAVIAN = re.compile(
    r"\b(?:gdje|ovdje|ondje|nigdje|negdje|uvijek|dvije|obje|mlijek\w*|vrijeme\w*|riječ\w*|djevoj\w+|što|"
    r"također|tisuć\w+|kruh\w*|lijep\w*|djec\w+|poslije|prije|mjest\w+|čovjek\w*|vidjeti|htio|"
    r"sljedeć\w+|rješ\w+|uopće|opć\w+|točn\w+|bilježnic\w*|vjež\w+|primjer\w*|cijel\w*|"
    r"dijel\w*|djel\w+|razumije\w*|volio|želio|tijel\w+|kćer\w*|zrak\w*|kazališt\w+|"
    r"nogomet\w*|sjed\w+|tjed\w+)\b",
    re.IGNORECASE,
)


def kazakh_in_cyrillic(text: str) -> str:
    """Return a text in Latin letters as Kazakh would be in Cyrillic ones."""
    return text.lower().translate(_KAZAKH)


def azerbaijani_in_latin(text: str) -> str:
    """Return a text in Cyrillic letters that are Azerbaijani's as it is written today; else ""."""
    lowered = text.lower()
    if _OF_KAZAKH.search(lowered) or not _OF_AZERBAIJANI.search(lowered):
        return ""
    return lowered.translate(_AZERBAIJANI)


def is_ekavian(text: str) -> bool:
    """Tell Serbian in Latin letters from Croatian, by the words that they write differently."""
    return len(_EKAVIAN.findall(text)) > len(_IJEKAVIAN.findall(text))
