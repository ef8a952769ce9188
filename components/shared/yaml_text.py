"""YAML as plain values with the lines they stand in: any text gives those or one clear error."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import SafeConstructor

_DEEPEST = 32
_MOST = 100_000


class NotYaml(ValueError):
    """A text is no YAML that we take.

    Args:
        problem: what is wrong with it.
        line: where, from 1; 0 where that is not known.
        remedy: what to do about it.
    """

    def __init__(self, problem: str, line: int = 0, remedy: str = "Mend the syntax.") -> None:
        self.problem = problem
        self.line = line
        self.remedy = remedy
        super().__init__(problem)


def parse(text: str) -> tuple[yaml.Node | None, Any]:
    """Return a YAML document's node, which knows the lines, and its value.

    Args:
        text: untrusted; aliases may make a small one stand for a value without end.

    Raises:
        NotYaml: it is no single document, or nested or repeated beyond all measure.
    """
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
        if node is None:
            return None, None
        require_bounded(node)
        return node, value_of(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise NotYaml(str(error.problem), line) from error
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        raise NotYaml(str(error.reason), line, "Remove the character.") from error
    except UnicodeEncodeError as error:
        line = text[: error.start].count("\n") + 1
        raise NotYaml("not Unicode text", line, "Remove the character.") from error


def value_of(node: yaml.Node) -> Any:
    """Return a document's value; a tag that its text does not fit (`!!int x`) fails in many ways.

    Raises:
        NotYaml: it has none.
        yaml.MarkedYAMLError: likewise, with its line.
    """
    try:
        return SafeConstructor().construct_document(node)
    except yaml.YAMLError:
        raise
    except ValueError as error:  # a date that does not exist, a number without end
        raise NotYaml(str(error), remedy="Quote the value.") from error
    except (LookupError, AttributeError, TypeError, OverflowError) as error:
        raise NotYaml("a value does not fit its tag", remedy="Remove the tag.") from error


def require_bounded(root: yaml.Node) -> None:
    """Refuse what is too deep, too large with its aliases written out, or within itself.

    Raises:
        NotYaml: with the line.
    """
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    pending = [(root, False)]
    while pending:
        node, seen = pending.pop()
        key = id(node)
        if seen:
            open_nodes.discard(key)
            sizes[key] = 1 + sum(sizes[id(child)] for child in _children(node))
            if sizes[key] > _MOST:
                raise NotYaml("too large with its aliases written out", _line(node))
        elif key in open_nodes:
            raise NotYaml("a value that holds itself", _line(node), "Remove the alias.")
        elif key not in sizes:
            open_nodes.add(key)
            if len(open_nodes) > _DEEPEST:
                raise NotYaml("nested too deeply", _line(node))
            pending.append((node, True))
            pending += [(child, False) for child in _children(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
