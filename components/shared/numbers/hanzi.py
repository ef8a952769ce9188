"""Chinese and Japanese numerals: 十八, 三百零五, 二〇二四, 三点五, 五分之二."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

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
_RUN = rf"[{_SIGNS}]{{1,40}}+"
_NUMBER = re.compile(
    rf"(?P<below>{_RUN})分之(?P<above>{_RUN})"
    rf"|(?P<whole>{_RUN})(?:[点點・](?P<part>[{''.join(_DIGITS)}]{{1,40}}+))?+"
)

_MINUS = ("负", "負", "マイナス")

_COUNTERS = (
    "个個只隻条條本张張枚匹頭头人名位元块塊円圓美欧歐日天年月周週岁歳小時时分秒公千克斤米里升瓶"
    "杯盒箱袋包件双雙对對朵棵辆輛台支枝颗粒页頁次倍回冊册匙片碗节節点點层層间間英ドセポキメグリユ"
    "つ匹羽杯歩步さ切层把束段份场場课課堂串股顿頓趟艘架枚組组班種种"
)
_FOLLOWS = re.compile(rf"[{_COUNTERS}]")
_CLAUSE_END = re.compile(r"\s*(?:[。．.!！,，、;；)）\]】」』*\n$}]|\Z)")
_NO_QUANTITY = re.compile(r"(?:同|共|起|样|樣|些|直|定|般|半|旦|切|緒|番|部|方|致|下|手|分$)")


def values(text: str) -> Iterator[Fraction]:
    """Yield the value of every numeral, even of one that is part of a word."""
    for found in _NUMBER.finditer(text):
        if (value := _value(found)) is not None:
            yield value


def numbers(text: str, start: int, end: int) -> Iterator[tuple[int, int, Fraction]]:
    """Yield (start, end, value) of the numerals that are quantities.

    A numeral is one where a counter follows or the clause ends; 三明治 and 一共 hold none.
    """
    for found in _NUMBER.finditer(text, start, end):
        if _is_quantity(text, found) and (value := _value(found)) is not None:
            negative = text.endswith(_MINUS, max(0, found.start() - 4), found.start())
            yield found.start(), found.end(), -value if negative else value


def _is_quantity(text: str, found: re.Match[str]) -> bool:
    if found[0] in _AMBIGUOUS:
        return False
    before, after = text[found.start() - 1 : found.start()], text[found.end() : found.end() + 2]
    if before in ("第", "每", "统", "統", "唯", "之", "星", "周") or before.isdigit():
        return False
    if _CLAUSE_END.match(text, found.end()):
        return True
    if _NO_QUANTITY.match(after) or not (_FOLLOWS.match(after) or found["above"]):
        return False
    # 一个 is an article more often than the number 1, unless the clause ends with it.
    return found[0] != "一" or bool(_CLAUSE_END.match(text, found.end() + 1))


def _value(found: re.Match[str]) -> Fraction | None:
    if found["above"]:
        below, above = (_whole(found[name]) for name in ("below", "above"))
        if not below or above is None:
            return None
        return Fraction(above) if below == 100 else Fraction(above, below)  # 百分之: per cent
    whole = _whole(found["whole"])
    if whole is None or not found["part"]:
        return None if whole is None else Fraction(whole)
    part = "".join(str(_DIGITS[sign]) for sign in found["part"])
    return whole + Fraction(int(part), 10 ** len(part))


def _whole(numeral: str) -> int | None:
    """Return the value of a numeral, positional (二〇二四) or with its units (二千零二十四)."""
    if all(sign in _DIGITS for sign in numeral):
        return int("".join(str(_DIGITS[sign]) for sign in numeral))
    if numeral[0] in _MYRIADS:
        return None
    total = section = digit = 0
    last = 0
    for sign in numeral:
        if sign in _DIGITS:
            digit = _DIGITS[sign]
        elif sign in _TENS:
            section += (1 if sign == "廿" else digit or 1) * _TENS[sign]
            digit, last = 0, _TENS[sign]
        else:
            total = (total + section + digit) * _MYRIADS[sign]
            section, digit, last = 0, 0, _MYRIADS[sign]
    colloquial = digit and last >= 100 and numeral[-2] not in "零〇"  # 三百五 is 350
    return total + section + digit * (last // 10 if colloquial else 1)
