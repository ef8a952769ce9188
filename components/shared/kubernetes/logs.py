"""Follows a container's log by polling; every line is returned once.

Short calls survive what breaks a stream: a restarted API server, a rotated log, a proxy's timeout.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from lidr.components.shared.core.events import emit
from lidr.components.shared.kubernetes.pods import CONTAINER, Pod, has_ended, name_of

_FIRST_LINES = 1000
"""Most lines that are read of a log from before this launcher started."""

_OVERLAP_SECONDS = 10
"""Seconds of a log that are read again, because clocks differ and the API takes whole seconds;
timestamps tell which lines are new."""

_PREFIX = re.compile(r"^\[rank\d+\] ")
_PAIR = re.compile(r"(\w+)=(.*?)(?= \w+=|$)")
_COUNT = re.compile(r"'(\w+)': (\d{1,18})")


class Logs(Protocol):
    """Reads the logs of pods."""

    def log(self, pod: str, container: str, **options: object) -> str:
        """Return a container's log; "" if it cannot be read now."""


class LogFollower:
    """Follows the log of a pod, and then of the pod that replaces it.

    Args:
        cluster: reads the logs.
        container: name of the container whose log is followed.
        first_lines: most lines to read of what a pod printed before it was first seen; 0 for all.
    """

    def __init__(
        self, cluster: Logs, container: str = CONTAINER, first_lines: int = _FIRST_LINES
    ) -> None:
        self._cluster = cluster
        self._container = container
        self._first_lines = first_lines
        self._pod = ""
        self._seen: tuple[str, int] = ("", 0)
        """The last timestamp, and the number of lines with it."""
        self._read = 0.0

    def follow(self, pod: Pod) -> None:
        """Relay what a pod has printed since the last call."""
        for line in self.new_lines(pod):
            relay(line)

    def new_lines(self, pod: Pod) -> list[str]:
        """Return the lines that a pod has printed since the last call."""
        if self._pod != pod["metadata"]["uid"]:
            self._pod, self._seen, self._read = pod["metadata"]["uid"], ("", 0), 0.0
        now = time.monotonic()
        if self._read:
            window: dict[str, object] = {"since_seconds": int(now - self._read) + _OVERLAP_SECONDS}
        else:
            window = {"tail_lines": self._first_lines} if self._first_lines else {}
        text = self._cluster.log(name_of(pod), self._container, timestamps=True, **window)
        lines = _stamped(text, ended=has_ended(pod))
        if not lines:
            return []
        self._read = now
        last, count = self._seen
        old = sum(stamp < last for stamp, _ in lines)
        repeated = min(count, sum(stamp == last for stamp, _ in lines))
        newest = lines[-1][0]
        if newest >= last:
            self._seen = (newest, sum(stamp == newest for stamp, _ in lines))
        return [line for _, line in lines[old + repeated :]]


def _stamped(text: str, *, ended: bool) -> list[tuple[str, str]]:
    """Split a log into RFC 3339 timestamps, which sort as text, and lines.

    An incomplete last line is left for the next call, unless the pod has ended.
    """
    whole = text.split("\n")  # a line may hold other breaks, such as a progress bar's \r
    if not (ended and whole[-1]):
        whole.pop()
    parts = (each.partition(" ") for each in whole)
    return [(stamp, line) for stamp, _, line in parts]


def relay(line: str) -> None:
    """Print a line of rank 0, or emit it as this step's progress if it is progress."""
    values = progress_in(line)
    if values is None:
        print(line, file=sys.stderr, flush=True)
    else:
        emit("progress", **values)


class SharedProgress:
    """Sums the progress of nodes that share a step's work."""

    def __init__(self) -> None:
        self._latest: dict[int, dict[str, object]] = {}
        self._changed = False

    def add(self, node: int, lines: list[str]) -> None:
        """Keep a node's progress; print node 0's other lines, and other nodes' warnings."""
        for line in lines:
            values = progress_in(line)
            if values is not None:
                self._latest[node] = values
                self._changed = True
            elif node == 0 or line.startswith("lidr warning"):
                print(line if node == 0 else f"[node {node}] {line}", file=sys.stderr, flush=True)

    def report(self) -> None:
        """Emit the sum as this step's progress, if it has changed."""
        if not self._changed:
            return
        self._changed = False
        emit("progress", **_summed(list(self._latest.values())))


def _summed(events: list[dict[str, object]]) -> dict[str, object]:
    """Return the progress of all nodes as one: numbers are added; the longest time left is kept."""
    last = dict(events[-1])
    for name in ("done", "total", "rate", "amount"):
        if values := _numbers(events, name):
            last[name] = round(sum(values), 3)
    failures = Counter[str]()
    for each in events:
        if isinstance(counted := each.get("failures"), Mapping):
            failures.update(counted)
    last |= {"failures": dict(failures)} if failures else {}
    left = _numbers(events, "seconds_left")
    return {**last, **({"seconds_left": max(left)} if left else {})}


def _numbers(events: list[dict[str, object]], name: str) -> list[float]:
    return [value for each in events if isinstance(value := each.get(name), int | float)]


def progress_in(line: str) -> dict[str, object] | None:
    """Return the fields of a line that reports a step's progress; None for any other line."""
    text = _PREFIX.sub("", line)
    if not text.startswith("lidr progress "):
        return None
    values = {key: _value(value) for key, value in _PAIR.findall(text)}
    counted = all(isinstance(values.get(name), int) for name in ("done", "total"))
    return values if counted and "event" not in values else None


def _value(text: str) -> object:
    """Return a number, or counts by name, as they are written in a line; else the text."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    if text.startswith("{"):
        return {name: int(count) for name, count in _COUNT.findall(text)}
    return text
