"""How the report writes numbers and names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from lidr.components.shared.core.languages import NAMES

MINUS = "−"

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Characters that would change how the text around them is shown."""


def language(code: str) -> str:
    """Return the English name of a language."""
    return NAMES.get(code, code)


def level(share: float) -> str:
    """Return a confidence level or an error rate as `97.5%`, unrounded."""
    return f"{100 * share:g}%"


def model(iteration: int) -> str:
    """Return `M₁` for iteration 1."""
    return "M" + str(iteration).translate(_SUBSCRIPTS)


def direction(key: str) -> str:
    """Return `en-es` as `English → Spanish`."""
    source, _, target = key.partition("-")
    return f"{language(source)} → {language(target)}"


def place_label(key: str) -> str:
    """Return a place of the reward check (a direction, a language or a pool of them) in words."""
    if key in ("*-*", "*"):
        return "All"
    return direction(key).replace("*", "all") if "-" in key else language(key)


def counted(count: int, noun: str) -> str:
    """Return `1 stage`, `2 stages`."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Return `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def percent(fraction: float) -> str:
    """Return 0.461 as `46.1%`, and a round 1.0 as `100%`."""
    digits = 0 if fraction in (0, 1) else 1
    return f"{fraction:z.{digits}%}".replace("-", MINUS)


def points(difference: float) -> str:
    """Return a difference of fractions as `+53.1 points`."""
    return f"{signed(difference)} points"


def signed(difference: float) -> str:
    """Return a difference of fractions in percentage points with its sign."""
    rounded = round(difference * 100, 1) or 0.0
    return f"{rounded:+.1f}".replace("-", MINUS) if rounded else "0.0"


def lead(gap: float) -> str:
    """Return the dominant language's lead, a difference of fractions, in points: `53.1`, `−0.4`."""
    return signed(gap).lstrip("+")


def plain(value: float) -> str:
    """Return a number with at most four significant digits, but all digits before the point."""
    text = f"{value:z.4g}" if abs(value) < 9999.5 else f"{value:,.0f}"
    return text.replace("-", MINUS)


def number(value: float) -> str:
    """Return a count as `12,345`."""
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Return seconds as `2.3 s`, `12 s`, `3 min 20 s` or `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def limits(interval: Mapping[str, float]) -> str:
    """Return an interval's limits as `40.5–51.8`, in percent."""
    low, high = (f"{interval[key] * 100:z.1f}".replace("-", MINUS) for key in ("low", "high"))
    return f"{low} to {high}" if MINUS in low else f"{low}–{high}"


def p_value(p: float) -> str:
    """Return a p-value in two significant digits, or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def spelled(name: str) -> str:
    """Return a reason such as `source_failed` in words."""
    return name.replace("_", " ")


def visible(text: str) -> Markup:
    """Return a text escaped, with control characters and bidi overrides shown as `U+202E`."""
    parts, position = [], 0
    for match in CONTROLS.finditer(text):
        parts.append(escape(text[position : match.start()]))
        parts.append(Markup('<span class="control">U+{}</span>').format(f"{ord(match[0]):04X}"))
        position = match.end()
    return Markup("").join([*parts, escape(text[position:])])


def literal(text: str) -> Markup:
    """Return a path or command as code, isolated from the text direction around it."""
    return Markup("<code><bdi>{}</bdi></code>").format(visible(text))


def hours(seconds: float) -> str:
    """Return GPU seconds as GPU hours, in three significant digits or more."""
    found = seconds / 3600
    return f"{found:,.3g}" if found < 999.5 else f"{found:,.0f}"
