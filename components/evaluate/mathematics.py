"""math-verify in a process of its own: an answer such as 9^(9^9) may take any time and memory.

Run as a program it reads `[answer, target]` a line and writes whether they are equal.
"""

from __future__ import annotations

import json
import resource
import select
import subprocess
import sys

from math_verify import parse, verify

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.numbers.normalize import ascii_signs

_SECONDS = 20.0
_MEMORY = 4 << 30
_MAX_CHARS = 2000
_BOXED = "\\boxed"


class Verifier:
    """Compares answers with targets, one at a time; a comparison without end counts as unequal.

    Args:
        seconds: longest wait for one comparison, after the program has started.
    """

    def __init__(self, seconds: float = _SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self.given_up = 0
        """Comparisons that took too long or too much memory."""

    def same(self, answer: str, target: str) -> bool:
        """Tell whether an answer's result equals the target.

        Args:
            answer: a model's answer; its last box counts, else what math-verify finds at its end.
            target: the right result in LaTeX.

        Raises:
            BadInput: math-verify did not start within two minutes.
        """
        process = self._running()
        line = json.dumps([_result(answer), target]).encode() + b"\n"
        reply = self._exchange(process, line)
        if reply in (b"0", b"1"):
            return reply == b"1"
        self.given_up += 1
        self.close()
        return False

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lidr.components.evaluate.mathematics"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
            if self._exchange(self._process, b"", seconds=120) != b"ready":  # imports take seconds
                raise BadInput(
                    "math-verify has not started within two minutes",
                    remedy="Run again; the machine may be overloaded, or short of memory.",
                )
        return self._process

    def _exchange(
        self, process: subprocess.Popen[bytes], line: bytes, seconds: float = 0.0
    ) -> bytes:
        """Return the reply to a line; empty where there is none in time."""
        if process.stdin is None or process.stdout is None:
            raise AssertionError("started with pipes")
        try:
            process.stdin.write(line)
        except BrokenPipeError:
            return b""
        ready, _, _ = select.select([process.stdout], [], [], seconds or self._seconds)
        return process.stdout.readline().strip() if ready else b""


def _result(answer: str) -> str:
    """Return an answer from its last box on, else its end: at most `_MAX_CHARS`, as no result is
    longer."""
    readable = ascii_signs(answer)
    place = readable.rfind(_BOXED)
    return readable[place : place + _MAX_CHARS] if place >= 0 else readable[-_MAX_CHARS:]


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        answer, target = json.loads(line)
        equal = verify(parse(f"${target}$"), parse(answer))
        sys.stdout.write(f"{int(equal)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
