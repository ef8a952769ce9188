"""A log for what libraries print, so that a command's own words stand alone in the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

_DESCRIPTORS = (1, 2)
"""stdout and stderr, also of the programs that a library starts."""


def log_path(name: str) -> Path:
    """Return where a command's log is, in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "lidr" / f"{name}.log"


@contextmanager
def logging_libraries(path: Path) -> Iterator[TextIO]:
    """Append everything that is printed inside to a log.

    Args:
        path: of the log; its folder is made.

    Yields:
        The terminal's stderr, for what the user is to see.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        log = stack.enter_context(path.open("ab"))
        terminal = stack.enter_context(os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8"))
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor in _DESCRIPTORS:
            kept = os.dup(descriptor)
            stack.callback(_restore, kept, descriptor)
            os.dup2(log.fileno(), descriptor)
        yield terminal


def _restore(kept: int, descriptor: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(kept, descriptor)
    os.close(kept)
