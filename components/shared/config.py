"""YAML configuration with errors that name file, line, key and the allowed values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from components.shared.errors import BadInput
from components.shared.redaction import is_about_a_secret

Config = TypeVar("Config", bound=BaseModel)

Location = tuple[str | int, ...]


def load(path: Path, kind: type[Config], overrides: dict[str, object]) -> Config:
    """Read a YAML file into a pydantic model.

    Args:
        path: the file.
        kind: the model class.
        overrides: dotted keys and values that replace or add to the file's.

    Raises:
        BadInput: the file cannot be read, is not YAML, or breaks the model's rules.
    """
    text = _read(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise BadInput(
            f"not valid YAML: {error.problem}", file=path, line=line, remedy="Mend the syntax."
        ) from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise BadInput(
            f"not valid YAML: {error.reason}", file=path, line=line, remedy="Remove the character."
        ) from error
    except ValueError as error:  # a date that does not exist, a number without end
        raise BadInput(f"not valid YAML: {error}", file=path, remedy="Quote the value.") from error
    if not isinstance(data, dict) or node is None:
        raise BadInput("expected keys and values", file=path, line=1, remedy=_fields_remedy(kind))
    _refuse_duplicate_keys(node, path)
    for key, value in overrides.items():
        _set(data, key, value)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise _explain(error, kind, node, path, overrides) from error


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest allowed word, or ""."""
    found = difflib.get_close_matches(word, list(allowed), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInput("no such file", file=path, remedy="Check the path.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BadInput("not UTF-8", file=path, line=line, remedy="Save it as UTF-8.") from error
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", file=path) from error


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


def _refuse_duplicate_keys(node: yaml.Node, path: Path) -> None:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicate_keys(item, path)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        if key.value in seen:
            line = key.start_mark.line + 1
            raise BadInput(
                f"key {key.value!r} stands twice", file=path, line=line, remedy="Remove one."
            )
        seen.add(key.value)
        _refuse_duplicate_keys(value, path)


def _explain(
    error: ValidationError,
    kind: type[BaseModel],
    node: yaml.Node,
    path: Path,
    overrides: dict[str, object],
) -> BadInput:
    details = _most_specific(error.errors(include_url=False))
    location = _location(details)
    key = ".".join(str(part) for part in location)
    if key and any(_one_within_the_other(key, name) for name in overrides):
        return BadInput(_sentence(details, key, kind, location), remedy="Check --set and --seed.")
    return BadInput(
        _sentence(details, key, kind, location),
        file=path,
        line=_line(node, location),
        remedy=_remedy(details),
    )


def _one_within_the_other(key: str, name: str) -> bool:
    return f"{key}.".startswith(f"{name}.") or f"{name}.".startswith(f"{key}.")


def _location(details: ErrorDetails) -> Location:
    """Return the way to a finding; a name that the user made up ends it, whatever it looks like."""
    found = details["loc"]
    own = len(found) - (details["type"] in ("extra_forbidden", "invalid_key"))
    return tuple(part for part in found[:own] if _is_key(part)) + found[own:]


def _is_key(part: str | int) -> bool:
    """Tell keys and list positions from the names pydantic gives to a union's members."""
    return isinstance(part, int) or (part.isidentifier() and part[0].islower())


def _most_specific(errors: list[ErrorDetails]) -> ErrorDetails:
    """Of several findings (a union reports one per member), take the deepest."""
    return max(errors, key=lambda item: len(item["loc"]))


def _sentence(details: ErrorDetails, key: str, kind: type[BaseModel], location: Location) -> str:
    if details["type"] == "extra_forbidden":
        allowed = _fields_at(kind, location[:-1])
        return (
            f"unknown key {key!r}{nearest(str(location[-1]), allowed)}; "
            f"allowed here: {', '.join(allowed)}"
        )
    if details["type"] == "missing":
        return f"key {key!r} is missing"
    told = not isinstance(details["input"], dict) and not is_about_a_secret(key)
    given = f", not {details['input']!r}" if told else ""
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: {message[0].lower()}{message[1:]}{given}"


def _remedy(details: ErrorDetails) -> str:
    if details["type"] == "extra_forbidden":
        return "Remove or rename the key."
    if details["type"] == "missing":
        return "Add the key."
    return "Change the value."


def _fields_at(kind: type[BaseModel], location: Location) -> list[str]:
    """Names of the fields of the nested model at `location`."""
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


def _line(node: yaml.Node, location: Location) -> int:
    """Line (1-based) of the deepest node that exists on the way to `location`."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                return line
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested keys joined by dots: `{"a": {"b": 1}}` gives `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        flat |= flatten(item, f"{name}.") if isinstance(item, Mapping) else {name: item}
    return flat
