"""Languages by ISO 639-1 code, and the identifier that says which one a text is in.

The identifier is lingua (https://github.com/pemistahl/lingua-py): it ships its models, needs no
network, and is most accurate when it only has to choose among the languages of the recipe.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from lingua import IsoCode639_1, Language, LanguageDetectorBuilder

from lidr.components.shared.core.text import valid_unicode

_MAX_CHARS = 4000
"""Characters that are looked at: more make no difference to the answer."""

_CODE = re.compile(r"```(?!markdown|text|plaintext).*?(?:```|\Z)", re.DOTALL)
"""A fenced block of code, also an unclosed one: its keywords would make every answer look English.
Prose may stand in a fence too, and then says so."""

_SCRIPTS: dict[str, tuple[str, ...]] = {
    "ar": ("ar", "fa", "ur"),
    "hi": ("hi", "mr"),
    "ja": ("ja",),
    "ko": ("ko",),
    "ru": ("be", "bg", "kk", "mk", "mn", "ru", "sr", "uk"),
    "th": ("th",),
    "zh": ("ja", "zh"),
}
"""One language of each widespread script, and all that are written in that script."""

UNDETERMINED = "und"
"""ISO 639-2 code for a text that shows no language (empty, digits only, fenced code only)."""

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
"""English name of every language that can be identified."""


class LanguageIdentifier:
    """Identifies texts among a fixed set of languages.

    Args:
        languages: ISO 639-1 codes, each a key of `NAMES`, two or more. English is always added:
            models fall back to it, and an identifier that cannot say "English" would hide that.
            So is one language of every script that none of them uses; a script cannot be mistaken.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self._languages = tuple(languages)
        foreign = [code for code, users in _SCRIPTS.items() if not set(users) & set(languages)]
        codes = sorted({*languages, *foreign, "en"})
        self._detector = LanguageDetectorBuilder.from_languages(
            *(Language.from_iso_code_639_1(getattr(IsoCode639_1, code.upper())) for code in codes)
        ).build()

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Travel to another process as the codes: the models are loaded there, once."""
        return _identifier, (self._languages,)

    def identify(self, texts: Sequence[str]) -> list[str]:
        """Return one ISO 639-1 code, or `UNDETERMINED`, for each text, in order."""
        found = self._detector.detect_languages_in_parallel_of(
            [valid_unicode(_CODE.sub(" ", text)[:_MAX_CHARS]) for text in texts]
        )
        return [lang.iso_code_639_1.name.lower() if lang else UNDETERMINED for lang in found]


@cache
def _identifier(languages: tuple[str, ...]) -> LanguageIdentifier:
    return LanguageIdentifier(languages)
