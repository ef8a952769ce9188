"""A budget: the loop stops before an iteration that would pass it, and a higher one goes on."""

from __future__ import annotations

import json

from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import state_key
from tests.cluster.cluster import Cluster, require
from tests.cluster.commands import wait_for
from tests.cluster.contents import contents, local_run, require_equal
from tests.cluster.parts.following import has_begun, in_background
from tests.cluster.parts.submitting import TWO_ITERATIONS
from tests.faults.lives import SIZES as SMALL
from tests.usages import plant_usage

_SETTINGS = (*SMALL, *TWO_ITERATIONS)
_LOW, _HIGH = 1.0, 10.0
_USED = 0.6
"""GPU hours of the first iteration: a second one like it would pass the low bound."""


def budget(cluster: Cluster) -> str:
    """A run stops before M_2; with a higher budget it ends with the bytes of one without.

    Where nodes have no GPUs nothing is used: what a GPU would have noted is planted on the store.
    """
    name = f"{cluster.prefix}-budget"
    store = f"{cluster.profile.store}/budget"
    low, high = ({"store": store, "budget": {"gpu_hours": bound}} for bound in (_LOW, _HIGH))
    submitted = in_background(cluster, name, low, _SETTINGS)
    wait_for("a step of M_1", lambda: has_begun(cluster, name, low), 1800, 5)
    plant_usage(open_store(store), name, 1, hours=_USED)
    done = submitted().require()
    require(json.loads(done.out.splitlines()[-1])["state"] == "done", "a stop is no failure")
    stopped = cluster.lidr("status", name, **low).require().out
    require("the budget stopped the loop before M_2" in stopped, f"status says: {stopped[-300:]}")
    require(not _made(store, name, 2), "M_2 was made nevertheless")
    cluster.submitted(name, *_SETTINGS, **high).require()
    require(_made(store, name, 2), "with a higher budget M_2 was not made")
    wanted = local_run(cluster.options.folder, _SETTINGS, "small-2")
    equal = require_equal(contents(store), wanted)
    cluster.figures.compared.append(True)
    return f"stopped before M_2, went on with {_HIGH:g} GPU hours; {equal}"


def _made(store: str, run: str, iteration: int) -> bool:
    return open_store(store).exists(state_key(run, iteration))
