"""A page as one file: its style sheet and script inside, and a policy that admits only those."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_HERE = Path(__file__).parent


def page(template: str, **values: object) -> str:
    """Return a page as HTML; everything that came from a model or a recipe is escaped.

    Args:
        template: name of a file beside this one.
        **values: what it shows.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = style_sheet(), (_HERE / "filter.js").read_text("utf-8")
    return environment.get_template(template).render(
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704  # our own file
        script=Markup(script),  # noqa: S704  # our own file
        **values,
    )


def style_sheet() -> str:
    """Return the CSS of pages and charts."""
    return (_HERE / "style.css").read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Return the page's Content-Security-Policy: this style sheet, this script, nothing else."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
