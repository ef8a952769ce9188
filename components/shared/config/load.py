"""YAML configuration with errors that name file, line, key and the allowed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.yaml_merge import data_of, fill_placeholders, merged, read_node
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.redaction import may_hold_secret
from lidr.components.shared.core.text import nearest

Config = TypeVar("Config", bound=BaseModel)

Location = tuple[str | int, ...]

_REMEDIES = {"extra_forbidden": "Remove or rename the key.", "missing": "Add the key."}

_MAX_SHOWN_CHARS = 200
"""Characters of a wrong value that a message shows."""


class LocatedError(ValueError):
    """A rule across keys is broken; the message names one of the keys.

    Args:
        message: what is wrong, without the key.
        *location: the path of the key in the model.
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
    """Read YAML files into one pydantic model; later ones win, and may be empty.

    They may name the environment variables in `variables` as `${NAME}`.

    Raises:
        BadInput: a file cannot be read or is not YAML, or together they break the model's rules; it
            names the file and line of the key.
    """
    first, *others = paths
    node = _document(first, kind)
    for path in others:
        if (layer := read_node(path)) is not None:
            node = merged(node, _mapping(layer, path, kind))
    fill_placeholders(node, variables)
    return _validated(node, kind, {})


def _document(path: Path, kind: type[BaseModel]) -> yaml.Node:
    return _mapping(read_node(path), path, kind)


def _mapping(node: yaml.Node | None, path: Path, kind: type[BaseModel]) -> yaml.Node:
    if not isinstance(node, yaml.MappingNode):
        raise BadInput("expected keys and values", file=path, line=1, remedy=_fields_remedy(kind))
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
    *parents, leaf = dotted.split(".")
    for name in parents:
        child = data.setdefault(name, {})
        if not isinstance(child, dict):
            raise BadInput(
                f"{dotted}: {name} has no keys of its own", remedy="Check the name after --set."
            )
        data = child
    data[leaf] = value


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
    key = _dotted(location)
    mark = _mark(node, location)
    set_here = bool(key) and any(_overlap(key, name) for name in overrides)
    message = _sentence(details, key, kind, location)
    remedy = _REMEDIES.get(details["type"], "Change the value.")
    if moved := _moved(details, kind, data):
        message, remedy = f"key {key!r} is the profile's: {moved}", "Write it there."
    elif set_here:
        remedy = "Check --set and --seed."
    file, line = ("", 0) if set_here else (mark.name, mark.line + 1)
    return BadInput(message, file=file, line=line, remedy=remedy)


def _overlap(key: str, other: str) -> bool:
    """Return whether two dotted keys are equal, or one is within the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _location(details: ErrorDetails, data: Any) -> Location:
    """Return the path to the wrong key, without pydantic's names of a union's members.

    Args:
        details: pydantic's.
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

    A mistyped key is one that is unknown and one that is missing: the first says what was meant.
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
    given = f", not {_shown(details['input'])}" if shows_input else ""
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: {message[0].lower()}{message[1:]}{given}"


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location)


def _moved(details: ErrorDetails, kind: type[BaseModel], data: object) -> str:
    """Return where the profile has an unknown key that the model used to have; "" for others."""
    if details["type"] != "extra_forbidden" or not issubclass(kind, Strict):
        return ""
    return kind.moved.get(_dotted(_location(details, data)), "")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}…"


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


def _mark(node: yaml.Node, location: Location) -> yaml.Mark:
    """Return the position of the deepest node that exists on the way to `location`."""
    mark = node.start_mark
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                return mark
            mark, node = found[0].start_mark, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):  # --set has given a longer list
                return mark
            node = node.value[part]
            mark = node.start_mark
    return mark


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested keys joined by dots: `{"a": {"b": 1}}` gives `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        flat |= flatten(item, f"{name}.") if isinstance(item, Mapping) else {name: item}
    return flat
