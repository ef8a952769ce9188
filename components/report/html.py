"""A page as one HTML file: inline style sheet, script and icon; its policy allows nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lidr.components.report.blocks import KeyFigure, Section
from lidr.components.report.words import visible

_HERE = Path(__file__).parent


def page(
    *,
    product: str,
    name: str,
    title: str,
    subtitle: str,
    sections: Sequence[Section],
    figures: Sequence[KeyFigure] = (),
    facts: Sequence[tuple[str, str]] = (),
    recipe: str = "",
    notes: Sequence[str] = (),
    contents: bool = True,
) -> str:
    """Return a page as HTML; everything that came from a model or a recipe is escaped.

    Args:
        product: the command that wrote the page.
        name: what the page is about, e.g. the run.
        title: the result, as the heading.
        subtitle: one or two sentences below it.
        sections: the parts of the page.
        figures: key numbers, shown first.
        facts: pairs of a label and its text, shown after the figures.
        recipe: as YAML, shown in its own section; "" for none.
        notes: lines of the footer; empty ones are left out.
        contents: whether to link the sections at the top; inside another page's frame such links
            may navigate that page instead.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = style_sheet(), (_HERE / "browser.js").read_text("utf-8")
    return environment.get_template("page.html").render(
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704  # our own file
        script=Markup(script),  # noqa: S704  # our own file
        product=product,
        name=name,
        title=title,
        subtitle=subtitle,
        sections=sections,
        figures=figures,
        facts=facts,
        recipe=visible(recipe),
        notes=[note for note in notes if note],
        contents=contents,
    )


def style_sheet() -> str:
    """Return the CSS of pages and charts."""
    return (_HERE / "style.css").read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Return the page's Content-Security-Policy: this style sheet, this script, data: images."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
