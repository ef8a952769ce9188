"""Languages written in two scripts, of which lingua reads only one: Serbian, Kazakh, Azerbaijani.

lingua takes Serbian in Latin letters for Croatian or Bosnian. Kazakh in Latin letters and
Azerbaijani in Cyrillic ones are transliterated to the script that it reads.
"""

from __future__ import annotations

import re


def _table(pairs: str) -> dict[int, str]:
    return {ord(pair[0]): pair[1] for pair in pairs.split()}


RIVALS: dict[str, tuple[str, ...]] = {"kk": ("tr", "az"), "sr": ("hr",)}
"""By language: others that it could be confused with in its second script."""

_KAZAKH_TO_CYRILLIC = _table(
    "aа äә áә bб vв gг ğғ ǵғ dд eе jж zз iи ıи kк qқ lл mм nн ñң "
    "ńң oо öө óө pп rр sс tт uу wу ýу ūұ üү úү fф hх xх çч şш yы cц"
)
"""Roughly, from the Latin alphabets of 2018 and 2021: i is taken for и, and the digraphs sh and ch
are not joined."""
_AZERBAIJANI_TO_LATIN = _table(
    "аa бb вv гq ғğ дd еe әə жj зz иi ыı јy кk ҝg лl "
    "мm нn оo өö пp рr сs тt уu үü фf хx һh чç ҹc шş"
)
"""From the Cyrillic alphabet of 1958 to 1991."""

_KAZAKH_ONLY = re.compile("[қңұі]")
_AZERBAIJANI_ONLY = re.compile("[ҝҹ]|ә(?s:.*)ј|ј(?s:.*)ә")
_WORD = re.compile(r"\w{2,}")
_AZERBAIJANI = re.compile("[әөүғҝҹһј]")
_NOT_AZERBAIJANI = re.compile("[ёйцщъьэюя]")
"""Letters of Russian that the alphabet of 1958 lacks."""

_EKAVIAN = re.compile(
    r"\b(?:gde|ovde|onde|nigde|negde|uvek|dve|obe|mlek\w*|vreme|reč(?:i|ju|ima)?|devoj\w+|šta|takođe|"
    r"hiljad\w+|hleb\w*|lep(?:[aeiou]|o[gjm]|i[hm]|š[aeiu]|ot\w+)|dec[aeou]|posle|pre|mest[aou]|"
    r"čovek\w*|videti|hteo|sledeć\w+|reš(?:e|(?:i|en|av)\w*)|uopšte|opšt\w+|tačn\w+|svesk(?:i|ama)|"
    r"vežb\w+|primer\w*|cel(?:[aeiou]|o[gjm]|i[hm]|in\w+)|"
    r"del(?:[aeiou]|om|i[mošć]|i(?:mo|te|ti)|ov[aei]|jen\w*)|razume\w*|voleo|želeo|telo|tela|ćerk\w*|"
    r"vazduh\w*|pozorišt\w+|fudbal\w*|sedi(?:m|š|mo|te)?|nedelj\w+)\b",
    re.IGNORECASE,
)
"""Whole words, where Croatian ones begin like them: vremena, lepeza, rešetka, celer, sediment."""

_IJEKAVIAN = re.compile(
    r"\b(?:gdje|ovdje|ondje|nigdje|negdje|uvijek|dvije|obje|mlijek\w*|vrijeme\w*|riječ\w*|djevoj\w+|"
    r"također|tisuć\w+|kruh\w*|lijep\w*|djec\w+|poslije|prije|mjest\w+|čovjek\w*|vidjeti|htio|"
    r"sljedeć\w+|rješ\w+|uopće|opć\w+|točn\w+|bilježnic\w*|vjež\w+|primjer\w*|cijel\w*|"
    r"dijel\w*|djel\w+|razumije\w*|volio|želio|tijel\w+|zrakoplov\w*|kazališt\w+|"
    r"nogomet\w*|sjed\w+|tjed\w+)\b",
    re.IGNORECASE,
)


def kazakh_in_cyrillic(text: str) -> str:
    """Return Kazakh in Latin letters as Kazakh in lower-case Cyrillic ones."""
    return text.lower().translate(_KAZAKH_TO_CYRILLIC)


def azerbaijani_in_latin(text: str) -> str:
    """Return Azerbaijani in Cyrillic letters as lower-case Latin ones; "" for any other text."""
    lowered = text.lower()
    if _KAZAKH_ONLY.search(lowered) or not _AZERBAIJANI_ONLY.search(lowered):
        return ""
    words = _WORD.findall(lowered)  # a Russian text may name the letters, or quote some words
    own, foreign = (
        sum(map(bool, map(letters.search, words))) for letters in (_AZERBAIJANI, _NOT_AZERBAIJANI)
    )
    if own <= foreign:
        return ""
    return lowered.translate(_AZERBAIJANI_TO_LATIN)


def is_ekavian(text: str) -> bool:
    """Return whether a text is Serbian, not Croatian, by the words that they write differently."""
    return len(_EKAVIAN.findall(text)) > len(_IJEKAVIAN.findall(text))
