"""Finds prompts about translation or a language, because translating their answers would be wrong.

"Translate this into French", "Name the days of the week in Spanish": the answer's language is part
of the task. The paper's authors remove such prompts by a list of ids (ZNLP/
Language-Imbalance-Driven-Rewarding, instruction_about_translate.jsonl); here patterns find them
(precision and recall: docs/rollout.md).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.core.text import some_of
from lidr.components.shared.records.schema import Prompt

_SHOWN_IDS = 5

_MAX_CHARS = 2000
"""Characters searched at a prompt's start; of longer prompts, also a quarter as many at the end."""

_OTHER_NAMES = {"Mandarin", "Cantonese", "Farsi", "Filipino", "Khmer", "Nepali"}
_NAME = "|".join(
    sorted({name.split()[0] for name in NAMES.values()} | _OTHER_NAMES, key=len, reverse=True)
).replace("Polish", "(?-i:Polish)")  # a cover letter to polish
_TEXT = (
    "sentence|phrase|word|text|statement|proverb|expression|paragraph|passage|quote|saying|message"
    "|language"
)

_ENGLISH = (
    rf"\b\w?translat\w{{0,3}}\b(?=.{{0,80}}?(?:\b(?:{_TEXT})s?\b|[\"“‘«']|\b(?:{_NAME})\b))",
    r"\b(?:translation|version) (?:of|for|from|in|into|to)\b.{0,60}?"
    rf"\b(?:(?:this|the) (?:{_TEXT})|{_NAME})\b",
    rf"\b(?:{_NAME}) (?:translation|equivalent)\b",
    rf"\b(?:in|into|to)(?: the)? (?:{_NAME})(?: language)?"
    r"(?=\W*(?:$|[.,:;?!\"“(\n])| (?:for|using|from|that|which|with|language)\b)",
    r"\b(?:what|which|identify the|detect the|name the) language\b(?! (?:is used|model))",
    r"\bhow (?:do|would|can|to) (?:you |i |we )?say\b.{0,60}\bin\b",
)
_NOT_TEXT = re.compile(
    rf"\b\w?translat\w{{0,3}}\b(?:(?!\binto\b|\bto (?:{_NAME})\b|(?<!\w)')[^\"“‘«:\n]){{0,80}}"
    r"\binto (?:an? |the )?(?:\w+ )?"
    r"(?:equation|code|formula|program|pseudo-?code|python|sql|binary|chart|action)s?\b",
    re.IGNORECASE,
)
"""Requests to translate into something other than a language, such as code.

Between the verb and "into" stands no text to translate: no quotation mark and no colon.
"""

_STEMS: dict[str, str] = {
    "ar": r"ترجم",
    "bn": r"অনুবাদ",
    "ca": r"\btradu",
    "cs": r"\b(?:pře|po)lož|\bpřekl[aá]d",
    "da": r"\boversæt",
    "de": r"übersetz",
    "el": r"μετ[αά]φρα[σζ]",
    "es": r"\btradu[cjz]",
    "fa": r"ترجمه",
    "fi": r"\bkäännä|\bkäänn",
    "fr": r"\btradui|\btraduct",
    "he": r"תרג[םו]",
    "hi": r"अनुवाद",
    "hu": r"\bfordít",
    "id": r"terjemah",
    "it": r"\btradu[crt]",
    "ja": r"翻訳|訳して|訳し|訳す",
    "ko": r"번역",
    "ms": r"terjemah",
    "nb": r"\boversett",
    "nl": r"\bverta(?:al|l)",
    "pl": r"tłumacz",
    "pt": r"\btradu[zç]",
    "ro": r"\btradu",
    "ru": r"\bперевед|\bперевес|\bперевод(?!ч)",
    "sv": r"\böversätt",
    "sw": r"tafsir",
    "ta": r"மொழிபெயர்",
    "te": r"అనువ(?:ాద|ద)",
    "th": r"แปล(?!ก|ง)",
    "tr": r"\bçevir|\btercüme",
    "uk": r"\bпереклад|\bперекласти",
    "ur": r"ترجمہ",
    "vi": r"\bdịch (?:câu|cụm|từ|đoạn|văn|sang|các|bản|thuật|nghĩa)|\bbản dịch",
    "zh": r"翻译|翻譯|译成|譯成|译为|譯為",
}
"""Regular expressions for "translate" in other languages, by ISO 639-1 code."""


def translation_task_ids(recipe: Recipe, prompts: Sequence[Prompt]) -> list[str]:
    """Return the ids of prompts that patterns take for translation tasks.

    Args:
        recipe: if it lists such prompts (`prompts.translation_tasks`), none are returned.
        prompts: the dominant language's, from `load_prompts`.
    """
    if recipe.prompts.translation_tasks:
        return []
    return [
        prompt.prompt_id
        for prompt in prompts
        if prompt.translation_task and is_about_translation(prompt.text, prompt.language)
    ]


def note_of_translation_tasks(ids: Sequence[str]) -> str:
    """Return a sentence about the prompts that patterns take for translation tasks."""
    return (
        f"{len(ids)} prompts are about translation or a language, and their answers are not "
        f"translated: {some_of(ids, _SHOWN_IDS)} "
        "(the field translation_task: false says that one is not)"
    )


def is_about_translation(text: str, language: str) -> bool:
    """Tell whether a prompt is about translation or a language.

    Args:
        text: the prompt's text.
        language: ISO 639-1 code of the prompt's language; always False for one without a pattern.
    """
    pattern = _pattern(language)
    shown = text if len(text) <= _MAX_CHARS else text[:_MAX_CHARS] + text[-_MAX_CHARS // 4 :]
    shown = unicodedata.normalize("NFC", shown)
    return bool(pattern and pattern.search(shown) and not _NOT_TEXT.search(shown))


@cache
def _pattern(language: str) -> re.Pattern[str] | None:
    if language == "en":
        return re.compile("|".join(_ENGLISH), re.IGNORECASE | re.DOTALL)
    stem = _STEMS.get(language)
    return re.compile(stem, re.IGNORECASE) if stem else None
