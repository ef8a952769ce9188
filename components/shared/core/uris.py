"""Tells URIs from paths."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:/")
"""One slash is enough: MLflow writes `runs:/...`; one letter is a Windows drive."""


def has_scheme(address: str) -> bool:
    """Tell whether an address is a URI such as `s3://bucket` or `runs:/id`, and no path."""
    return _SCHEME.match(address) is not None
