"""Render a chat template in a separate process, with limits on its CPU time and memory.

A script that imports only jinja2, with JSON on stdin and stdout. Its Jinja environment is that of
transformers (utils/chat_template_utils.py): immutable sandbox, loop controls, `tojson`,
`raise_exception` and `strftime_now`.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_SECONDS = 2
"""For all conversations, without Python's start; templates of real models take milliseconds."""

_MEMORY_BYTES = 1 << 30
_MAX_OUTPUT_CHARS = 1 << 20
_UNSET = {
    **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), ""),
    **dict.fromkeys(("tools", "documents")),
}
"""Variables that transformers defines for templates; blank here, because a chat needs none."""


class GenerationTag(Extension):
    """`{% generation %}`, which marks assistant tokens for transformers; it has no effect here."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the statements between the tag and its end."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def environment() -> ImmutableSandboxedEnvironment:
    """Return the Jinja environment that renders chat templates."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
    )
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = _raise_exception
    made.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return made


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON as transformers' filter does, whose arguments a template may give by position."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _rendered(
    template: str, conversations: Sequence[list[dict[str, str]]], arguments: Mapping[str, object]
) -> list[dict[str, Any]]:
    try:
        compiled = environment().from_string(template)
    except MemoryError:
        return [{"fault": "needs more memory than a conversation does"}]
    except (TemplateError, SyntaxError, ValueError, RecursionError) as error:
        fault = f"is not valid: {getattr(error, 'message', None) or type(error).__name__}"
        return [{"fault": fault, "line": getattr(error, "lineno", None) or 0}]
    given = {**_UNSET, **arguments, "add_generation_prompt": True}
    found: list[dict[str, Any]] = []
    for messages in conversations:
        parts, size = [], 0
        try:
            for part in compiled.generate({**given, "messages": messages}):
                parts.append(part)
                size += len(part)
                if size > _MAX_OUTPUT_CHARS:
                    return [*found, {"fault": f"writes more than {_MAX_OUTPUT_CHARS} characters"}]
        except MemoryError:
            return [*found, {"fault": "needs more memory than a conversation does"}]
        except Exception as error:  # the template is third-party code and may raise anything
            found.append({"error": f"{type(error).__name__}: {error}"[:300]})
            continue
        found.append({"text": "".join(parts)})
    return found


def main() -> None:
    """Read `template`, `conversations` and `arguments` from stdin; write one object for each chat.

    Its key is `text`, `error` (the template raised) or `fault`, which ends the list: the template
    is not valid (with the `line`), or over a limit.
    """
    # At the soft limit the kernel sends SIGXCPU; at the hard one SIGKILL, as when memory is short.
    # The kernel counts Python's start too, which is slow where memory is short: add its CPU time.
    limit = math.ceil(time.process_time()) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    request = json.load(sys.stdin)
    json.dump(_rendered(**request), sys.stdout)


if __name__ == "__main__":
    main()
