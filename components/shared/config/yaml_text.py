"""Parses YAML into values or nodes with line numbers; bad text gives one clear error."""

from __future__ import annotations

import io
from typing import Any

import yaml
from yaml.constructor import SafeConstructor


class NotYaml(ValueError):
    """A text is not YAML, or not of a kind that we accept.

    Args:
        problem: what is wrong.
        mark: its position; None if that is not known.
        line: its line, from 1, if there is no mark.
        remedy: what to do about it.
    """

    def __init__(
        self,
        problem: str,
        mark: yaml.Mark | None = None,
        line: int = 0,
        remedy: str = "Fix the syntax.",
    ) -> None:
        self.problem = problem
        self.name = str(mark.name) if mark else ""
        self.line = mark.line + 1 if mark else line
        self.remedy = remedy
        super().__init__(problem)


def parse(text: str) -> Any:
    """Return the value of a YAML document.

    Raises:
        NotYaml: it is not one.
    """
    node = compose(text)
    return None if node is None else value_of(node)


def compose(text: str, name: str = "") -> yaml.Node | None:
    """Return a YAML document's root node; None for an empty text.

    The marks of nodes hold their lines, and `name` as the name of the file.

    Raises:
        NotYaml: it is not a single document, or a value contains itself.
    """
    try:
        data = text.encode()
        node: yaml.Node | None = yaml.compose(_Named(data, name), Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error, error.problem_mark) from error
    except yaml.reader.ReaderError as error:
        line = data[: error.position].count(b"\n") + 1
        raise NotYaml(str(error.reason), line=line, remedy="Remove the character.") from error
    except UnicodeEncodeError as error:
        line = text[: error.start].count("\n") + 1
        raise NotYaml("not Unicode text", line=line, remedy="Remove the character.") from error
    if node is not None:
        _refuse_circles(node)
    return node


def _not_yaml(error: yaml.MarkedYAMLError, mark: yaml.Mark | None) -> NotYaml:
    if error.problem == "but found another document":
        return NotYaml("it holds several documents", mark, remedy="Keep one.")
    return NotYaml(" ".join(filter(None, (error.context, error.problem))), mark)


class _Named(io.BytesIO):
    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def value_of(node: yaml.Node) -> Any:
    """Return the value of a document's node.

    Raises:
        NotYaml: a value is invalid, e.g. a date that does not exist.
    """
    try:
        return SafeConstructor().construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error, error.problem_mark or node.start_mark) from error
    except ValueError as error:  # a date that does not exist, an integer of over 4,300 digits
        raise NotYaml(str(error), remedy="Quote the value, or remove its tag.") from error
    except RecursionError as error:
        raise NotYaml("nested too deeply", node.start_mark) from error
    except (LookupError, AttributeError, TypeError, OverflowError) as error:  # `!!bool x`
        raise NotYaml("a value does not fit its tag", remedy="Remove the tag.") from error


def _refuse_circles(root: yaml.Node) -> None:
    """Refuse a value that contains itself: walking over it would never end."""
    open_nodes: set[int] = set()
    done: set[int] = set()
    pending = [(root, False)]
    while pending:
        node, seen = pending.pop()
        if seen:
            open_nodes.discard(id(node))
            done.add(id(node))
        elif id(node) in open_nodes:
            raise NotYaml("a value that holds itself", node.start_mark, remedy="Remove the alias.")
        elif id(node) not in done:
            open_nodes.add(id(node))
            pending.append((node, True))
            pending += [(child, False) for child in _children(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
