"""Entries for browser.js: model text as data, never as markup, within a budget of bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import TypedDict

from markupsafe import Markup

from lidr.components.report.blocks import Browser, Filter, colour_class
from lidr.components.report.words import CONTROLS, language
from lidr.components.shared.config.recipe import Languages
from lidr.components.shared.core.text import valid_unicode

PAIRS_BUDGET = 2_600_000
FLIPS_BUDGET = 1_400_000
"""Bytes of pairs and of flipped items; with charts and tables the page stays under 5 MB."""

_MAX_CHARS = 3000
"""Characters of a text that are shown."""

_UNSAFE = re.compile(f"[<\u2028\u2029]|{CONTROLS.pattern}")

Side = tuple[str, str, str | None, str]
"""Heading, class, text (None where there is none) and language code ("" if unknown)."""


class BrowserEntry(TypedDict, total=False):
    """One entry; texts are as the model wrote them. The first two sides are compared."""

    language: str
    about: str
    badges: list[tuple[str, str]]
    prompt: str
    target: str
    sides: tuple[Side, ...]
    tags: dict[str, str]
    rank: float


def browser(
    languages: Languages, encoded: Sequence[str], filters: Sequence[Filter], rank: str = ""
) -> Browser:
    """Return a browser over entries.

    Args:
        languages: the languages of the entries, for names and colours.
        encoded: entries, as `within` returns them.
        filters: the menus; those with fewer than two options are left out.
        rank: name of the entries' `rank`, by which they can be sorted; "" for none.
    """
    names = {
        "languages": {code: language(code) for code in languages.all},
        "kinds": {code: colour_class(languages, code) for code in languages.all},
    }
    data = f'{{"names":{_encoded(names)},"entries":[{",".join(encoded)}]}}'
    useful = [each for each in filters if len(each.options) > 1]
    return Browser(Markup(data), useful, rank, len(encoded))  # noqa: S704  # `<` is escaped


def within(entries: Iterable[BrowserEntry], budget: int) -> list[str]:
    """Return the first entries that fit into a budget, each as JSON.

    Args:
        entries: read only as far as they fit.
        budget: in bytes.
    """
    taken = []
    for entry in entries:
        text = _encoded(entry)
        budget -= len(text.encode()) + 1
        if budget < 0:
            break
        taken.append(text)
    return taken


def shortened(text: str) -> str:
    """Return the first 3,000 characters, and how many were left out."""
    left_out = len(text) - _MAX_CHARS
    return text if left_out <= 0 else f"{text[:_MAX_CHARS]} … ({left_out:,} more characters)"


def _encoded(value: object) -> str:
    """Return JSON that cannot end a script element and holds no control characters."""
    text = valid_unicode(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
