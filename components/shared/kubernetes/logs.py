"""Following a container's log by reading it again and again, each line once.

Reading in short calls survives what breaks a stream: a restarted API server, a rotated log, a
proxy's timeout.
"""

from __future__ import annotations

import re
import sys
import time
from typing import Protocol

from lidr.components.shared.core.events import emit
from lidr.components.shared.kubernetes.pods import CONTAINER, Pod, name_of

_FIRST_LINES = 1000
"""Lines of a log that has been written before this launcher came."""

_OVERLAP = 10
"""Seconds that are read twice: clocks and whole seconds are coarse. Timestamps tell what is new."""

_PREFIX = re.compile(r"^\[rank\d+\] ")
_PAIR = re.compile(r"(\w+)=(\S*)")


class Logs(Protocol):
    """Where logs are read."""

    def log(self, pod: str, container: str, **options: object) -> str:
        """Return a container's log; "" where it cannot be read now."""


class LogFollower:
    """Follows one pod's log after another.

    Args:
        cluster: where the pods are.
        container: of each pod.
        first_lines: how many of what a pod has printed before are read; 0 is all.
    """

    def __init__(
        self, cluster: Logs, container: str = CONTAINER, first_lines: int = _FIRST_LINES
    ) -> None:
        self._cluster = cluster
        self._container = container
        self._first_lines = first_lines
        self._pod = ""
        self._seen: tuple[str, int] = ("", 0)
        """The last timestamp, and how many lines had it."""
        self._read = 0.0

    def follow(self, pod: Pod) -> None:
        """Relay what a pod has printed since the last call."""
        for line in self.fresh(pod):
            relay(line)

    def fresh(self, pod: Pod) -> list[str]:
        """Return the lines that a pod has printed since the last call."""
        if self._pod != pod["metadata"]["uid"]:
            self._pod, self._seen, self._read = pod["metadata"]["uid"], ("", 0), 0.0
        return self._fresh(name_of(pod))

    def _fresh(self, pod: str) -> list[str]:
        now = time.monotonic()
        if self._read:
            window: dict[str, object] = {"since_seconds": int(now - self._read) + _OVERLAP}
        else:
            window = {"tail_lines": self._first_lines} if self._first_lines else {}
        text = self._cluster.log(pod, self._container, timestamps=True, **window)
        lines = _stamped(text)
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


def _stamped(text: str) -> list[tuple[str, str]]:
    """Split a log into RFC 3339 timestamps, which sort as text, and lines.

    A torn last line waits for the next reading.
    """
    whole = text[: text.rfind("\n") + 1]
    return [
        (stamp, line) for stamp, _, line in (each.partition(" ") for each in whole.splitlines())
    ]


def relay(line: str) -> None:
    """Print a line of rank 0; its progress becomes this step's own."""
    values = progress_in(line)
    if values is None:
        print(line, file=sys.stderr, flush=True)
    else:
        emit("progress", **values)


class SharedProgress:
    """Adds up the progress of nodes that share a step's work."""

    def __init__(self) -> None:
        self._latest: dict[int, dict[str, object]] = {}
        self._changed = False

    def take(self, node: int, lines: list[str]) -> None:
        """Keep a node's progress; print node 0's other lines, and what all others warn of."""
        for line in lines:
            values = progress_in(line)
            if values is not None:
                self._latest[node] = values
                self._changed = True
            elif node == 0 or line.startswith("lidr warning"):
                print(line if node == 0 else f"[node {node}] {line}", file=sys.stderr, flush=True)

    def report(self) -> None:
        """Report the sum, where it has changed."""
        if not self._changed:
            return
        self._changed = False
        emit("progress", **_summed(list(self._latest.values())))


def _summed(events: list[dict[str, object]]) -> dict[str, object]:
    """Return the progress of all nodes as one: what is counted is added, the slowest one's end."""
    last = dict(events[-1])
    for name in ("done", "total", "rate", "amount"):
        if values := _numbers(events, name):
            last[name] = sum(values)
    left = _numbers(events, "seconds_left")
    return {**last, **({"seconds_left": max(left)} if left else {})}


def _numbers(events: list[dict[str, object]], name: str) -> list[float]:
    return [value for each in events if isinstance(value := each.get(name), int | float)]


def progress_in(line: str) -> dict[str, object] | None:
    """Return what a line says of a step's progress; None where it says something else."""
    text = _PREFIX.sub("", line)
    if not text.startswith("lidr progress "):
        return None
    values = {key: _number(value) for key, value in _PAIR.findall(text)}
    counted = all(isinstance(values.get(name), int) for name in ("done", "total"))
    return values if counted and "event" not in values else None


def _number(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
