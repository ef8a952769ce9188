"""Checks that a chat template renders messages, and does nothing else.

A chat template is a program that comes with a model, and engines run it in jinja2's immutable
sandbox. Here its syntax tree is checked first: what no chat needs is refused, such as known sandbox
escapes (https://jinja.palletsprojects.com/sandbox), other templates and unbounded work. Then it
renders plain conversations in a process with limits.
"""

from __future__ import annotations

import json
import subprocess
import sys
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
_TIMEOUT_SECONDS = 180.0
"""Wall-clock limit, far above the CPU limit: machines are busy, and templates cannot sleep."""

_CONTENTS = ("first-question-9f2c", "first-answer-1b7d", "second-question-c04e")
_ONE: list[Message] = [{"role": "user", "content": _CONTENTS[0]}]
_THREE: list[Message] = [
    *_ONE,
    {"role": "assistant", "content": _CONTENTS[1]},
    {"role": "user", "content": _CONTENTS[2]},
]
_LONG: list[Message] = [{"role": "user", "content": "word " * 4000}]


def check_chat_template(template: str, file: Path) -> None:
    """Refuse a chat template (its text, from `file`) that does more than render messages.

    Raises:
        BadInput: with the reason and, if known, the line in the template.
    """
    fault, line = _fault(template)
    if fault:
        place = f" (line {line} of the template)" if line else ""
        raise BadInput(
            f"the chat template {fault}{place}",
            file=file,
            remedy=f"Correct {file.name}, so that it only writes messages, or take another model.",
        )


@lru_cache(maxsize=64)
def _fault(template: str) -> tuple[str, int]:
    """Return what is wrong with a template, and its line (0 for none)."""
    if len(template) > _MAX_CHARS:
        return f"is longer than {_MAX_CHARS} characters", 0
    try:
        tree = environment().parse(template)  # compiling computes what is constant
    except TemplateSyntaxError as error:
        return f"is not valid: {error.message}", error.lineno
    except (TemplateError, RecursionError, MemoryError, ValueError) as error:
        return f"is not valid: {type(error).__name__}", 0
    for node in tree.find_all(nodes.Node):
        if fault := _fault_of_node(node):
            return fault, node.lineno
    return _fault_of_rendering(template)


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


def _fault_of_subscript(argument: Any) -> str:
    """Return why a subscript is refused: a computed key could hide an attribute's name."""
    if isinstance(argument, nodes.Const):
        return _fault_of_attribute(argument.value)
    parts = [argument, *argument.find_all(nodes.Node)]
    texts = [part for part in parts if isinstance(part, nodes.Const)]
    if any(isinstance(part, nodes.Concat) for part in parts) or any(
        isinstance(part.value, str) and "_" in part.value for part in texts
    ):
        return "puts the names of attributes together"
    return ""


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


def _fault_of_rendering(template: str) -> tuple[str, int]:
    """Return what is wrong with how a template renders plain conversations, and its line."""
    request = {"template": template, "conversations": [_ONE, _THREE, _LONG]}
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(template_probe.__file__)],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            env={"PYTHONHASHSEED": "0"},
        )
    except subprocess.TimeoutExpired:
        return f"does not end within {_TIMEOUT_SECONDS:.0f} s", 0
    if done.returncode < 0:
        return f"does not render a conversation in {template_probe.CPU_SECONDS} s", 0
    if done.returncode:
        raise LidrError(f"chat templates cannot be tried here: {done.stderr.decode()[-500:]}")
    first, three, *_ = rendered = [*json.loads(done.stdout), {}]
    if faulty := next((each for each in rendered if "fault" in each), None):
        return str(faulty["fault"]), int(faulty.get("line", 0))
    if unsafe := next((e["error"] for e in rendered if "SecurityError" in e.get("error", "")), ""):
        return f"tries to leave its sandbox: {unsafe}", 0
    if "error" in first:
        return f"cannot render a question: {first['error']}", 0
    return _fault_of_text(first["text"], _ONE) or _fault_of_text(three.get("text"), _THREE), 0


def _fault_of_text(text: str | None, messages: list[Message]) -> str:
    """Return why a rendering is refused: it omits or repeats a question; "" if it does not."""
    if text is None:  # the template raised: it takes one question at a time
        return ""
    counts = [text.count(each["content"]) for each in messages if each["role"] == "user"]
    if 0 in counts:
        return "leaves a question out, or wants it in another form than text"
    return "says a question more than once" if max(counts) > 1 else ""
