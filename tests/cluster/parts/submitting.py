"""Checking, submitting and waiting; what a run made against a run on this machine."""

from __future__ import annotations

import json
from collections import Counter

from tests.cluster.cluster import Cluster, require
from tests.cluster.contents import contents, local_run, require_equal
from tests.faults.lives import SIZES as SMALL

RUN = "first"

TWO_ITERATIONS = ("gate.max_iterations=2", "seed=2")
"""Most seeds of so small a world stop after one."""


def sizes(cluster: Cluster) -> tuple[str, ...]:
    """Return the settings of the run that several parts look at, which has two iterations."""
    return (*SMALL, *TWO_ITERATIONS) if cluster.options.small else ()


def check(cluster: Cluster) -> str:
    """`lidr check` finds nothing missing."""
    done = cluster.lidr("check", "tiny_world", "--output", "json", seconds=300)
    if done.code not in (0, 2) or not done.out.startswith("{"):
        done.require()
    found = json.loads(done.out)
    missing = [
        f"{each['name']} ({each['detail']})"
        for each in found["findings"]
        if each["state"] == "missing"
    ]
    require(not missing, f"missing: {', '.join(missing)}")
    states = Counter(each["state"] for each in found["findings"])
    return ", ".join(f"{number} {state}" for state, number in states.items())


def submit(cluster: Cluster) -> str:
    """tiny_world, as a user submits it, to its end; a second submission finds it done."""
    seconds = first_run(cluster)
    settings = [word for each in sizes(cluster) for word in ("--set", each)]
    again = cluster.lidr_json("submit", "tiny_world", *settings, "--run", RUN)
    require(again["outcome"] == "done", f"a second submission says {again['outcome']}")
    return f"done after {seconds / 60:.1f} minutes by Kubeflow's clock"


def first_run(cluster: Cluster) -> float:
    """Return how long the run took that several parts look at; it is submitted once."""
    done = cluster.submitted(RUN, *sizes(cluster))
    require(done.code == 0, f"lidr submit --wait ended with {done.code}: {done.last()}")
    status = json.loads(done.out.splitlines()[-1])
    require(status["state"] == "done", f"its state is {status['state']}")
    return sum(row["seconds"] for row in status["rows"])


def equal(cluster: Cluster) -> str:
    """Digests and bytes of tiny_world are those of a run on this machine."""
    first_run(cluster)
    cluster.say("the same recipe on this machine")
    name = "small-2" if cluster.options.small else "tiny-world"
    wanted = local_run(cluster.options.folder, sizes(cluster), name)
    found = contents(cluster.profile.store)
    told = require_equal({key: found[key] for key in found if key in wanted}, wanted)
    cluster.figures.compared.append(True)
    return told
