"""Languages by ISO 639-1 code, and the identification of a text's language.

The identifier is lingua (https://github.com/pemistahl/lingua-py): it ships its models, needs no
network, and is most accurate when it only has to choose among the languages of the recipe.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from lidr.components.shared.core import two_scripts
from lidr.components.shared.core.text import split_code, valid_unicode

if TYPE_CHECKING:
    from lingua import Language, LanguageDetector

_MAX_CHARS = 4000
"""Characters of a text that are read, from its beginning."""

_SCRIPTS: dict[str, tuple[str, ...]] = {
    "ar": ("ar", "fa", "ur"),
    "bn": ("bn",),
    "el": ("el",),
    "gu": ("gu",),
    "he": ("he",),
    "hi": ("hi", "mr"),
    "hy": ("hy",),
    "ja": ("ja",),
    "ka": ("ka",),
    "ko": ("ko",),
    "pa": ("pa",),
    "ru": ("be", "bg", "kk", "mk", "mn", "ru", "sr", "uk"),
    "ta": ("ta",),
    "te": ("te",),
    "th": ("th",),
    "zh": ("ja", "zh"),
}
"""The non-Latin scripts that lingua reads: by one language of each, all that are written in it."""

_FALLBACKS = ("ar", "ru", "zh")
"""Languages that models fall back to from others of the same script. Hindi is left out, because
lingua takes 3% of long Marathi texts for it."""

_MIN_FALLBACK_LETTERS = 40
"""Letters beyond Latin script that a text needs to be taken for a fallback. Of lingua's own test
texts in Bulgarian, 16% below 10 letters are taken for Russian, 1% from 20 and 0.4% from 40 on."""

_OTHER_SCRIPTS = re.compile(
    "(?P<am>[\u1200-\u139f])|(?P<bo>[\u0f00-\u0fff])|(?P<dv>[\u0780-\u07bf])"
    "|(?P<km>[\u1780-\u17ff])|(?P<kn>[\u0c80-\u0cff])|(?P<lo>[\u0e80-\u0eff])"
    "|(?P<ml>[\u0d00-\u0d7f])|(?P<my>[\u1000-\u109f])|(?P<or>[\u0b00-\u0b7f])"
    "|(?P<si>[\u0d80-\u0dff])"
)
"""Scripts that lingua does not read, each named after a language that is written in it."""

UNSPACED = frozenset(("bo", "dz", "ja", "km", "lo", "my", "th", "zh"))
"""Languages that are written without spaces between words."""

_BEYOND_LATIN = re.compile("[^\0-\u024f\u1e00-\u1eff\u2000-\u2bff\U0001f000-\U0001faff]")
"""What is neither in Latin script nor punctuation, a symbol or an emoji."""

_SYMBOL = re.compile("[\u0370-\u03ff](?<![^\\W\\d_].)(?![^\\W\\d_])", re.DOTALL)
"""A Greek letter on its own: a mathematical symbol, not a word."""

_MIN_KAZAKH_CONFIDENCE = 0.9
"""Minimum confidence for Kazakh, after transliteration; Turkish and English get at most 0.8."""

_LATIN = re.compile("[a-z]", re.IGNORECASE)

UNDETERMINED = "und"
"""ISO 639-2 code for a text without a language (empty, digits only, fenced code only)."""

NAMES: dict[str, str] = {
    "af": "Afrikaans",
    "ar": "Arabic",
    "az": "Azerbaijani",
    "be": "Belarusian",
    "bg": "Bulgarian",
    "bn": "Bengali",
    "bs": "Bosnian",
    "ca": "Catalan",
    "cs": "Czech",
    "cy": "Welsh",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "eo": "Esperanto",
    "es": "Spanish",
    "et": "Estonian",
    "eu": "Basque",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "ga": "Irish",
    "gu": "Gujarati",
    "he": "Hebrew",
    "hi": "Hindi",
    "hr": "Croatian",
    "hu": "Hungarian",
    "hy": "Armenian",
    "id": "Indonesian",
    "is": "Icelandic",
    "it": "Italian",
    "ja": "Japanese",
    "ka": "Georgian",
    "kk": "Kazakh",
    "ko": "Korean",
    "la": "Latin",
    "lg": "Ganda",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "mi": "Maori",
    "mk": "Macedonian",
    "mn": "Mongolian",
    "mr": "Marathi",
    "ms": "Malay",
    "nb": "Norwegian Bokmål",
    "nl": "Dutch",
    "nn": "Norwegian Nynorsk",
    "pa": "Punjabi",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sl": "Slovene",
    "sn": "Shona",
    "so": "Somali",
    "sq": "Albanian",
    "sr": "Serbian",
    "st": "Sotho",
    "sv": "Swedish",
    "sw": "Swahili",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "tl": "Tagalog",
    "tn": "Tswana",
    "tr": "Turkish",
    "ts": "Tsonga",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "xh": "Xhosa",
    "yo": "Yoruba",
    "zh": "Chinese",
    "zu": "Zulu",
}
"""English name of every language that a recipe may name."""


class LanguageIdentifier:
    """Identifies texts among a fixed set of languages, in each of the scripts they are written in.

    Args:
        languages: ISO 639-1 codes, each a key of `NAMES`, two or more. English is always added:
            models fall back to it, and an identifier that cannot say "English" would hide that.
            One language of every script that none of them uses is added as well: a script is
            never mistaken, so this costs no accuracy. It costs time, so a text in Latin letters
            alone is identified without them, with the same result. Where a script is in use, a
            text with 40 or more of its letters may also be Arabic, Russian or Chinese; shorter
            texts would be mistaken for these, so 東京 is Japanese unless Chinese is among the
            languages. No other neighbours are added, except those in `two_scripts.RIVALS`: with
            English and Spanish, Portuguese is identified as Spanish.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self._languages = tuple(languages)
        foreign = [code for code, users in _SCRIPTS.items() if not set(users) & set(languages)]
        rivals = [rival for code in languages for rival in two_scripts.RIVALS.get(code, ())]
        own = {*languages, *rivals, "en"}
        self._detector = _detector(*own, *foreign)
        self._long_detector = _detector(*own, *foreign, *_FALLBACKS)
        self._latin_detector = _detector(*own)
        self._cyrillic = _detector(*_SCRIPTS["ru"]) if "kk" in languages else None

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Pickle only the language codes; the receiving process loads the models once."""
        return _identifier, (self._languages,)

    def identify(self, texts: Sequence[str]) -> list[str]:
        """Return one ISO 639-1 code, or `UNDETERMINED`, for each text, in order."""
        prepared = [self._prepared(text) for text in texts]
        groups: dict[LanguageDetector, list[str]] = {}
        for text in prepared:
            groups.setdefault(self._detector_for(text), []).append(text)
        found: dict[str, str] = {}
        for detector, group in groups.items():
            languages = detector.detect_languages_in_parallel_of(group)
            found |= zip(group, map(_code_of, languages), strict=True)
        found |= dict.fromkeys(self._kazakh_among(found), "kk")
        return [self._resolved(found[text], text) for text in prepared]

    def _detector_for(self, text: str) -> LanguageDetector:
        beyond_latin = _BEYOND_LATIN.findall(text)
        if not beyond_latin:
            return self._latin_detector
        long = sum(map(str.isalpha, beyond_latin)) >= _MIN_FALLBACK_LETTERS
        return self._long_detector if long else self._detector

    def _prepared(self, text: str) -> str:
        text = valid_unicode(split_code(text)[0][:_MAX_CHARS])
        text = _SYMBOL.sub(" ", text)
        if "az" in self._languages and (latin := two_scripts.azerbaijani_in_latin(text)):
            return latin
        return text

    def _resolved(self, code: str, text: str) -> str:
        """Return a text's language, after correcting the code that lingua has given it."""
        if other := _other_script(text):
            return other
        if "sr" in self._languages and code in ("bs", "hr"):
            neighbours = [each for each in ("bs", "hr") if each in self._languages]
            if not neighbours or two_scripts.is_ekavian(text):
                return "sr"
            return code if code in neighbours else neighbours[0]
        return code

    def _kazakh_among(self, found: Mapping[str, str]) -> list[str]:
        """Return which texts are Kazakh in Latin letters, given each text's code from lingua."""
        if self._cyrillic is None:
            return []
        from lingua import Language

        texts = [
            text
            for text, code in found.items()
            if code not in _SCRIPTS["ru"] and _LATIN.search(text)
        ]
        confidences = self._cyrillic.compute_language_confidence_in_parallel(
            list(map(two_scripts.kazakh_in_cyrillic, texts)), Language.KAZAKH
        )
        scored = zip(texts, confidences, strict=True)
        return [text for text, confidence in scored if confidence >= _MIN_KAZAKH_CONFIDENCE]


def _detector(*codes: str) -> LanguageDetector:
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    known = [getattr(IsoCode639_1, code.upper()) for code in sorted({*codes})]
    return LanguageDetectorBuilder.from_iso_codes_639_1(*known).build()


def _code_of(language: Language | None) -> str:
    return language.iso_code_639_1.name.lower() if language else UNDETERMINED


def _other_script(text: str) -> str:
    """Return a language of the script of most letters, if lingua cannot read that one, else ""."""
    if not _BEYOND_LATIN.search(text):
        return ""
    letters = "".join(filter(str.isalpha, text))  # vowel signs are no letters
    counted = Counter(found.lastgroup or "" for found in _OTHER_SCRIPTS.finditer(letters))
    return next((code for code, n in counted.most_common(1) if 2 * n > len(letters)), "")


@cache
def _identifier(languages: tuple[str, ...]) -> LanguageIdentifier:
    return LanguageIdentifier(languages)
