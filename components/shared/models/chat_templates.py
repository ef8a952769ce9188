"""Checks that a chat template only renders messages.

A chat template is a program that comes with a model, and engines run it in jinja2's immutable
sandbox. Here its syntax tree is checked first: what no chat needs is refused, such as known sandbox
escapes (https://jinja.palletsprojects.com/sandbox), other templates and unbounded work. Then it
renders plain conversations in a process with limits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes

from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.models import template_probe
from lidr.components.shared.models.template_probe import environment

if TYPE_CHECKING:
    from lidr.components.shared.records.schema import Message

_MAX_CHARS = 1 << 18
_MAX_RANGE = 100_000
"""Jinja2's own limit on a range; templates of known model families use no number over 1000."""

_FILTERS = {
    "attr": "looks attributes up by name (|attr)",
    "random": "is not the same each time (|random)",
    "format": "fills formats (|format)",
    "xmlattr": "writes attributes of XML (|xmlattr)",
}
_ATTRIBUTES = {
    "format": "fills formats (.format)",
    "format_map": "fills formats (.format_map)",
    "mro": "walks through Python's classes (.mro)",
}
_CALLS = {"lipsum": "writes made-up text (lipsum)"}
_CUTTING = {
    *("get", "split", "rsplit", "partition", "rpartition", "strip", "lstrip", "rstrip", "trim"),
    *("removeprefix", "removesuffix", "replace"),
}
"""Methods and filters whose first argument only says what to look for: it is not in the result."""

_START = (
    "import json, runpy, sys; path, script = sys.argv[1:]; "
    "sys.path[:] = json.loads(path); runpy.run_path(script, run_name='__main__')"
)
"""Runs a script with a given module search path."""

_TIMEOUT_SECONDS = 180.0
"""Wall-clock limit, far above the CPU limit: on a busy machine little CPU time can take long."""

_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)

_CONTENTS = ("first-question-9f2c", "first-answer-1b7d", "second-question-c04e")
_ONE: list[Message] = [{"role": "user", "content": _CONTENTS[0]}]
_THREE: list[Message] = [
    *_ONE,
    {"role": "assistant", "content": _CONTENTS[1]},
    {"role": "user", "content": _CONTENTS[2]},
]
_LONG: list[Message] = [{"role": "user", "content": "word " * 4000}]


def check_chat_template(
    template: str, file: Path, arguments: Mapping[str, object] | None = None
) -> None:
    """Refuse a chat template that does more than render messages.

    Args:
        template: its text.
        file: the file that holds it, for the message.
        arguments: the recipe's `model.template_arguments`, without which it may not render.

    Raises:
        BadInput: with the reason and, if known, the line in the template.
        LidrError: the template could not be tried.
    """
    fault, line = _fault(template, json.dumps(dict(arguments or {}), sort_keys=True))
    if fault:
        place = f" (line {line} of the template)" if line else ""
        raise BadInput(
            f"the chat template {fault}{place}",
            file=file,
            remedy=f"Correct {file.name}, so that it only writes messages, or take another model.",
        )


@lru_cache(maxsize=64)
def _fault(template: str, arguments: str) -> tuple[str, int]:
    """Return a template's fault ("" if none) and its line (0 if unknown); `arguments` are JSON."""
    if len(template) > _MAX_CHARS:
        return f"is longer than {_MAX_CHARS} characters", 0
    try:
        # Only parse: compiling would evaluate constant expressions.
        tree = environment().parse(template)
    except TemplateSyntaxError as error:
        return f"is not valid: {error.message}", error.lineno
    except (TemplateError, RecursionError, MemoryError, ValueError) as error:
        return f"is not valid: {type(error).__name__}", 0
    for node in tree.find_all(nodes.Node):
        if fault := _fault_of_node(node):
            return fault, node.lineno
    return _fault_of_rendering(template, json.loads(arguments))


def _fault_of_node(node: Any) -> str:
    if isinstance(node, nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends):
        return "reads other templates"
    if isinstance(node, nodes.Getattr):
        return _fault_of_attribute(node.attr)
    if isinstance(node, nodes.Getitem):
        return _fault_of_subscript(node.arg)
    if isinstance(node, nodes.Filter):
        return _fault_of_filter(node)
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
        return _CALLS.get(node.node.name, "")
    if isinstance(node, nodes.Pow):
        return "raises to a power"
    if isinstance(node, nodes.Mul | nodes.Mod):
        return _fault_of_repetition(node)
    if isinstance(node, nodes.Const) and isinstance(node.value, int | float):
        return f"counts above {_MAX_RANGE:,}" if abs(node.value) > _MAX_RANGE else ""
    return ""


def _fault_of_attribute(name: object) -> str:
    if isinstance(name, str) and name.startswith("_"):
        return f"looks into Python's own attributes ({name[:40]})"
    return _ATTRIBUTES.get(str(name), "")


def _fault_of_subscript(key: Any) -> str:
    """Return why a subscript is refused: a computed key could hide an attribute's name."""
    if isinstance(key, nodes.Const):
        return _fault_of_attribute(key.value)
    if isinstance(key, nodes.CondExpr):
        choices = filter(None, (key.expr1, key.expr2))
        return next(filter(None, map(_fault_of_subscript, choices)), "")
    for part in _parts_of_value(key):
        text = part.value if isinstance(part, nodes.Const) else None
        if isinstance(part, nodes.Concat) or (isinstance(text, str) and "_" in text):
            return "puts the names of attributes together"
    return ""


def _parts_of_value(node: Any) -> Iterator[Any]:
    """Yield the nodes that a value is made of; not those that only select it."""
    yield node
    for each in _sources(node):
        yield from _parts_of_value(each)


def _sources(node: Any) -> list[Any]:
    if isinstance(node, nodes.Compare | nodes.Test | nodes.Not):
        return []  # the value is a boolean
    if isinstance(node, nodes.Getitem):
        return [node.node]  # its own key is checked by itself
    if isinstance(node, nodes.CondExpr):
        return [each for each in (node.expr1, node.expr2) if each]
    called = node.node if isinstance(node, nodes.Call) else None
    method = called.attr if isinstance(called, nodes.Getattr) else ""
    name = node.name if isinstance(node, nodes.Filter) else method
    sought = next(iter(node.args), None) if name in _CUTTING else None
    return [each for each in node.iter_child_nodes() if each is not sought]


def _fault_of_filter(node: Any) -> str:
    arguments = [*node.args, *(pair.value for pair in node.kwargs)]
    texts = [each.value for each in arguments if isinstance(each, nodes.Const)]
    if node.name in ("map", "select", "reject") and texts and texts[0] in _FILTERS:
        return _FILTERS[str(texts[0])]
    if node.name in ("map", "selectattr", "rejectattr", "groupby", "sort", "join", "sum", "unique"):
        hidden = (_fault_of_attribute(part) for text in texts for part in str(text).split("."))
        return next(filter(None, hidden), "")
    return _FILTERS.get(node.name, "")


def _fault_of_repetition(node: Any) -> str:
    for side in (node.left, node.right):
        text = isinstance(side, nodes.TemplateData | nodes.List | nodes.Tuple) or (
            isinstance(side, nodes.Const) and isinstance(side.value, str)
        )
        if text:
            return "repeats text" if isinstance(node, nodes.Mul) else "fills formats (%)"
    return ""


def _fault_of_rendering(template: str, arguments: Mapping[str, object]) -> tuple[str, int]:
    """Return what is wrong with how a template renders plain conversations, and its line."""
    conversations = [_ONE, _THREE, _LONG]
    done = _try_out({"template": template, "conversations": conversations, "arguments": arguments})
    if fault := _fault_of_end(done):
        return fault, 0
    first, three, *_ = rendered = [*json.loads(done.stdout), {}]
    if faulty := next((each for each in rendered if "fault" in each), None):
        return str(faulty["fault"]), int(faulty.get("line", 0))
    if unsafe := next((e["error"] for e in rendered if "SecurityError" in e.get("error", "")), ""):
        return f"tries to leave its sandbox: {unsafe}", 0
    if "error" in first:
        return f"cannot render a question: {first['error']}", 0
    return _fault_of_text(first["text"], _ONE) or _fault_of_text(three.get("text"), _THREE), 0


def _try_out(request: Mapping[str, object]) -> subprocess.CompletedProcess[bytes]:
    """Run the probe with the module search path of this process, without the current folder.

    Raises:
        LidrError: it takes too long.
    """
    here = Path.cwd()
    path = [each for each in sys.path if Path(each).is_absolute() and Path(each) != here]
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    try:
        return subprocess.run(
            [sys.executable, "-IS", "-c", _START, json.dumps(path), str(template_probe.__file__)],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            env=kept,
        )
    except subprocess.TimeoutExpired as error:
        raise LidrError(
            f"a chat template could not be tried within {_TIMEOUT_SECONDS:.0f} s",
            remedy="Try again when this machine is less busy.",
        ) from error


def _fault_of_end(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return why the probe ended early, if the template is to blame; "" if it did not.

    Raises:
        LidrError: the machine is to blame.
    """
    code = -done.returncode
    if not code:
        return ""
    if code == signal.SIGXCPU:
        return f"does not render a conversation in {template_probe.CPU_SECONDS} s"
    if code in _CRASHES:
        return f"crashes Python ({signal.strsignal(code)})"
    if code > 0:
        raise LidrError(
            f"a chat template could not be tried: signal {code} ({signal.strsignal(code)}) ended "
            "the process",
            remedy="Try again, with more memory if this machine had none left.",
        )
    said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    raise LidrError(
        f"chat templates cannot be tried here: {said[:500]}",
        remedy=f"Repair the Python environment of {sys.executable}, which must have jinja2.",
    )


def _fault_of_text(text: str | None, messages: list[Message]) -> str:
    """Return why a rendering is refused: it omits or repeats a question; "" if it does not."""
    if text is None:  # the template raised: it takes one question at a time
        return ""
    counts = [text.count(each["content"]) for each in messages if each["role"] == "user"]
    if 0 in counts:
        return "leaves a question out, or expects content that is not a string"
    return "writes a question more than once" if max(counts) > 1 else ""
