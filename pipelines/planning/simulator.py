"""Simulates the loop many times: interruptions, slow nodes, replacements and a shared quota.

Steps follow one another; a step that runs in the pods of the step before begins in each pod as soon
as that step ends there. The workers of generate, translate and evaluate are independent: each has
its own pieces; a lost node costs its worker the piece in progress, the wait for a new node and a
new start. The nodes of train are coupled: if one is lost, all stop, and they resume from the last
checkpoint. Nodes fail at exponentially distributed times, independently of one another.

All workers of a step, in all replications, are simulated at once: one round of numpy operations is
one life of every node that still works, so the cost grows with the interruptions, not with the
simulated time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lidr.pipelines.planning.queueing import SharedQuota, Tenants
from lidr.pipelines.planning.work import Work

Array = NDArray[np.float64]

REPLACEMENT_SECONDS = 300.0
"""Default time until a lost node is replaced."""
REPLICATIONS = 200
"""Default number of simulated runs."""

_HOPELESS = 1e5
"""If a worker is expected to need more starts than this, its step counts as never ending."""


@dataclass(frozen=True)
class Trouble:
    """What goes wrong.

    Attributes:
        node_hours: mean time until a node is lost; infinite for never.
        replacement: seconds until a lost node is replaced.
        slowness: standard deviation of the logarithm of a node's pace; 0 for equal nodes.
        tenants: who else uses the quota.
    """

    node_hours: float = math.inf
    replacement: float = REPLACEMENT_SECONDS
    slowness: float = 0.0
    tenants: Tenants = field(default_factory=Tenants)


@dataclass(frozen=True)
class SimulatedOutcome:
    """The results of a simulation; arrays have one element per replication.

    Attributes:
        seconds: from the first request to the end, waiting included; infinite if a step loses its
            nodes faster than it can finish its work.
        gpu_hours: GPU hours held, by stage.
        lost: how many nodes were lost; none are counted in a step that never ends.
        waited: mean seconds until a worker's GPUs were admitted, summed over the steps that were
            reached.
        cost: of the GPUs held.
    """

    seconds: Array
    gpu_hours: dict[str, Array]
    lost: Array
    waited: Array
    cost: Array


@dataclass
class _Spans:
    """One step: seconds that each worker takes, seconds that it holds a node, and nodes it loses.

    Arrays are (replications, workers); for coupled workers (replications, 1), with the seconds of
    all nodes added up in `held`.
    """

    needed: Array
    held: Array
    lost: Array


def simulate(
    works: Sequence[Work],
    quota: int,
    trouble: Trouble,
    *,
    replications: int = REPLICATIONS,
    seed: int = 0,
) -> SimulatedOutcome:
    """Simulate the steps one after another, `replications` times.

    Args:
        works: the steps in their order.
        quota: GPUs that may be held at once, by the run and the tenants together.
        trouble: what goes wrong.
        replications: how often.
        seed: of all random numbers.
    """
    rng = np.random.default_rng(seed)
    hours = {work.stage: np.zeros(replications) for work in works}
    lost, cost, waited, clock = (np.zeros(replications) for _ in range(4))
    shared = trouble.tenants.load > 0
    quotas = [
        SharedQuota(quota, trouble.tenants, rng) for _ in range(replications if shared else 0)
    ]
    for first, *within in _by_pods(works):
        needed = np.zeros((replications, 1))
        for work in (first, *within):
            spans = _spans(work, trouble, rng, replications)
            held = spans.held.sum(axis=1) * work.gpus / 3600
            hours[work.stage] += held
            cost += held * work.price if work.price else 0.0  # infinite hours times 0 are NaN
            lost += spans.lost.sum(axis=1)
            needed = needed + spans.needed
        ends = needed.max(axis=1)
        if shared and first.gpus:
            starts, ends = _queued(first, needed, clock, quotas)
            waited += starts
        clock = clock + ends
    return SimulatedOutcome(clock, hours, lost, waited, cost)


def _by_pods(works: Sequence[Work]) -> list[list[Work]]:
    """Group each step with the following ones that go on in its pods, on the same GPUs."""
    groups: list[list[Work]] = []
    for work in works:
        if work.within and work.gpus and groups:
            groups[-1].append(work)
        else:
            groups.append([work])
    return groups


def _queued(
    work: Work, needed: Array, clock: Array, quotas: Sequence[SharedQuota]
) -> tuple[Array, Array]:
    """Request each worker's GPUs; return mean waits and ends in seconds, each (replications,).

    Args:
        work: the step whose workers request GPUs.
        needed: seconds for which each worker holds its GPUs, (replications, workers).
        clock: time of the request in seconds, (replications,).
        quotas: one for each replication.
    """
    size = work.gpus * (work.workers if work.coupled else 1)
    waits, ends = np.zeros_like(clock), np.zeros_like(clock)
    for row, quota in enumerate(quotas):
        now = quota.warm_up + float(clock[row])
        if not math.isfinite(now):
            ends[row] = math.inf
            continue
        spans = needed[row].tolist()
        starts = [quota.hold(now, size, span) - now for span in spans]
        waits[row] = sum(starts) / len(starts)
        ends[row] = max(start + span for start, span in zip(starts, spans, strict=True))
    return waits, ends


def _spans(work: Work, trouble: Trouble, rng: np.random.Generator, count: int) -> _Spans:
    if not work.gpus:
        needed = np.full((count, 1), work.seconds)
        return _Spans(needed, needed, np.zeros((count, 1)))
    spans_of = _coupled if work.coupled else _pool
    return spans_of(work, trouble, rng, count)


def _pool(work: Work, trouble: Trouble, rng: np.random.Generator, count: int) -> _Spans:
    """Simulate workers that are independent of one another."""
    left = np.tile(_shares(work), count)
    mean = trouble.node_hours * 3600
    needed, held, lost = (np.zeros(left.size) for _ in range(3))
    active = np.arange(left.size)
    if _is_hopeless(work, float(_shares(work).max()), mean):
        needed[:] = held[:] = math.inf
        active = active[:0]
    while active.size:
        pace = work.piece_seconds * _slow(trouble, rng, active.size)
        whole = work.startup + left[active] * pace
        life = _lives(rng, mean, active.size)
        through = life >= whole
        spent = np.where(through, whole, life)
        held[active] += spent
        needed[active] += spent + np.where(through, 0.0, trouble.replacement)
        lost[active] += ~through
        left[active] -= _finished(life, work.startup, pace, left[active])
        active = active[~through]
    shape = (count, work.workers)
    return _Spans(needed.reshape(shape), held.reshape(shape), lost.reshape(shape))


def _shares(work: Work) -> Array:
    """Return the pieces of each worker, (workers,), as even as they can be."""
    share, rest = divmod(work.pieces, work.workers)
    return share + (np.arange(work.workers) < rest).astype(np.float64)


def _coupled(work: Work, trouble: Trouble, rng: np.random.Generator, count: int) -> _Spans:
    """Simulate nodes that work at the slowest one's pace and stop together when one is lost."""
    mean = trouble.node_hours * 3600 / work.workers
    left = np.full(count, float(work.pieces))
    slow = _slow(trouble, rng, count * work.workers).reshape(count, work.workers)
    needed, held, lost = (np.zeros(count) for _ in range(3))
    active = np.arange(count)
    if _is_hopeless(work, work.pieces, mean):
        needed[:] = held[:] = math.inf
        active = active[:0]
    while active.size:
        pace = work.piece_seconds * slow[active].max(axis=1)
        whole = work.startup + left[active] * pace
        life = _lives(rng, mean, active.size)
        through = life >= whole
        spent = np.where(through, whole, life)
        delay = np.where(through, 0.0, trouble.replacement)
        needed[active] += spent + delay
        held[active] += work.workers * spent + (work.workers - 1) * delay
        lost[active] += ~through
        left[active] -= _finished(life, work.startup, pace, left[active])
        active = active[~through]
        which = rng.integers(work.workers, size=active.size)
        slow[active, which] = _slow(trouble, rng, active.size)
    return _Spans(needed[:, None], held[:, None], lost[:, None])


def _finished(life: Array, startup: float, pace: Array, left: Array) -> Array:
    """Return how many pieces a node has finished when it is lost."""
    useful = np.maximum(life - startup, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.floor(useful / pace)
    finished: Array = np.minimum(np.where(pace > 0, whole, left), left)
    return finished


def _lives(rng: np.random.Generator, mean: float, size: int) -> Array:
    return rng.exponential(mean, size) if math.isfinite(mean) else np.full(size, math.inf)


def _slow(trouble: Trouble, rng: np.random.Generator, size: int) -> Array:
    """Return each node's factor on its seconds per piece; 1 on average."""
    sigma = trouble.slowness
    return rng.lognormal(-(sigma**2) / 2, sigma, size) if sigma else np.ones(size)


def _is_hopeless(work: Work, pieces: float, mean: float) -> bool:
    """Return whether nodes are lost faster than a worker can finish its pieces.

    After a start, the start-up and the first piece must be undisturbed. Each later piece that is
    interrupted needs such a start again.
    """
    interrupted = (pieces - 1) * -math.expm1(-work.piece_seconds / mean) if pieces > 1 else 0.0
    starts = math.log1p(interrupted) + (work.startup + work.piece_seconds) / mean
    return starts > math.log(_HOPELESS)
