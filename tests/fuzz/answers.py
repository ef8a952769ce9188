"""What models write: translations, judgements, numbers, chats."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from lidr.components.judging.verdicts import Position, read_preference, read_score
from lidr.components.shared.core.text import (
    is_printable,
    is_repetitive,
    one_line,
    printable,
    printable_line,
    valid_unicode,
)
from lidr.components.shared.engines import ChatRequest
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.numbers.answer import extract_number, same_number
from lidr.components.shared.numbers.preserved import keeps_numbers
from lidr.components.shared.records.chat import (
    TRANSLATION_STOP,
    read_translation,
    recover_translation,
    translation_messages,
)
from lidr.components.shared.records.schema import Failure
from tests.fuzz import mutations
from tests.fuzz.running import Target
from tests.models import END, ROLES, tiny_tokenizer
from tests.payloads import FRAGMENTS, PAYLOADS
from tests.shapes import control_ids

_LANGUAGES = ("en", "es", "de", "fr", "ru", "zh", "ja", "th", "bn", "te", "sw", "ar", "ko", "vi")

_ANSWERS = (
    "She has 16 - 3 - 4 = 9 eggs. 9 * 2 = $18. The answer is 18.",
    "Así que gana 1.250,50 € al día. **Respuesta: 1.250,50**",
    "答案是三百零五。也就是 3万5千 元。",
    "\\boxed{\\frac{3}{4}} #### 70,000",
    "Ответ: 12 500 рублей, или 1/2 от 25 тыс.",
    "উত্তর হল ২ লক্ষ ৫০ হাজার",
    "minus 5, 3–5, 2 1/2, 10^{12}, 5 million, 12,34,567, 1e3, 10⁻³, 2.5M, 1_000",
    "Eighteen hundred, quatre-vingt-dix, fünfundzwanzigtausend, XIV. The answer is two lakh.",
    "壹仟贰佰 廿 三分之二 열여덟 삼백오십 สามสิบห้า पैंतीस हज़ार",
    *FRAGMENTS,
)
_TRANSLATIONS = (
    "Tom hat 9 Stifte.</translated>",
    "<translated>Tom hat</translated> und mehr</translated>",
    "‹·sentence›x‹··translated›</translated>",
    *FRAGMENTS,
)
_VERDICTS = (
    *("A", " **B**", "[[A]]", "(B).", "<think>A or B?</think>\nA", "A\nB"),
    *("It is good.\nScore: 7", "Score: 10", "**Score: 3**", "Score: 7\nScore: 8", "Score: 11"),
    *FRAGMENTS,
)
_DIGITS = {ord(digit): chr(0x660 + int(digit)) for digit in "0123456789"}
"""The digits of Arabic."""


def _output(random: Random) -> tuple[str, str]:
    reason = random.choice(("stop", "length", "failed"))
    return mutations.text(random, _TRANSLATIONS), reason


def _check_translation(given: tuple[str, str]) -> None:
    output, reason = given
    text, failure = read_translation(output, reason)
    assert (text is None) != (failure is None)
    if TRANSLATION_STOP not in output:
        assert failure in (Failure.TRUNCATED, Failure.UNTAGGED)
    if text is not None:
        assert text == text.strip() != ""
    if (found := recover_translation(output)) is not None:
        assert found[0] == found[0].strip() != ""
    asked = translation_messages(output, "en", "es")[0]["content"]
    rest = asked.partition("\n<sentence>")[2]
    assert rest.count("</sentence>") == 1 and "<sentence>" not in rest
    copied = rest.removesuffix("</sentence>") + TRANSLATION_STOP
    back, _ = read_translation(copied, "stop")
    assert (back or "") == output.strip().removeprefix("<translated>").strip() or (
        back == output.strip()
    ), "what is masked comes back as it was"


def _judged(random: Random) -> tuple[str, list[Position]]:
    text = mutations.text(random, _VERDICTS, 3)
    if random.random() < 0.4:
        return text, []
    tokens = list(text[-12:]) if random.random() < 0.5 else text.split(" ")[-4:]
    return text, [Position(token, _alternatives(random, token)) for token in tokens]


def _alternatives(random: Random, token: str) -> dict[str, float]:
    names = (token, "A", "B", " A", "0", "1", "7", "10", "\n10", "x", "")
    drawn = [random.choice(names) for _ in range(random.randint(0, 5))]
    return {name: -random.choice((0.0, 1e-9, 0.1, 2.0, 50.0, 1e5)) for name in drawn}


def _check_preference(given: tuple[str, list[Position]]) -> None:
    verdict = read_preference(*given)
    assert (verdict.value is None) != (verdict.failure is None)
    if verdict.value is not None:
        assert 0.0 <= verdict.value <= 1.0
        kept = [c for c in given[0].rpartition("</think>")[2] if c.isalnum()]
        assert kept in (["A"], ["B"]), "nothing but the verdict may stand there"
        plainly = read_preference(given[0], []).value
        assert plainly == float(kept == ["A"])


def _check_score(given: tuple[str, list[Position]]) -> None:
    verdict = read_score(*given)
    assert (verdict.value is None) != (verdict.failure is None)
    if verdict.value is not None:
        assert -1e-9 <= verdict.value <= 10.0 + 1e-9
        conclusion = given[0].rpartition("</think>")[2]
        last = [line for line in conclusion.splitlines() if line.strip()][-1]
        assert "Score:" in last
        digits = "".join(c for c in last if c.isdigit())
        assert read_score(given[0], []).value == float(digits)


def _answer(random: Random) -> tuple[str, str]:
    found = mutations.text(random, _ANSWERS)
    if random.random() < 0.02:
        found *= random.choice((10, 100, 1000))
    return found[:100_000], random.choice(_LANGUAGES)


def _check_extracted(given: tuple[str, str]) -> None:
    text, language = given
    found = extract_number(text, language)
    assert found is None or isinstance(found, Fraction)
    if found is not None:
        assert abs(found.numerator).bit_length() < 200_000
    same = same_number(text, "18", language)
    assert same == (found == 18)
    if "\\" not in text:
        arabic = text.translate(_DIGITS)
        assert extract_number(arabic, language) == found, "digits count in every script"


def _check_numbers(given: tuple[str, str]) -> None:
    text, language = given
    assert keeps_numbers(text, language, text, language) in (True, None)
    arabic = text if "\\" in text else text.translate(_DIGITS)
    assert keeps_numbers(text, language, arabic, language) in (True, None)
    keeps_numbers(text, language, text[::-1], "en")
    is_repetitive(text)
    for shown in (one_line(text), *printable(text).split("\n"), printable_line(text)):
        assert all(is_printable(c) or c == "\t" for c in shown)
    valid_unicode(text).encode()


_TOKENIZER = tiny_tokenizer()
_CONTROL = control_ids(_TOKENIZER)
_RENDERER = ChatRenderer(_TOKENIZER)
_CHATS = (*PAYLOADS.values(), END, *ROLES, "Nina has 4 books.")


def _chat(random: Random) -> list[str]:
    return [mutations.text(random, _CHATS)[:2000] for _ in range(random.randint(1, 3))]


def _check_chat(contents: list[str]) -> None:
    messages: list[dict[str, str]] = [
        {"role": ("user", "assistant")[number % 2], "content": text}
        for number, text in enumerate(contents)
    ]
    tokens = _RENDERER.render(ChatRequest("k", messages))
    assert sum(token in _CONTROL for token in tokens) == 2 * len(contents) + 1
    shown = _TOKENIZER.decode(tokens, clean_up_tokenization_spaces=False)
    wanted = "".join(
        f"<|{each['role']}|>{valid_unicode(each['content'])}{END}" for each in messages
    )
    assert shown == f"{wanted}{ROLES[2]}"


TARGETS: list[Target] = [
    Target("translation", _output, _check_translation, 250_000),
    Target("judge's preference", _judged, _check_preference, 180_000),
    Target("judge's score", _judged, _check_score, 180_000),
    Target("number that an answer gives", _answer, _check_extracted, 80_000),
    Target("numbers of a text", _answer, _check_numbers, 60_000),
    Target("chat", _chat, _check_chat, 30_000),
]
