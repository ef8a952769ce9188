"""Chinese and Japanese numerals: 十八, 三百零五, 二〇二四, 三点五, 五分之二, 三又二分之一."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from lidr.components.shared.numbers.halves import half_end

LANGUAGES = frozenset(("zh", "ja"))

_SIGNS_BY_VALUE = (
    *("零〇", "一壹", "二两兩贰貳", "三叁參", "四肆"),
    *("五伍", "六陆陸", "七柒", "八捌", "九玖"),
)
_DIGITS = {sign: value for value, signs in enumerate(_SIGNS_BY_VALUE) for sign in signs}
_TENS = {"十": 10, "拾": 10, "廿": 20, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_MYRIADS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8, "兆": 10**12}
_AMBIGUOUS = frozenset("參肆伍陆陸拾佰仟兆")
"""Numerals, mostly of cheques, that are also names and parts of words."""

_SIGNS = "".join((*_DIGITS, *_TENS, *_MYRIADS))
_DIGIT = f"[{''.join(_DIGITS)}]"
_TEN = f"[{''.join(_TENS)}]"

METRIC = "克米瓦卡焦帕伏赫"
"""Units that 千 makes a thousand times larger: a gram, a metre, a watt, a calorie, and so on."""
_ABOVE = f"[{''.join((*_TENS, *_MYRIADS))}]"
_UNIT_S_OWN = (
    rf"千(?=克)|(?:(?<![{_SIGNS}])|(?<={_ABOVE})|(?<={_ABOVE}{_DIGIT})"
    rf"|(?<={_ABOVE}[零〇]{_DIGIT}))千(?=[{METRIC}])"
)
"""A 千 that belongs to the unit: in 千米, 三千克 and 二十千米, and not in 三千米."""

_RUN = rf"(?:(?!{_UNIT_S_OWN})[{_SIGNS}]){{1,40}}+"
_PART = rf"[点點・]{_DIGIT}{{1,40}}+"
_NUMBER = re.compile(
    rf"(?:(?P<mixed>{_RUN})[又と])?+(?P<below>{_RUN})分[之の](?P<above>{_RUN})(?P<above_part>{_PART})?+"
    rf"|(?P<whole>{_RUN})(?P<part>{_PART})?+"
)

_MINUS = ("负", "負", "マイナス")

_COUNTERS = (
    "个個只隻条條本张張枚匹頭头人名位元块塊円圓美欧歐日天年月周週岁歳小時时分秒公千克斤米里升瓶"
    "杯盒箱袋包件双雙对對朵棵辆輛台支枝颗粒页頁次倍回冊册匙片碗节節点點层層间間英ドセポキメグリユ"
    "つ匹羽杯歩步さ切层把束段份场場课課堂串股顿頓趟艘架枚組组班種种根座吨噸磅桶罐盘盤壶套株排缶皿軒ヶ"
)
_FOLLOWS = re.compile(rf"[{_COUNTERS}]")
_CLAUSE_END = re.compile(r"\s*(?:[。．.!！,，、;；)）\]】」』*\n$}]|\Z)")
_NO_QUANTITY = re.compile(r"(?:同|共|起|样|樣|些|直|定|般|半|旦|切|緒|番|部|方|致|下|手)")
_AFTER_DIGIT = re.compile(r"\d(?:[^\S\n]|[$*_~({\[}【「]|\\[a-z]{2,8})*+\Z")
_MAX_BETWEEN_CHARS = 24
"""Spaces, brackets, marks and LaTeX between digits and their unit: 5（百元）, $5$ \\text{百元}."""
_RISING = re.compile("一[二两兩]|[二两兩]三|三[四五]|四五|五六|六七|七八|八九")
_TWO_DIGITS = re.compile(f"(?![零〇]){_DIGIT}(?![零〇]){_DIGIT}")
_REST = re.compile(rf"(?=[零〇]?{_DIGIT}{_TEN}){_RUN}")
_VERY = re.compile(r"分(?![钟鐘之間间后後前のか]|\s|[。．.!！?？,，、;；)）\]】」』*$}]|\Z)")
"""After 十: 十分 is "very", unless it is minutes, points or parts."""


def values(text: str, language: str) -> Iterator[Fraction]:
    """Yield the value of every numeral, even of one that is part of a word."""
    for found in _NUMBER.finditer(text):
        if (value := _value(found, language)) is not None:
            yield value


def numbers(
    text: str, language: str, start: int, end: int
) -> Iterator[tuple[int, int, Fraction | None]]:
    """Yield (start, end, value) of the numerals that are quantities; no value for 三四个, 3 or 4.

    A numeral is a quantity if a counter (measure word) follows it or the clause ends there; 三明治
    and 一共 hold no quantity.
    """
    for found in _NUMBER.finditer(text, start, end):
        half = half_end(text, found.end())
        if not (half or _is_quantity(text, found)) or not _may_be_quantity(text, found):
            continue
        if (value := _value(found, language)) is None:
            continue
        begin = found.start()
        negative = text.endswith(_MINUS, max(0, begin - 4), begin)
        value = (value + Fraction(bool(half), 2)) * (-1 if negative else 1)
        approximate = _is_approximate(found, text[max(0, begin - 1) : begin])
        yield begin, half or found.end(), None if approximate else value


def rest(text: str, place: int, language: str) -> tuple[int, int]:
    """Return the value (or 0) and the end of a numeral that goes on after 2万: 五千 in 2万五千."""
    found = _REST.match(text, place)
    return ((_whole(found[0], language) or 0), found.end()) if found else (0, place)


def _may_be_quantity(text: str, found: re.Match[str]) -> bool:
    """Return whether nothing before a numeral makes it part of a word or a unit.

    In 5（百元） the 百 belongs to the unit.
    """
    start = found.start()
    before = text[max(0, start - 1) : start]
    if found[0] in _AMBIGUOUS or text.endswith(("星期", "礼拜", "禮拜"), 0, start):
        return False
    if before in ("第", "每", "统", "統", "唯", "之", "星", "周") or before.isdigit():
        return False
    if found[0][0] not in _TENS or found["above"]:
        return True
    return not _AFTER_DIGIT.search(text[max(0, start - _MAX_BETWEEN_CHARS) : start])


def _is_quantity(text: str, found: re.Match[str]) -> bool:
    after = text[found.end() : found.end() + 2]
    if found[0] == "十" and _VERY.match(text, found.end()):
        return False
    if _CLAUSE_END.match(text, found.end()):
        return True
    if _NO_QUANTITY.match(after) or not (_FOLLOWS.match(after) or found["above"]):
        return False
    # 一个 is an article more often than the number 1, unless the clause ends with it.
    return found[0] != "一" or after == "千克" or bool(_CLAUSE_END.match(text, found.end() + 1))


def _is_approximate(found: re.Match[str], before: str) -> bool:
    """Return whether a numeral is an approximation: 三四 is 3 or 4, 几十 some tens."""
    numeral = found["whole"] or ""
    if all(sign in _DIGITS for sign in numeral):
        return bool(_RISING.fullmatch(numeral))
    return (before in tuple("几幾数數") and numeral[0] in _TENS) or bool(
        _TWO_DIGITS.search(numeral)
    )


def _value(found: re.Match[str], language: str) -> Fraction | None:
    if found["above"]:
        below = _whole(found["below"], language)
        above = _decimal(found["above"], found["above_part"], language)
        if not below or above is None:
            return None
        if below == 100:  # 百分之: per cent
            return above
        mixed = _whole(found["mixed"], language) if found["mixed"] else 0
        return None if mixed is None else mixed + above / below
    return _decimal(found["whole"], found["part"], language)


def _decimal(numeral: str, part: str | None, language: str) -> Fraction | None:
    """Return the value of a numeral and of what follows its point, if anything does."""
    whole = _whole(numeral, language)
    if whole is None:
        return None
    digits = "".join(str(_DIGITS[sign]) for sign in (part or "")[1:])
    return whole + Fraction(int(digits or "0"), 10 ** len(digits))


def _whole(numeral: str, language: str) -> int | None:
    """Return the value of a numeral, positional (二〇二四) or with its units (二千零二十四)."""
    if all(sign in _DIGITS for sign in numeral):
        return int("".join(str(_DIGITS[sign]) for sign in numeral))
    if numeral[0] in _MYRIADS:
        return None
    total = section = digit = 0
    last = myriad = 0
    for sign in numeral:
        if sign in _DIGITS:
            digit = _DIGITS[sign]
        elif sign in _TENS:
            section += (1 if sign == "廿" else digit or 1) * _TENS[sign]
            digit, last = 0, _TENS[sign]
        elif _MYRIADS[sign] < myriad and section + digit:  # 一亿二千万
            total += (section + digit) * _MYRIADS[sign]
            section, digit, last = 0, 0, _MYRIADS[sign]
        else:  # 三万亿
            total = (total + section + digit) * _MYRIADS[sign]
            section, digit, last = 0, 0, _MYRIADS[sign]
            myriad = last
    # In Chinese 三百五 is 350, while 百八 is 108 in Japanese.
    colloquial = language == "zh" and digit and last >= 100 and numeral[-2] not in "零〇"
    return total + section + digit * (last // 10 if colloquial else 1)
