"""Running commands, and waiting for what they show."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.cluster.results import Failure

Found = TypeVar("Found")


@dataclass(frozen=True)
class Done:
    """A command that has ended.

    Attributes:
        command: what was run.
        code: its exit status.
        out: what it printed.
        err: what it said on stderr.
    """

    command: tuple[str, ...]
    code: int
    out: str
    err: str

    def require(self, code: int = 0) -> Done:
        """Return it where it ended as wanted.

        Raises:
            Failure: with the last lines of what it said.
        """
        if self.code != code:
            raise Failure(f"`{self.words}` ended with {self.code}, not {code}: {self.last()}")
        return self

    @property
    def words(self) -> str:
        """The command, short enough for a line."""
        text = " ".join(self.command)
        return text if len(text) < 160 else f"{text[:150]} ..."

    def last(self, characters: int = 600) -> str:
        """The end of what it said, in one line."""
        return " ".join((self.err.strip() or self.out.strip())[-characters:].split())


def run(command: Sequence[str], given: str | None = None, seconds: float = 600.0) -> Done:
    """Run a command to its end, with text on its stdin; what takes too long ends with 124."""
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        told = [
            part.decode(errors="replace") if isinstance(part, bytes) else part or ""
            for part in (error.stdout, error.stderr)
        ]
        return Done(tuple(command), 124, told[0], f"{told[1]}\nstill running after {seconds:.0f} s")
    return Done(tuple(command), done.returncode, done.stdout, done.stderr)


def wait_for(
    what: str, look: Callable[[], Found | None], seconds: float, every: float = 2.0
) -> Found:
    """Look again and again until there is something, and return it.

    Raises:
        Failure: nothing came in time.
    """
    end = time.monotonic() + seconds
    while True:
        if found := look():
            return found
        if time.monotonic() > end:
            raise Failure(f"waited {seconds:.0f} seconds for {what}")
        time.sleep(every)
