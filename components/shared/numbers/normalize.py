"""Writes digits, signs and separators of any script, and of LaTeX, in ASCII."""

from __future__ import annotations

import re
import sys
import unicodedata

_FRACTIONS = {
    sign: unicodedata.normalize("NFKC", sign).replace("\u2044", "/")
    for sign in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞↉"
}
"""Vulgar fractions: ½ is 1/2."""

_APART = r"(?:(?<=[\w)\]}])|(?<=[\w)\]}][-+−–－﹣]))"
"""A place after a number, or after its minus: a fraction there stands apart, and 2½ is 2 1/2."""

_VULGAR = re.compile(f"{_APART}(?=[{''.join(_FRACTIONS)}])")

_TO_ASCII = (
    {
        code: str(unicodedata.decimal(chr(code)))
        for code in range(128, sys.maxunicode)
        if unicodedata.category(chr(code)) == "Nd"
    }
    | {ord(sign): plain for sign, plain in _FRACTIONS.items()}
    | {
        ord(wide): narrow
        for wide, narrow in zip("，．－＋／％＄＝：（）", ",.-+/%$=:()", strict=True)
    }
    | {ord(space): "\u00a0" for space in "\u2002\u2005\u2006\u2007\u2008\u2009\u200a\u202f"}
    | {ord(quote): "'" for quote in "’ʼ＇"}
    | {ord("٫"): ".", ord("٬"): ",", ord("\u2044"): "/", ord("\u2212"): "-", ord("﹣"): "-"}
    | {0x3000: " "}
    | dict.fromkeys(map(ord, "\u200b\u200e\u200f\u2060\ufeff"))
)
"""Digits, signs and separators in ASCII; narrow and fixed-width spaces become a no-break space, and
what has no width is left out."""

_LATEX = (
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,;:! ]"), "\u00a0"),
    (re.compile(rf"{_APART}(?=\\[dtc]?frac)"), " "),
    (re.compile(r"\\[dtc]?frac ?\{ ?(-?[\d.,]++) ?\} ?\{ ?([\d.,]++) ?\}"), r"\1/\2"),
    (re.compile(r"\\[dtc]?frac ?(\d) ?(\d)"), r"\1/\2"),
    (re.compile(r"\\(?=[$%€£])"), ""),
)

_RAISED = re.compile("(?<=\\d)[⁺⁻]?[⁰¹²³⁴-⁹]{1,3}")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-", "⁺")
_PARTS = re.compile(r"(?<![\d.,/])(?!100分之)(\d{1,9}) ?(?:分[之の]|분의) ?(\d{1,9})(?!\d|[.,]\d)")
"""3分の1 and 3분의 1 are 1/3, while 100分之25 is 25 per cent."""
_AND_PARTS = re.compile(r"(?<=\d)[又と] ?(?=\d{1,4}/\d)")
"""Between the whole and the fraction of 3又1/2."""
_UNDERSCORE = re.compile(r"(?<=\d)_(?=\d{3}(?!\d))")


def normalized(text: str) -> str:
    """Return text with ASCII digits, signs and separators, LaTeX's written as plain ones.

    10³ becomes 10^3, and the 1_000 of programs 1000.
    """
    text = ascii_signs(text)
    if not text.isascii():
        text = _RAISED.sub(lambda found: "^" + found[0].translate(_SUPERSCRIPTS), text)
    if "_" in text:
        text = _UNDERSCORE.sub("", text)
    if "\\" in text or "{" in text:
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    if not text.isascii():
        text = _AND_PARTS.sub(" ", _PARTS.sub(r"\2/\1", text))
    return text


def ascii_signs(text: str) -> str:
    """Return text with its digits, signs and separators in ASCII."""
    return _VULGAR.sub(" ", text).translate(_TO_ASCII)
