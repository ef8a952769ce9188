"""The simulator against what can be solved on paper."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.simulator import closed_form_errors, interrupted, large_case
from lidr.pipelines.planning.queueing import Quota, Tenants
from lidr.pipelines.planning.simulator import Trouble, simulate
from lidr.pipelines.planning.work import Work

POOL = Work("generate", workers=3, gpus=2, startup=60.0, pieces=7, piece_seconds=600.0, price=2.0)
COUPLED = Work(
    "train", workers=4, gpus=8, startup=90.0, pieces=5, piece_seconds=300.0, coupled=True
)
CONTROL = Work("gate", startup=30.0)


def seconds(work: Work, trouble: Trouble, replications: int = 4000) -> float:
    found = simulate([work], 1000, trouble, replications=replications, seed=3)
    return float(found.seconds.mean())


def test_means_agree_with_the_closed_forms():
    errors = closed_form_errors(replications=20_000, customers=100_000)
    queue = errors.pop("Erlang C, 2 servers")  # the benchmark draws 40 times as many customers
    assert max(errors.values()) < 0.01
    assert queue < 0.05


def test_without_trouble_a_run_is_the_sum_of_its_steps():
    found = simulate([POOL, CONTROL, COUPLED], 1000, Trouble(), replications=2)
    assert found.seconds == pytest.approx(60 + 3 * 600 + 30 + 90 + 5 * 300)
    assert found.gpu_hours["generate"] == pytest.approx(2 * (3 * 60 + 7 * 600) / 3600)
    assert found.gpu_hours["train"] == pytest.approx(32 * (90 + 5 * 300) / 3600)
    assert found.gpu_hours["gate"] == pytest.approx(0)
    assert found.cost == pytest.approx(POOL.gpu_hours * 2.0)
    assert found.seconds[0] == pytest.approx(sum(w.seconds for w in (POOL, CONTROL, COUPLED)))
    assert not found.lost.any() and not found.waited.any()


def test_a_seed_fixes_everything_and_another_changes_it():
    trouble = Trouble(2.0, slowness=0.1, tenants=Tenants(0.5))
    first, again = (
        simulate([POOL, COUPLED], 64, trouble, replications=20, seed=7).seconds for _ in range(2)
    )
    other = simulate([POOL, COUPLED], 64, trouble, replications=20, seed=8).seconds
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_finer_pieces_and_fewer_losses_make_runs_shorter():
    coarse = Work("generate", gpus=1, startup=60.0, pieces=2, piece_seconds=3600.0)
    fine = Work("generate", gpus=1, startup=60.0, pieces=24, piece_seconds=300.0)
    assert seconds(fine, Trouble(3.0)) < seconds(coarse, Trouble(3.0))
    assert seconds(coarse, Trouble(30.0)) < seconds(coarse, Trouble(3.0))


def test_coupled_nodes_are_held_while_one_is_replaced():
    trouble = Trouble(node_hours=1.0, replacement=1200.0)
    found = simulate([COUPLED], 32, trouble, replications=4000, seed=1)
    idle = found.lost.mean() * trouble.replacement
    held = found.gpu_hours["train"].mean() * 3600 / COUPLED.gpus
    assert held == pytest.approx(4 * (found.seconds.mean() - idle) + 3 * idle)
    assert found.seconds.mean() == pytest.approx(interrupted(COUPLED, trouble), rel=0.03)


def test_a_step_that_never_gets_anywhere_is_said_to_have_no_end():
    whole = Work(
        "train", workers=1024, gpus=8, startup=120.0, pieces=9, piece_seconds=900, coupled=True
    )
    found = simulate([whole, CONTROL], 8192, Trouble(3.0), replications=3)
    assert np.isinf(found.seconds).all() and np.isinf(found.gpu_hours["train"]).all()
    busy = Trouble(3.0, tenants=Tenants(0.5))
    assert np.isinf(simulate([whole, POOL], 8192, busy, replications=2).seconds).all()


def test_many_pieces_that_each_end_may_be_too_many_together():
    """Every piece needs 13,500 starts on average; twenty of them are as good as no end."""
    train = Work(
        "train", workers=64, gpus=8, startup=291.0, pieces=20, piece_seconds=30.0, coupled=True
    )
    assert np.isinf(simulate([train], 512, Trouble(0.6), replications=2).seconds).all()
    long = Work("generate", gpus=1, pieces=10**7, piece_seconds=1.0)
    assert np.isfinite(simulate([long], 1, Trouble(), replications=2).seconds).all()


def test_a_step_in_the_pods_of_the_one_before_requests_no_gpus():
    tenants = Trouble(tenants=Tenants(0.8))
    parts = [replace(POOL, stage="translate", startup=0.0, within=own) for own in (False, True)]
    anew, on = (simulate([POOL, part], 64, tenants, replications=60, seed=2) for part in parts)
    alone = simulate([POOL], 64, tenants, replications=60, seed=2)
    assert on.waited == pytest.approx(alone.waited)
    assert anew.waited.mean() > on.waited.mean() > 0
    assert on.gpu_hours["translate"] == pytest.approx(2 * 7 * 600 / 3600)
    assert on.seconds.min() == pytest.approx(60 + 3 * 600 + 3 * 600)


def test_a_lonely_node_that_is_slow_takes_as_long_on_average():
    work = Work("generate", gpus=1, pieces=10, piece_seconds=100.0)
    assert seconds(work, Trouble(slowness=0.3)) == pytest.approx(1000, rel=0.02)


def test_a_quota_serves_first_come_first_served_and_nobody_overtakes():
    quota = Quota(8)
    assert quota.hold(0.0, 6, 100.0) == 0.0
    assert quota.hold(1.0, 4, 50.0) == 100.0  # too large for the two that are free
    assert quota.hold(2.0, 1, 10.0) == 100.0  # would fit, and waits behind it
    assert quota.hold(3.0, 8, 10.0) == 150.0
    assert quota.hold(500.0, 8, 10.0) == 500.0


def test_others_make_a_run_wait_longer_the_busier_they_are():
    waits = [
        float(
            simulate(
                [COUPLED], 64, Trouble(tenants=Tenants(load)), replications=60, seed=2
            ).waited.mean()
        )
        for load in (0.0, 0.3, 0.8)
    ]
    assert waits[0] == 0 < waits[1] < waits[2]


def test_a_thousand_nodes_lose_as_many_as_their_hours_say():
    _, lost = large_case(nodes=1000, days=10.0)
    assert lost == pytest.approx(1000 * 10 * 24 / 3.0, rel=0.15)
    assert math.isfinite(lost)
