"""Commands out of a page's console blocks."""

from __future__ import annotations

import re

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands_of(page: str, heading: str) -> list[str]:
    """Return the commands that a section prints, without their outputs and remarks.

    Args:
        page: the Markdown.
        heading: of the section, at any level.
    """
    found = []
    for block in _BLOCK.findall(_section(page, heading)):
        for line in block.splitlines():
            command = line.removeprefix("$ ").split("  #")[0].strip()
            if line.startswith("$ ") and not command.startswith("#"):
                found.append(command)
            elif found and found[-1].endswith("\\") and not line.startswith("$ "):
                found[-1] = f"{found[-1]}\n{line}"
    return found


def _section(page: str, heading: str) -> str:
    match = re.search(rf"^(#+) {re.escape(heading)}$", page, re.MULTILINE)
    if not match:
        return ""
    rest = page[match.end() :]
    end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest
