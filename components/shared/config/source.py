"""Where an input comes from: one line of text that also pins its content.

A recipe gives a source as its address, or as `{source, sha256, revision, licence}`. Both become one
line, an address with a fragment (`https://host/file.jsonl#sha256=...&licence=MIT`), so that a
source is recorded, compared and shown like any other text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import BeforeValidator, WithJsonSchema

from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.core.text import nearest

_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = ("source", "sha256", "revision", "licence")
_WEB = ("https://", "http://")
_HUB_DATA = re.compile(
    r"hf://datasets/(?P<name>[^@/]+/[^@/]+)@(?P<revision>[^@/]+)(?:/(?P<file>.+))?"
)


@dataclass(frozen=True)
class Source:
    """A parsed source.

    Attributes:
        address: path, `s3://`, `hf://` or `https://`; may contain `{language}`.
        sha256: digest of the bytes, by language; under "" for a single file; empty for none.
        licence: as stated in the recipe.
    """

    address: str
    sha256: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""

    def text(self) -> str:
        """Return the source as one line; `parse_source` reads it."""
        pins = {f"sha256.{code}" if code else "sha256": pin for code, pin in self.sha256.items()}
        parts = pins | ({"licence": self.licence} if self.licence else {})
        joined = "&".join(f"{key}={quote(value, safe='')}" for key, value in parts.items())
        return f"{self.address}#{joined}" if joined else self.address

    def at(self, language: str) -> Source:
        """Return the file of one language."""
        pin = self.sha256.get(language) or self.sha256.get("")
        address = self.address.replace("{language}", language)
        return Source(address, {"": pin} if pin else {}, self.licence)


@dataclass(frozen=True)
class HubData:
    """A data set on the model hub, or one file of it ("" for all)."""

    name: str
    revision: str
    file: str = ""


def parse_source(text: str) -> Source:
    """Parse a source's line."""
    address, found, fragment = text.rpartition("#")
    pairs = dict(parse_qsl(fragment)) if found else {}
    if not pairs or not all(key == "licence" or key.startswith("sha256") for key in pairs):
        return Source(text)  # a path may hold a #
    pins = {key.partition(".")[2]: pairs[key] for key in pairs if key != "licence"}
    return Source(address, pins, pairs.get("licence", ""))


def on_this_machine(text: str) -> bool:
    """Return whether a source is a path of this machine, with file:// or without."""
    return "://" not in parse_source(text).address.removeprefix("file://")


def hub_data(address: str) -> HubData | None:
    """Return what `hf://datasets/org/name@revision/file` names; None for other addresses."""
    found = _HUB_DATA.fullmatch(address)
    return found and HubData(found["name"], found["revision"], found["file"] or "")


def is_web(address: str) -> bool:
    """Return whether an address is a web server's."""
    return address.startswith(_WEB)


def _as_text(value: Any) -> Any:
    """Return what a recipe gives for a source as one line."""
    if isinstance(value, Mapping):
        value = _from_mapping(value).text()
    if not isinstance(value, str):
        return value
    source = parse_source(value)
    for pin in source.sha256.values():
        if not _SHA256.fullmatch(pin):
            raise ValueError(f"sha256 {pin!r} is not 64 lower-case hexadecimal digits")
    if any(source.sha256) and "{" not in source.address:
        raise ValueError(
            f"{source.address!r} is one file, but its sha256 is given by language: give the digest "
            "alone, or write {language} in the address"
        )
    if is_web(source.address) and not source.sha256:
        raise ValueError(f"{value!r} needs its sha256: what a web server sends may change")
    if is_web(source.address) and not urlsplit(source.address).netloc:
        raise ValueError(f"{value!r} names no host")
    if value.startswith("hf://datasets/") and not hub_data(source.address):
        raise ValueError(f"{value!r} is none of hf://datasets/org/name@revision/file")
    return value


def _from_mapping(value: Mapping[str, Any]) -> Source:
    if strange := [str(key) for key in value if key not in _KEYS]:
        raise ValueError(f"a source has no {strange[0]!r}{nearest(strange[0], _KEYS)}")
    address, pin, revision = value.get("source"), value.get("sha256", {}), value.get("revision", "")
    if not isinstance(address, str) or not address:
        raise ValueError("a source needs its address under `source`")
    pins = pin if isinstance(pin, Mapping) else {"": pin}
    if strange := [str(code) for code in pins if code and code not in NAMES]:
        raise ValueError(f"sha256 names {strange[0]!r}, which is not a language's ISO 639-1 code")
    if "sha256" in value and not all(pins.values()):
        raise ValueError("sha256 is empty: give the digest, or leave it out")
    if revision:
        address = _with_revision(address, str(revision))
    return Source(
        address,
        {str(code): str(digest) for code, digest in pins.items()},
        str(value.get("licence") or ""),
    )


def _with_revision(address: str, revision: str) -> str:
    kind = "hf://datasets/" if address.startswith("hf://datasets/") else "hf://"
    if not address.startswith(kind) or "@" in address:
        raise ValueError(f"revision belongs to an hf:// address without one, not to {address!r}")
    owner, _, path = address.removeprefix(kind).partition("/")
    if not path or "/" in revision:
        what = "revision" if path else "source"
        raise ValueError(
            f"{what} {revision if path else address!r}: write {kind}org/name, and a commit, branch "
            "or tag without a slash as its revision"
        )
    name, *rest = path.split("/")
    return kind + "/".join([owner, f"{name}@{revision}", *rest])


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


_PIN = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["source"],
            "properties": {
                "source": {"type": "string"},
                "sha256": {"anyOf": [_PIN, {"type": "object", "additionalProperties": _PIN}]},
                "revision": {"type": "string"},
                "licence": {"type": "string"},
            },
        },
    ]
}

SourceText = Annotated[str, BeforeValidator(_as_text), WithJsonSchema(_SCHEMA)]
"""A source as one line; see `parse_source`."""

SourceTexts = Annotated[
    tuple[SourceText, ...],
    BeforeValidator(_as_tuple),
    WithJsonSchema({"anyOf": [*_SCHEMA["anyOf"], {"type": "array", "items": _SCHEMA}]}),
]
"""One source, or several that are read one after another."""


def shown(sources: Iterable[str]) -> str:
    """Return the addresses of sources, for a message."""
    return ", ".join(parse_source(each).address for each in sources)
