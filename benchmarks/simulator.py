"""The simulator of the loop against what can be solved on paper, and how fast it is.

Closed forms: no trouble at all; pieces of work, or coupled workers with checkpoints, under
exponential interruptions (Daly, FGCS 22, 2006, with the start-up paid at every start); the last of
many nodes of log-normal pace; the mean wait in a quota with as many tenants as servers (Erlang C).

The last line is JSON. `seconds` is what 10,000 nodes over 30 days took, losing a node every
3 hours each; `closed_form_error` is the largest relative error of a mean.

Usage: python -m benchmarks.simulator [--quick]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from lidr.pipelines.planning.queueing import Quota
from lidr.pipelines.planning.simulator import Trouble, simulate
from lidr.pipelines.planning.work import Work

_DAY = 86_400.0


def interrupted(work: Work, trouble: Trouble) -> float:
    """Return the expected seconds of one worker, or of coupled ones, that lose nodes.

    A piece that starts with its node needs start-up and piece without an interruption; one that
    follows another needs the piece alone, and falls back to the first case when interrupted.

    Args:
        work: of coupled workers, or of a single one.
        trouble: with nodes that are all equally fast.
    """
    nodes = work.workers if work.coupled else 1
    rate = nodes / (trouble.node_hours * 3600)
    first = math.expm1(rate * (work.startup + work.piece_seconds))
    fresh = first * (1 / rate + trouble.replacement)
    failing = -math.expm1(-rate * work.piece_seconds)
    following = failing * (1 / rate + trouble.replacement + fresh)
    return fresh + (work.pieces - 1) * following


def slowest(workers: int, sigma: float) -> float:
    """Return the expected pace of the slowest of many log-normal nodes of mean pace 1."""
    normal = NormalDist()
    edges = np.linspace(-8, 8, 20_001)
    below = np.array([normal.cdf(z) for z in edges]) ** workers
    pace = np.exp(sigma * edges - sigma**2 / 2)
    return float(np.sum(np.diff(below) * (pace[1:] + pace[:-1]) / 2))


def erlang_wait(servers: int, load: float, seconds: float) -> float:
    """Return the mean wait of an M/M/c queue.

    Args:
        servers: how many.
        load: share of them that is busy on average.
        seconds: mean time that one customer is served.
    """
    offered = servers * load
    term = total = 1.0
    for k in range(1, servers):
        term *= offered / k
        total += term
    last = term * offered / servers / (1 - load)
    return last / (total + last) * seconds / (servers * (1 - load))


def simulated_wait(servers: int, load: float, seconds: float, customers: int, seed: int) -> float:
    """Return the mean wait of as many customers in our quota; their load is exactly the one named.

    Without that the mean of a million customers would still be off by more than a hundredth.
    """
    rng = np.random.default_rng(seed)
    gaps, lengths = (rng.exponential(1.0, customers) for _ in range(2))
    arrivals = np.cumsum(gaps / gaps.mean()) * seconds / (servers * load)
    lengths *= seconds / lengths.mean()
    quota = Quota(servers)
    waits = [
        quota.hold(at, 1, length) - at
        for at, length in zip(arrivals.tolist(), lengths.tolist(), strict=True)
    ]
    return float(np.mean(waits))


def closed_form_errors(replications: int, customers: int) -> dict[str, float]:
    """Return the relative error of a mean against each closed form.

    Args:
        replications: of the loop.
        customers: of the queue.
    """
    spot = Trouble(node_hours=3.0, replacement=240.0)
    piece = Work("generate", 1, 1, startup=180.0, pieces=40, piece_seconds=900.0)
    single = Work("evaluate", 1, 1, startup=300.0, pieces=1, piece_seconds=7200.0)
    coupled = Work("train", 16, 8, startup=120.0, pieces=50, piece_seconds=300.0, coupled=True)
    even = Work("translate", 64, 1, startup=60.0, pieces=640, piece_seconds=100.0)
    slow = Trouble(slowness=0.2)

    def mean(work: Work, trouble: Trouble) -> float:
        found = simulate([work], 10**6, trouble, replications=replications, seed=1)
        return float(found.seconds.mean())

    pace = even.startup + 10 * even.piece_seconds * slowest(even.workers, slow.slowness)
    cases: dict[str, tuple[Callable[[], float], float]] = {
        "undisturbed": (lambda: mean(even, Trouble()), 60.0 + 10 * 100.0),
        "pieces, interrupted": (lambda: mean(piece, spot), interrupted(piece, spot)),
        "one piece, interrupted": (lambda: mean(single, spot), interrupted(single, spot)),
        "coupled workers with checkpoints": (
            lambda: mean(coupled, spot),
            interrupted(coupled, spot),
        ),
        "slowest of 64": (lambda: mean(even, slow), pace),
        "Erlang C, 2 servers": (
            lambda: simulated_wait(2, 0.5, 60.0, customers, seed=2),
            erlang_wait(2, 0.5, 60.0),
        ),
    }
    return {name: abs(found() / exact - 1) for name, (found, exact) in cases.items()}


def large_case(nodes: int = 10_000, days: float = 30.0) -> tuple[float, int]:
    """Play many nodes over a long time; return the seconds it took and the nodes that were lost."""
    piece = 1800.0
    pieces = round(nodes * days * _DAY / piece)
    work = Work("generate", nodes, 8, startup=180.0, pieces=pieces, piece_seconds=piece)
    trouble = Trouble(node_hours=3.0, slowness=0.05)
    began = time.perf_counter()
    found = simulate([work], nodes * 8, trouble, replications=1)
    return time.perf_counter() - began, int(found.lost.sum())


def main() -> None:
    """Compare, time, and print."""
    parser = argparse.ArgumentParser(description="The simulator against closed forms.")
    parser.add_argument("--quick", action="store_true", help="fewer replications")
    options = parser.parse_args()
    replications, customers = (20_000, 400_000) if options.quick else (100_000, 4_000_000)
    errors = closed_form_errors(replications, customers)
    for name, error in errors.items():
        print(f"{name}: off by {error:.2%}")
    seconds, lost = large_case()
    print(f"10,000 nodes over 30 days: {lost:,} nodes lost, {seconds:.2f} s")
    print(
        json.dumps(
            {"seconds": round(seconds, 3), "closed_form_error": round(max(errors.values()), 5)}
        )
    )


if __name__ == "__main__":
    main()
