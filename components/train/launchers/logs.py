"""Following a container's log by reading it again and again, each line once.

Reading in short calls survives what breaks a stream: a restarted API server, a rotated log, a
proxy's timeout.
"""

from __future__ import annotations

import re
import sys
import time

from components.shared.progress import emit
from components.train.launchers.cluster import Cluster
from components.train.launchers.pods import CONTAINER, Pod, name_of

_FIRST_LINES = 1000
"""Lines of a log that has been written before this launcher came."""

_OVERLAP = 10
"""Seconds that are read twice: clocks and whole seconds are coarse. Timestamps tell what is new."""

_PREFIX = re.compile(r"^\[rank\d+\] ")
_PAIR = re.compile(r"(\w+)=(\S*)")


class LogFollower:
    """Follows one pod's log after another.

    Args:
        cluster: where the pods are.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pod = ""
        self._seen: tuple[str, int] = ("", 0)
        """The last timestamp, and how many lines had it."""
        self._read = 0.0

    def follow(self, pod: Pod) -> None:
        """Relay what a pod has printed since the last call."""
        if self._pod != pod["metadata"]["uid"]:
            self._pod, self._seen, self._read = pod["metadata"]["uid"], ("", 0), 0.0
        for line in self._fresh(name_of(pod)):
            relay(line)

    def _fresh(self, pod: str) -> list[str]:
        now = time.monotonic()
        if self._read:
            window: dict[str, object] = {"since_seconds": int(now - self._read) + _OVERLAP}
        else:
            window = {"tail_lines": _FIRST_LINES}
        text = self._cluster.log(pod, CONTAINER, timestamps=True, **window)
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
    text = _PREFIX.sub("", line)
    if not text.startswith("lidr progress "):
        print(line, file=sys.stderr, flush=True)
        return
    values = {key: _number(value) for key, value in _PAIR.findall(text)}
    emit("progress", **values)


def _number(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
