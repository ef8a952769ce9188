"""YAML configuration with errors that name file, line, key and the allowed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.wording import shown, wanted
from lidr.components.shared.config.yaml_merge import (
    data_of,
    dotted_key,
    fill_placeholders,
    mark_of,
    merged,
    read_node,
)
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.redaction import may_hold_secret
from lidr.components.shared.core.text import nearest

Config = TypeVar("Config", bound=BaseModel)

Location = tuple[str | int, ...]

_REMEDIES = {"extra_forbidden": "Remove or rename the key.", "missing": "Add the key."}

_READ_AS: Mapping[type, str] = {
    bool: "yes, no, on and off as true or false",
    int: "it as a number",
    float: "it as a number",
    date: "it as a date",
}
"""How YAML 1.1 reads some texts without quotes."""


class LocatedError(ValueError):
    """A rule that spans several keys is broken; the error is reported at one of them.

    Args:
        message: what is wrong; the key is put before it.
        *location: the path of that key in the model.
    """

    def __init__(self, message: str, *location: str | int) -> None:
        super().__init__(message)
        self.location: Location = location


def load(path: Path, kind: type[Config], overrides: dict[str, object]) -> Config:
    """Read a YAML file into a pydantic model, with dotted keys of `overrides` set in it.

    Raises:
        BadInput: the file cannot be read, is not YAML, or breaks the model's rules.
    """
    return _validated(_document(path, kind), kind, overrides)


def load_layers(paths: Sequence[Path], kind: type[Config], variables: Sequence[str]) -> Config:
    """Read YAML files into one pydantic model.

    Later files win; all but the first may be empty. Values may contain `${NAME}` for the names in
    `variables`.

    Raises:
        BadInput: a file cannot be read or is not YAML, or together they break the model's rules.
            The error names the file and line of the key.
    """
    first, *others = paths
    node = _document(first, kind)
    for path in others:
        if (layer := read_node(path)) is not None:
            node = merged(
                node, _mapping(layer, path, "Write keys with values, or leave the file empty.")
            )
    fill_placeholders(node, variables)
    return _validated(node, kind, {})


def _document(path: Path, kind: type[BaseModel]) -> yaml.Node:
    return _mapping(read_node(path), path, _fields_remedy(kind))


def _mapping(node: yaml.Node | None, path: Path, remedy: str) -> yaml.Node:
    if not isinstance(node, yaml.MappingNode):
        raise BadInput("expected keys and values", file=path, line=1, remedy=remedy)
    return node


def _validated(node: yaml.Node, kind: type[Config], overrides: dict[str, object]) -> Config:
    data = data_of(node)
    for key, value in overrides.items():
        _set(data, key, value)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise _explain(error, kind, node, data, overrides) from error


def _set(data: dict[str, object], dotted: str, value: object) -> None:
    """Set a dotted key, in copies of the sections above it: an alias in YAML shares a section."""
    *parents, leaf = dotted.split(".")
    for depth, name in enumerate(parents, 1):
        child = data.get(name)
        if child is not None and not isinstance(child, dict):
            raise _not_a_section(dotted, ".".join(parents[:depth]), child)
        section = dict(child or {})
        data[name] = section
        data = section
    data[leaf] = value


def _not_a_section(dotted: str, parent: str, value: object) -> BadInput:
    if isinstance(value, list):
        return BadInput(
            f"{dotted}: {parent} is a list, and --set reaches only into sections",
            remedy=f"Give the whole list: --set '{parent}=[...]'.",
        )
    return BadInput(
        f"{dotted}: {parent} has no keys of its own", remedy="Check the name after --set."
    )


def _explain(
    error: ValidationError,
    kind: type[BaseModel],
    node: yaml.Node,
    data: object,
    overrides: dict[str, object],
) -> BadInput:
    errors = error.errors(include_url=False)
    moved_keys = [each for each in errors if _moved(each, kind, data)]
    details = _most_specific(moved_keys or errors)
    location = _location(details, data)
    key = dotted_key(node, location)
    mark = mark_of(node, location)
    overridden = _caused_by_overrides(details, location, kind, node, overrides)
    message = _sentence(details, key, kind, location)
    hint = _quotes_hint(details)
    remedy = hint or _REMEDIES.get(details["type"], "Change the value.")
    if moved := _moved(details, kind, data):
        message, remedy = f"key {key!r} has moved to the profile, as {moved}", "Write it there."
    elif overridden:
        remedy = f"Check --set and --seed. {hint}".rstrip()
    file, line = ("", 0) if overridden else (mark.name, mark.line + 1)
    return BadInput(message, file=file, line=line, remedy=remedy)


def _caused_by_overrides(
    details: ErrorDetails,
    location: Location,
    kind: type[BaseModel],
    node: yaml.Node,
    overrides: dict[str, object],
) -> bool:
    """Return whether overrides caused an error: at a key that they set, or in a section of theirs.

    An error about a whole section is the file's own if it also occurs without overrides.
    """
    key = _dotted(location)
    if any(_within(key, name) for name in overrides):
        return True
    section = _dotted(location[:-1]) if details["type"] == "missing" else key
    if not any(_within(name, section) for name in overrides):
        return False
    try:
        kind.model_validate(data_of(node))
    except ValidationError as error:
        own = error.errors(include_url=False)
        return _fault(details) not in map(_fault, own)
    return True


def _fault(details: ErrorDetails) -> tuple[str, Location, str]:
    return details["type"], details["loc"], details["msg"]


def _within(key: str, section: str) -> bool:
    """Return whether a dotted key names a section or a key in it.

    The section "" is the whole document.
    """
    return not section or f"{key}.".startswith(f"{section}.")


def _location(details: ErrorDetails, data: Any) -> Location:
    """Return the path to the wrong key, without pydantic's names of a union's members.

    Args:
        details: the error, from pydantic.
        data: the document, whose own keys are kept whatever they look like.
    """
    found = details["loc"]
    broken = details.get("ctx", {}).get("error")
    if isinstance(broken, LocatedError):
        return found + broken.location
    own = len(found) - (details["type"] in ("extra_forbidden", "invalid_key"))
    kept: Location = ()
    for place, part in enumerate(found[:own]):
        within = range(len(data)) if isinstance(data, list | tuple) else data
        if isinstance(within, Mapping | range) and part in within:
            data = data[part]
        elif isinstance(data, Mapping) and place == own - 1 and details["type"] == "missing":
            pass  # the key that is wanted
        elif not isinstance(part, int):
            continue  # a member of a union
        kept += (part,)
    return kept + found[own:]


def _most_specific(errors: list[ErrorDetails]) -> ErrorDetails:
    """Return the deepest of several errors: a union reports one for each member.

    A mistyped required key gives two errors, unknown and missing; the unknown one is chosen, since
    it suggests the right name.
    """
    return max(errors, key=lambda item: (len(item["loc"]), item["type"] == "extra_forbidden"))


def _sentence(details: ErrorDetails, key: str, kind: type[BaseModel], location: Location) -> str:
    if details["type"] == "extra_forbidden":
        allowed = _fields_at(kind, location[:-1])
        return (
            f"unknown key {key!r}{nearest(str(location[-1]), allowed)}; "
            f"allowed here: {', '.join(allowed)}"
        )
    if details["type"] == "missing":
        return f"key {key!r} is missing"
    shows_input = not isinstance(details["input"], dict) and not may_hold_secret(key)
    given = f", not {shown(details['input'])}" if shows_input else ""
    if details["type"] == "value_error":
        message = details["msg"].removeprefix("Value error, ")
        return f"{key}: {message}" if key else message
    return f"{key}: {wanted(details)}{given}"


def _quotes_hint(details: ErrorDetails) -> str:
    """Return a remedy if YAML read unquoted text as another type (no as false); otherwise ""."""
    given = details["input"]
    read = next((words for kind, words in _READ_AS.items() if isinstance(given, kind)), "")
    if read and details["type"] in ("string_type", "invalid_key"):
        return f"Write it in quotes: without them YAML reads {read}."
    if isinstance(given, bool) and details["type"] == "literal_error":
        return f"Change the value; without quotes YAML reads {read}."
    return ""


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location)


def _moved(details: ErrorDetails, kind: type[BaseModel], data: object) -> str:
    """Return where the profile has a key that a recipe used to have; "" for any other error."""
    if details["type"] != "extra_forbidden" or not issubclass(kind, Strict):
        return ""
    return kind.moved.get(_dotted(_location(details, data)), "")


def _fields_at(kind: type[BaseModel], location: Location) -> list[str]:
    """Return the field names of the nested model at `location`."""
    for part in location:
        field = kind.model_fields.get(str(part))
        if field is None:
            continue
        members = [field.annotation, *getattr(field.annotation, "__args__", ())]
        models = [m for m in members if isinstance(m, type) and issubclass(m, BaseModel)]
        if models:
            kind = models[0]
    return list(kind.model_fields)


def _fields_remedy(kind: type[BaseModel]) -> str:
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    return f"Give at least {', '.join(required)}." if required else "See the example files."


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested keys joined by dots: `{"a": {"b": 1}}` gives `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        flat |= flatten(item, f"{name}.") if isinstance(item, Mapping) else {name: item}
    return flat
