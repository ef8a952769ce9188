"""Finds where an answer marks its result: `\\boxed{}`, `####`, "The answer is", bold."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

Span = tuple[int, int]

_SAYS: dict[str, str] = {
    "ar": r"(?:الإجابة|الجواب)(?: النهائية?| الصحيحة?)?(?: هي| هو)|الإجابة النهائية",
    "bn": r"(?:চূড়ান্ত |সঠিক |শেষ )?উত্তর(?:টি)?(?: হল[োঃ]?| হবে| হচ্ছে|(?= \d))|চূড়ান্ত উত্তর",
    "de": r"antwort (?:ist|lautet|beträgt|wäre)(?: also| daher| somit)?"
    r"|endergebnis(?: ist| lautet)?|lautet (?:also |somit |daher )?die (?:\w+ )?antwort"
    r"|endgültige antwort|finale antwort",
    "en": r"answer (?:is|was|would be|should be|equals)|final answer",
    "es": r"respuesta (?:final |correcta )?(?:es|sería)|respuesta final|resultado final(?: es)?",
    "fr": r"réponse (?:finale |correcte )?(?:est|serait)|réponse finale|résultat final(?: est)?",
    "hi": r"(?:अंतिम |सही )?उत्तर (?:है|होगा)|अंतिम उत्तर",
    "it": r"risposta (?:finale |corretta )?(?:è|sarebbe)|risposta finale",
    "ja": r"(?:答え|回答|解答|正解)(?:は|が)|最終的?な?(?:答え|回答)",
    "ko": r"(?:정답|답|최종 답변?|답변)[은는이]|최종 답변?",
    "pt": r"resposta (?:final |correta )?(?:é|seria)|resposta final",
    "ru": r"ответ(?:ом)? (?:равен|составляет|будет|является|[—–-](?= ?\S))"
    r"|(?:окончательный|итоговый|правильный) ответ",
    "sw": r"jibu(?: la mwisho| sahihi)?(?: ni| litakuwa)|jibu la mwisho",
    "te": r"(?:తుది |సరైన |చివరి )?(?:సమాధానం|జవాబు)(?: ఏమిటంటే|(?= ?\d))|తుది సమాధానం",
    "th": r"คำตอบ(?:สุดท้าย|ที่ถูกต้อง)? ?(?:คือ|เป็น|เท่ากับ)|คำตอบสุดท้าย",
    "vi": r"(?:đáp án|câu trả lời|đáp số)(?: cuối cùng| đúng)? là|đáp án cuối cùng",
    "zh": r"(?:答案|答數|答数)(?:就|应该|應該)?(?:是|为|為)|最[终終后後]的?答案",
}
"""How each language says "the answer is"; the number follows."""

_LABELS: dict[str, str] = {
    "ar": "الإجابة|الجواب",
    "bn": "উত্তর",
    "de": "antwort|lösung|ergebnis",
    "en": "answer|solution|result",
    "es": "respuesta|resultado",
    "fr": "réponse|résultat",
    "hi": "उत्तर",
    "it": "risposta",
    "ja": "答え|答|回答|解答|正解",
    "ko": "정답|답|답변",
    "pt": "resposta",
    "ru": "ответ",
    "sw": "jibu",
    "te": "సమాధానం|జవాబు",
    "th": "คำตอบ|ตอบ",
    "vi": "đáp án|đáp số|trả lời",
    "zh": "答案|答",
}
"""Words that, with a colon, begin a result as often as a whole solution."""

_ENDS = re.compile(r"[.!?](?=\s|\*|\Z)|[。！？؟।॥\n]|\*\*(?=\s*\n)")
_HASHES = "####"
_RIGHT_AFTER = re.compile(r"[\s*_$€£¥₹:=–-]*(?:[A-Z]{3} ?)?\d")
"""A number with nothing before it: after other words #### is mostly a heading of Markdown."""
_BOXED = "\\boxed"
_BRACE = re.compile(r"[{}]")
_BOLD = re.compile(r"\*\*([^*\n]{1,80}+)\*\*")
_MAX_RESULT_WORDS = 6
_MAX_RESULT_CHARS = 40

_SAYS_PATTERNS = {
    code: re.compile(rf"{says}|{_SAYS['en']}", re.IGNORECASE) for code, says in _SAYS.items()
}
_LABEL_PATTERNS = {
    code: re.compile(rf"(?<![^\W_])(?:{label}|{_LABELS['en']})\**_*\s?[:：ঃ]", re.IGNORECASE)
    for code, label in _LABELS.items()
}


def spans(text: str, language: str) -> Iterator[Span]:
    """Yield the spans of a normalized answer where its result should be, the most explicit first.

    English markers count in every language.
    """
    hashes = list(_hashes(text))
    headed = any(not _RIGHT_AFTER.match(text, start) for start, _ in hashes)
    yield from _boxed(text)
    yield from () if headed else hashes
    yield from _said(text, language)
    yield from hashes if headed else ()
    yield from _labelled(text, language)
    yield from _bold(text)


def _boxed(text: str) -> Iterator[Span]:
    """Yield the content of the last box, up to its own brace."""
    place = text.rfind(_BOXED)
    if place < 0:
        return
    start = place + len(_BOXED)
    depth = 0
    for found in _BRACE.finditer(text, start):
        depth += 1 if found[0] == "{" else -1
        if depth <= 0:
            yield start, found.start()
            return
    yield start, len(text)  # cut off before it was closed


def _hashes(text: str) -> Iterator[Span]:
    place = text.rfind(_HASHES)
    if place >= 0:
        start = place + len(_HASHES)
        yield start, _line_end(text, start)


def _said(text: str, language: str) -> Iterator[Span]:
    pattern = _SAYS_PATTERNS.get(language, _SAYS_PATTERNS["en"])
    last = deque(pattern.finditer(text), maxlen=1)
    if last:
        yield _sentence(text, last[0].end())


def _labelled(text: str, language: str) -> Iterator[Span]:
    """Yield what follows the last label, where that is a result and not a whole solution."""
    pattern = _LABEL_PATTERNS.get(language, _LABEL_PATTERNS["en"])
    last = deque(pattern.finditer(text), maxlen=1)
    if last:
        start, end = _sentence(text, last[0].end())
        if end - start <= _MAX_RESULT_CHARS and len(text[start:end].split()) <= _MAX_RESULT_WORDS:
            yield start, end


def _bold(text: str) -> Iterator[Span]:
    """Yield the last bold text of the last line."""
    stripped = text.rstrip()
    line = max(stripped.rfind("\n") + 1, len(stripped) - 4096)
    found = list(_BOLD.finditer(text, line))
    if found and not found[-1][1].rstrip().endswith((":", "：")):
        yield found[-1].span(1)


def _sentence(text: str, place: int) -> Span:
    """Return the sentence that begins here, or on the next line that is not empty.

    A currency sign before a number is part of it.
    """
    start = place
    while start < len(text) and text[start] in " \t\n\u00a0:：*_=>\"'“«$\\([ঃ":
        start += 1
    end = _ENDS.search(text, start)
    begin = start - 1 if start > place and text[start - 1] == "$" else start
    return begin, end.start() if end else len(text)


def _line_end(text: str, place: int) -> int:
    end = text.find("\n", place)
    return end if end >= 0 else len(text)
