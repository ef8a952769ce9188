"""math-verify in a process of its own: an answer such as 9^(9^9) may take any time and memory.

Run as a program, it reads `[answer, target]` as JSON from each line, and writes 1 (equal), 0 (not
equal) or `late` (it ran out of time).
"""

from __future__ import annotations

import json
import resource
import selectors
import subprocess
import sys
import tempfile
import time
from typing import IO

from math_verify import parse, verify

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.numbers.normalize import ascii_signs

_SECONDS = 20.0
_PROGRAM = ("-m", "lidr.components.evaluate.mathematics")
_START_SECONDS = 120.0
"""Longest wait for the program to start; its imports take seconds."""
_MEMORY = 4 << 30
_MAX_CHARS = 2000
_OWN_SECONDS = 5.0
"""Time after which math-verify itself gives up parsing or comparing, as if it found nothing."""
_LATE = b"late"
_BOXED = "\\boxed"


class Verifier:
    """Compares answers with targets, one at a time; a pair without a result counts as unequal.

    Args:
        seconds: longest wait for one comparison, after the program has started.
    """

    def __init__(self, seconds: float = _SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self.given_up = 0
        """Comparisons that had no result: they took too long or too much memory, or failed."""

    def same(self, answer: str, target: str) -> bool:
        """Tell whether an answer's result equals the target.

        Args:
            answer: a model's answer; its last box counts, else what math-verify finds at the end.
            target: the right result in LaTeX.

        Raises:
            BadInput: math-verify did not start.
        """
        process = self._running()
        line = json.dumps([_result(answer), target]).encode() + b"\n"
        reply = self._exchange(process, line)
        if reply in (b"0", b"1"):
            return reply == b"1"
        self.given_up += 1
        if reply != _LATE:
            self.close()
        return False

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._errors:
            self._errors.close()
            self._errors = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115
            self._process = subprocess.Popen(
                [sys.executable, *_PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
            )
            if self._exchange(self._process, b"", seconds=_START_SECONDS) != b"ready":
                raise self._not_started(self._process, self._errors)
        return self._process

    def _not_started(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> BadInput:
        """End a process that does not answer; return why, with the last line that it wrote."""
        try:
            code = process.wait(1)
        except subprocess.TimeoutExpired:
            code = None
        errors.seek(0)
        last = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        self.close()
        how = "within two minutes" if code is None else f"(exit status {code}) {last}"
        return BadInput(
            f"math-verify did not start {how}".rstrip(),
            remedy="Run again; the machine may be overloaded, or short of memory.",
        )

    def _exchange(
        self, process: subprocess.Popen[bytes], line: bytes, seconds: float = 0.0
    ) -> bytes:
        """Return the reply to a line; empty if none comes in time."""
        if process.stdin is None or process.stdout is None:
            raise AssertionError("started with pipes")
        try:
            process.stdin.write(line)
        except BrokenPipeError:
            return b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            ready = selector.select(seconds or self._seconds)
        return process.stdout.readline().strip() if ready else b""


def _result(answer: str) -> str:
    """Return at most `_MAX_CHARS` of an answer, from its last \\boxed on, or else its end."""
    readable = ascii_signs(answer)
    place = readable.rfind(_BOXED)
    return readable[place : place + _MAX_CHARS] if place >= 0 else readable[-_MAX_CHARS:]


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        answer, target = json.loads(line)
        began = time.monotonic()
        equal = verify(parse(f"${target}$"), parse(answer))
        late = not equal and time.monotonic() - began >= _OWN_SECONDS
        sys.stdout.write(f"{_LATE.decode() if late else int(equal)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
