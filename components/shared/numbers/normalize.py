"""Normalizes digits, signs and separators, in any script or LaTeX, to ASCII."""

from __future__ import annotations

import re
import sys
import unicodedata

_FRACTIONS = {
    chr(code): unicodedata.normalize("NFKC", chr(code)).replace("\u2044", "/")
    for code in range(0xBC, 0x2190)
    if unicodedata.decomposition(chr(code)).startswith("<fraction>")
}
"""Vulgar fractions: ½ is 1/2."""

_TO_ASCII = (
    {
        code: str(unicodedata.decimal(chr(code)))
        for code in range(128, sys.maxunicode)
        if unicodedata.category(chr(code)) == "Nd"
    }
    | {ord(sign): f" {plain}" for sign, plain in _FRACTIONS.items() if plain[-1] != "/"}
    | {
        ord(wide): narrow
        for wide, narrow in zip("，．－＋／％＄＝：（）", ",.-+/%$=:()", strict=True)
    }
    | {ord(space): "\u00a0" for space in "\u2002\u2005\u2006\u2007\u2008\u2009\u200a\u202f"}
    | {ord(quote): "'" for quote in "’ʼ＇"}
    | {ord("٫"): ".", ord("٬"): ",", ord("\u2044"): "/", ord("\u2212"): "-", ord("﹣"): "-"}
    | dict.fromkeys(map(ord, "\u200b\u200e\u200f\u2060\ufeff"))
)
"""Digits, signs and separators in ASCII; no-break and thin spaces become a no-break space."""

_LATEX = (
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,;:! ]"), "\u00a0"),
    (re.compile(r"\\[dtc]?frac ?\{ ?(-?[\d.,]++) ?\} ?\{ ?([\d.,]++) ?\}"), r" \1/\2"),
    (re.compile(r"\\[dtc]?frac ?(\d) ?(\d)"), r" \1/\2"),
    (re.compile(r"\\(?=[$%€£])"), ""),
)

_RAISED = re.compile("(?<=\\d)[⁺⁻]?[⁰¹²³⁴-⁹]{1,3}")
_SIGNS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-", "⁺")
_UNDERSCORE = re.compile(r"(?<=\d)_(?=\d{3}(?!\d))")


def normalized(text: str) -> str:
    """Return text with ASCII digits, signs and separators, without LaTeX's spaces and fractions.

    10³ becomes 10^3, and the 1_000 of programs 1000.
    """
    text = ascii_signs(text)
    if not text.isascii():
        text = _RAISED.sub(lambda found: "^" + found[0].translate(_SIGNS), text)
    if "_" in text:
        text = _UNDERSCORE.sub("", text)
    if "\\" in text or "{" in text:
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    return text


def ascii_signs(text: str) -> str:
    """Return text with its digits, signs and separators in ASCII."""
    return text.translate(_TO_ASCII)
