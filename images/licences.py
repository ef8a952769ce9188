"""The licences of all Python packages: `python -m images.licences` prints them, worst first.

It exits with 1 if one is not allowed by images/shared/licences.yaml.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import metadata
from typing import Any

import yaml
from packaging.utils import canonicalize_name

from images.build import ROOT

RULES: dict[str, Any] = yaml.safe_load(
    (ROOT / "images" / "shared" / "licences.yaml").read_text("utf-8")
)

_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==", re.MULTILINE)

_PLAIN = {
    "Academic Free License (AFL)": "AFL-3.0",
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache Software License 2.0": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "The MIT License (MIT)": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""SPDX names by what packages wrote before there was a field for them (PEP 639)."""

_UNNAMED = (["OSI Approved"], ["DFSG approved"])
"""Classifiers that say that there is a licence, but not which."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package and its licence.

    Attributes:
        name: canonical.
        version: "" if it is not installed here.
        licence: as the package states it, as SPDX name if that is known; "" if it states none.
        reason: why it is allowed although its licence is not.
        allowed: whether it is allowed.
    """

    name: str
    version: str
    licence: str
    reason: str
    allowed: bool


def packages() -> list[Package]:
    """Return every package that is installed here or pinned by an image's lock, by name."""
    installed = reversed([*metadata.distributions()])  # of two, the first is imported
    found = {str(canonicalize_name(each.metadata["Name"])): each for each in installed}
    return [_package(name, found.get(name)) for name in sorted({*found, *locked()})]


def locked() -> set[str]:
    """Return the names of all packages that the images' locks pin."""
    texts = (path.read_text("utf-8") for path in (ROOT / "images").glob("*/*.lock"))
    return {canonicalize_name(name) for text in texts for name in _PINNED.findall(text)}


def is_allowed(licence: str, allowed: frozenset[str] = frozenset(RULES["allowed"])) -> bool:
    """Decide an SPDX expression: one side of OR, both of AND; with parentheses, all of it.

    >>> is_allowed("MIT OR GPL-3.0-only"), is_allowed("MIT AND GPL-3.0-only")
    (True, False)
    """
    if "(" in licence:
        return all(part.strip("() ") in allowed for part in re.split(r"\s(?:AND|OR)\s", licence))
    either = re.split(r"\s+OR\s+", licence)
    return any(all(part in allowed for part in re.split(r"\s+AND\s+", each)) for each in either)


def exception_for(name: str) -> tuple[str, Mapping[str, Any]]:
    """Return the pattern of the exception for a package, and the exception; "" for none.

    It holds for the licence that it names alone: a release under another one is not covered.
    """
    rules = RULES["exceptions"].items()
    return next((each for each in rules if fnmatch(name, each[0])), ("", {}))


def _package(name: str, found: metadata.Distribution | None) -> Package:
    version = found.version if found else ""
    stated = " OR ".join(_stated(found.metadata)) if found else ""
    licence = stated or RULES["elsewhere"].get(name, "")
    if licence and is_allowed(licence):
        return Package(name, version, licence, "", True)
    _, rule = exception_for(name)
    if rule and licence in ("", rule["licence"], *rule.get("stated", ())):
        return Package(name, version, rule["licence"], rule["reason"], True)
    return Package(name, version, licence, "", False)


def _stated(facts: Any) -> Iterator[str]:
    """Yield the alternative licences in a package's metadata.

    One that is not OSI's, such as "Other/Proprietary License", is no alternative to those that are.
    """
    if facts.get("License-Expression"):
        yield facts["License-Expression"]
        return
    classifiers = [each.split(" :: ") for each in facts.get_all("Classifier") or []]
    named = [each[1:] for each in classifiers if each[0] == "License" and each[1:] not in _UNNAMED]
    other = [each[-1] for each in named if each[0] != "OSI Approved"]
    lines = str(facts.get("License") or "").strip().splitlines() or [""]
    for each in other or [each[-1] for each in named] or lines[:1]:
        if each:
            yield _PLAIN.get(each, each)


def main() -> int:
    """Print the list; return the exit status."""
    found = sorted(packages(), key=lambda each: (each.allowed, not each.reason, each.name))
    for each in found:
        mark = "" if each.allowed else "NOT ALLOWED  "
        why = f"  ({each.reason})" if each.reason else ""
        print(f"{mark}{each.name} {each.version or '-'}: {each.licence or 'not stated'}{why}")
    refused = [each.name for each in found if not each.allowed]
    if refused:
        said = f"{len(refused)} of {len(found)} are not allowed: {', '.join(refused)}"
        print(said, file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
