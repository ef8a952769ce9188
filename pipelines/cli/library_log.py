"""A log for what libraries print, so that only a command's own lines reach the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

_DESCRIPTORS = (1, 2)
"""stdout and stderr, which the programs that a library starts inherit."""


def log_path(name: str) -> Path:
    """Return the path of a command's log, in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "lidr" / f"{name}.log"


@contextmanager
def logging_libraries(path: Path) -> Iterator[TextIO]:
    """Append to a log everything that is printed in the `with` block.

    Args:
        path: of the log; its folder is made.

    Yields:
        The terminal's stderr, for messages to the user.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        log = stack.enter_context(path.open("ab"))
        terminal = stack.enter_context(os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8"))
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor in _DESCRIPTORS:
            saved = os.dup(descriptor)
            stack.callback(_restore, saved, descriptor)
            os.dup2(log.fileno(), descriptor)
        yield terminal


def _restore(saved: int, descriptor: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(saved, descriptor)
    os.close(saved)
