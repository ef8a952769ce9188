"""One input through one parser: it is accepted as it should be, refused in words, or a finding."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random
from types import FrameType
from typing import Any

from lidr.components.shared.core.errors import LidrError

SECONDS = 1.0
"""Processor time that an input may take."""

_LONGEST_MESSAGE = 5000


@dataclass(frozen=True)
class Target:
    """A parser of outside data.

    Attributes:
        name: of it.
        make: draws an input.
        check: parses it. What is accepted is held against a second opinion: a schema, the same
            value written and read again, another way to the same result.
        inputs: how many the long run draws.
    """

    name: str
    make: Callable[[Random], Any]
    check: Callable[[Any], object]
    inputs: int


class Hang(BaseException):
    """An input takes longer than it may; no parser can mistake this for an error of its own."""


def warm_up(target: Target) -> None:
    """Let a parser import what it needs, which is no input's time."""
    with suppress(Exception):
        target.check(target.make(Random(0)))


def is_accepted(target: Target, value: Any) -> bool:
    """Tell whether a parser takes an input.

    Raises:
        AssertionError: it took what it must not take, or its error says too much.
        Hang: it takes too long.
        Exception: whatever else came out of it, which is a finding too.
    """
    try:
        with _limited():
            target.check(value)
    except LidrError as error:
        assert error.message.strip(), "an error without words"
        assert len(str(error)) < _LONGEST_MESSAGE, "an error that repeats its input"
        return False
    return True


@contextmanager
def _limited() -> Iterator[None]:
    before = signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Hang(f"more than {SECONDS} s of processor time")
