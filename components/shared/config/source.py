"""Where an input comes from: one line of text that also pins its content.

A recipe gives a source as its address, or as `{source, sha256, revision, licence}`. Both become one
line, an address with a fragment (`https://host/file.jsonl#sha256=...&licence=MIT`), so that a
source is recorded, compared and shown like any other text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from lidr.components.shared.config.patterns import COMMIT
from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.core.text import nearest

_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"licence|sha256(\..+)?")
"""What may precede a `=` in a line's fragment."""
_KEYS = ("source", "sha256", "revision", "licence")
_WEB = ("https://", "http://")
_HUB = re.compile(r"hf://((?:datasets/)?[\w.-]+(?:/[\w.-]+)?)@([^/]+)")
"""A repository of the hub, with its revision."""
_HUB_DATA = re.compile(
    r"hf://datasets/(?P<name>[^@/]+/[^@/]+)@(?P<revision>[^@/]+)(?:/(?P<file>.+))?"
)


@dataclass(frozen=True)
class Source:
    """A parsed source.

    Attributes:
        address: path, `s3://`, `hf://` or `https://`; may contain `{language}`.
        sha256: digest of the bytes, by language; the one under "" is for every language that has
            none of its own; empty if the source is not pinned by digest.
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
    """A data set on the model hub, or one file of it.

    Attributes:
        name: `org/name`.
        revision: the commit.
        file: its path in the data set; "" for the whole data set.
    """

    name: str
    revision: str
    file: str = ""


def parse_source(text: str) -> Source:
    """Parse a source's line."""
    address, pairs = _split(text)
    if not pairs or not all(map(_is_known, pairs)):
        return Source(text)  # a path may hold a #
    pins = {key.partition(".")[2]: pairs[key] for key in pairs if key != "licence"}
    return Source(address, pins, pairs.get("licence", ""))


def _split(text: str) -> tuple[str, dict[str, str]]:
    """Return the part of a line before its last `#`, and the keys and values after it."""
    address, found, fragment = text.rpartition("#")
    return address, dict(parse_qsl(fragment, keep_blank_values=True)) if found else {}


def _is_known(key: str) -> bool:
    return _KEY.fullmatch(key) is not None


def on_this_machine(text: str) -> bool:
    """Return whether a source is a path of this machine, with file:// or without."""
    return "://" not in parse_source(text).address.removeprefix("file://")


def hub_data(address: str) -> HubData | None:
    """Return what `hf://datasets/org/name@<commit>/file` names; None for other addresses."""
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
    _refuse_unknown_keys(value)
    source = parse_source(value)
    _require_pins(source)
    if is_web(source.address) and not source.sha256:
        raise ValueError(f"{value!r} needs its sha256: what a web server sends may change")
    if is_web(source.address) and not urlsplit(source.address).netloc:
        raise ValueError(f"{value!r} names no host")
    if value.startswith("hf://datasets/") and not hub_data(source.address):
        form = "hf://datasets/org/name@<commit>"
        raise ValueError(f"{value!r} is not of the form {form} or {form}/file")
    return require_commit(value)


def _refuse_unknown_keys(line: str) -> None:
    """Refuse a line whose fragment was meant as a pin or licence, but would be part of a path."""
    keys = _split(line)[1]
    if any(key.startswith(("sha256", "licen")) for key in keys):
        _refuse_strange([key for key in keys if not _is_known(key)], ("sha256", "licence"))


def _refuse_strange(strange: Sequence[str], known: Sequence[str]) -> None:
    if strange:
        raise ValueError(f"a source has no {strange[0]!r}{nearest(strange[0], known)}")


def _require_pins(source: Source) -> None:
    """Refuse malformed digests, those of an unknown language, and several for one file."""
    for code, pin in source.sha256.items():
        if code and code not in NAMES:
            raise ValueError(f"sha256 names {code!r}, which is not a language's ISO 639-1 code")
        if not _SHA256.fullmatch(pin):
            raise ValueError(f"sha256 {pin!r} is not 64 lower-case hexadecimal digits")
    if any(source.sha256) and "{" not in source.address:
        raise ValueError(
            f"{source.address!r} is one file, but its sha256 is given by language: give one digest"
        )


def require_commit(text: str) -> str:
    """Return a source; refuse a branch or tag of the hub, which may move while it is fetched."""
    found = _HUB.match(parse_source(text).address)
    if found and not re.fullmatch(COMMIT, found[2]):
        name, revision = found.groups()
        raise ValueError(
            f"{text!r} names {revision!r}, which is not the 40 hex digits of a commit, so it may "
            f"change; copy those from https://huggingface.co/{name}/commits/{revision}"
        )
    return text


def require_no_language(text: str) -> str:
    """Return a source; refuse `{language}` in it, for keys that do not replace it."""
    if "{language" in (address := parse_source(text).address):
        raise ValueError(
            f"{address!r} holds {{language}}, which is replaced under evaluation.data and "
            "judge.tasks only; write the full address"
        )
    return text


def _from_mapping(value: Mapping[str, Any]) -> Source:
    _refuse_strange([str(key) for key in value if key not in _KEYS], _KEYS)
    address, pin, revision = value.get("source"), value.get("sha256", {}), value.get("revision", "")
    if not isinstance(address, str) or not address:
        raise ValueError("a source needs its address under `source`")
    pins = pin if isinstance(pin, Mapping) else {"": pin}
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
        raise ValueError(
            f"revision belongs to an hf:// address that has no @revision yet, not to {address!r}"
        )
    owner, _, path = address.removeprefix(kind).partition("/")
    if not path or "/" in revision:
        what = "revision" if path else "source"
        raise ValueError(
            f"{what} {revision if path else address!r}: write {kind}org/name, and a commit as its "
            "revision"
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

ModelSource = Annotated[str, AfterValidator(require_commit)]
"""A model's source: a folder or URI; a revision on the hub must be a commit."""

OneSource = Annotated[SourceText, AfterValidator(require_no_language)]
"""A source that is the same for every language."""

SourceTexts = Annotated[
    tuple[OneSource, ...],
    BeforeValidator(_as_tuple),
    Field(min_length=1),
    WithJsonSchema(
        {"anyOf": [*_SCHEMA["anyOf"], {"type": "array", "minItems": 1, "items": _SCHEMA}]}
    ),
]
"""One source, or several that are read one after another."""


def shown(sources: Iterable[str]) -> str:
    """Return the addresses of sources, for a message."""
    return ", ".join(parse_source(each).address for each in sources)
