"""Reads YAML files as nodes that know their file and line, and merges them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from lidr.components.shared.config import yaml_text
from lidr.components.shared.config.yaml_text import NotYaml
from lidr.components.shared.core.errors import BadInput

_PLACEHOLDER = re.compile(r"\$\{([^}:]*)(:-)?([^}]*)\}?")

_TEXT = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"


def read_node(path: Path) -> yaml.Node | None:
    """Read a YAML file; its nodes' marks hold the file's name and the line.

    Returns:
        The document's root node, or None if the file holds nothing but comments.

    Raises:
        BadInput: the file cannot be read, is not YAML, or has an invalid value, a duplicate key or
            a key that is not a scalar.
    """
    text = _read(path)
    try:
        node = yaml_text.compose(text.removeprefix("\ufeff"), str(path))
    except NotYaml as error:
        raise BadInput(
            f"not valid YAML: {error.problem}", file=path, line=error.line, remedy=error.remedy
        ) from error
    if node is None or node.tag == _NULL:
        return None
    _refuse_bad_keys(node)
    _refuse_bad_values(node)
    return node


def data_of(node: yaml.Node) -> Any:
    """Return a document as Python values.

    Raises:
        BadInput: a value is invalid, e.g. a date that does not exist.
    """
    try:
        return yaml_text.value_of(node)
    except NotYaml as error:
        raise BadInput(
            f"not valid YAML: {error.problem}",
            file=error.name or node.start_mark.name,
            line=error.line,
            remedy=error.remedy,
        ) from error


def merged(base: yaml.Node | None, over: yaml.Node) -> yaml.Node:
    """Return two documents merged; where they differ, `over` wins.

    Mappings are merged key by key, a null removes its key, and any other value is replaced.
    """
    if not isinstance(over, yaml.MappingNode):
        return over
    if not isinstance(base, yaml.MappingNode):  # the nulls of `over` have nothing to remove
        base = yaml.MappingNode(over.tag, [], over.start_mark, over.end_mark)
    pairs = {key.value: (key, value) for key, value in base.value}
    for key, value in over.value:
        if value.tag == _NULL:
            pairs.pop(key.value, None)
        else:
            _, before = pairs.get(key.value, (None, None))
            pairs[key.value] = (key, merged(before, value))
    return yaml.MappingNode(base.tag, list(pairs.values()), base.start_mark, base.end_mark)


def fill_placeholders(node: yaml.Node, variables: Sequence[str]) -> None:
    """Replace `${NAME}` and `${NAME:-default}` in a document's string values, in place.

    `variables` are the names of the environment variables that are allowed.

    Raises:
        BadInput: a name is not allowed, a default holds a placeholder, or a variable is not set, or
            is empty, and has no default.
    """
    for each in _walk(node):
        if each.tag == _TEXT and "${" in each.value:
            each.value = _filled(each, variables)


def mark_of(node: yaml.Node, location: Sequence[str | int]) -> yaml.Mark:
    """Return the position of the deepest node that exists on the way to `location`."""
    mark = node.start_mark
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if _is_key(pair[0], part)), None)
            if found is None:
                return mark
            mark, node = found[0].start_mark, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):  # --set has given a longer list
                return mark
            node = node.value[part]
            mark = node.start_mark
    return mark


def dotted_key(node: yaml.Node | None, location: Sequence[str | int]) -> str:
    """Return a location as one dotted key, each part as the file writes it: NO, not False."""
    names = []
    for part in location:
        name, value = str(part), None
        if isinstance(node, yaml.MappingNode):
            for key, each in node.value:
                if isinstance(key, yaml.ScalarNode) and _is_key(key, part):
                    name, value = key.value, each
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            value = node.value[part] if part < len(node.value) else None
        names.append(name)
        node = value
    return ".".join(names)


def _is_key(node: yaml.Node, part: str | int) -> bool:
    """Return whether a key is this part of a location; YAML may have read it as false or 7."""
    value = yaml_text.value_of(node)
    return part in (node.value, value, str(value))


def _filled(node: yaml.Node, variables: Sequence[str]) -> str:
    def value(found: re.Match[str]) -> str:
        name, defaulted, default = found.groups()
        if name not in variables or not found[0].endswith("}") or (default and not defaulted):
            raise _error(
                node,
                f"{found[0]} is no placeholder; allowed are {', '.join(variables)}",
                f"Write ${{{variables[0]}}} or ${{{variables[0]}:-default}}, in quotes.",
            )
        if "${" in default:
            raise _error(node, "placeholders cannot be nested", "Write a default without ${.")
        given = os.environ.get(name) or default
        if not given and not defaulted:
            raise _error(
                node,
                f"environment variable {name} is not set, or is empty",
                f"Set it, or write ${{{name}:-default}}.",
            )
        return given

    return _PLACEHOLDER.sub(value, node.value)


def _error(node: yaml.Node, message: str, remedy: str) -> BadInput:
    mark = node.start_mark
    return BadInput(message, file=mark.name, line=mark.line + 1, remedy=remedy)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInput("no such file", file=path, remedy="Check the path.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BadInput("not UTF-8", file=path, line=line, remedy="Save it as UTF-8.") from error
    except OSError as error:
        raise BadInput(
            f"cannot be read: {error.strerror}",
            file=path,
            remedy="Check that it is a file, and its permissions.",
        ) from error


def _refuse_bad_keys(document: yaml.Node) -> None:
    for node in _walk(document):
        if not isinstance(node, yaml.MappingNode):
            continue
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error(key, "a key is a list or a mapping", "Write a word before the colon.")
            if key.value in seen:
                raise _error(key, f"key {key.value!r} appears twice", "Remove one.")
            seen.add(key.value)


def _refuse_bad_values(document: yaml.Node) -> None:
    """Refuse invalid values; replace `<<` by its keys, over which a mapping's own keys win."""
    data_of(document)  # PyYAML puts the keys of `<<` before a mapping's own
    for node in _walk(document):
        if isinstance(node, yaml.MappingNode):
            node.value = list({key.value: (key, value) for key, value in node.value}.values())


def _walk(document: yaml.Node) -> Iterator[yaml.Node]:
    """Yield a document's nodes in order, except keys; an anchored node comes only once."""
    waiting, seen = [document], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in reversed(node.value)]
        elif isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
