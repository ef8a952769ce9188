"""Following a run: status, logs, cancel, resume; and schedules."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.cluster.cluster import Cluster, require
from tests.cluster.commands import Done, wait_for
from tests.cluster.contents import contents, local_run, require_equal
from tests.cluster.parts.submitting import RUN, first_run
from tests.cluster.workflow import ENDED, seconds_of
from tests.faults.lives import SIZES as SMALL

_SCHEDULED = "scheduledworkflows.kubeflow.org/isOwnedByScheduledWorkflow"
STEPS = {0: ("evaluate",), 1: ("generate", "translate", "pair", "train", "evaluate")}


def status(cluster: Cluster) -> str:
    """Every iteration has its own rows, each step once and done."""
    first_run(cluster)
    found = cluster.lidr_json("status", RUN)
    require(found["state"] == "done", f"the run is {found['state']}")
    rows = [(row["iteration"], row["step"]) for row in found["rows"]]
    require(len(rows) == len(set(rows)), f"a step appears twice: {rows}")
    for iteration in (0, 1, 2):
        wanted = {(iteration, step) for step in STEPS[min(iteration, 1)]}
        require(wanted <= set(rows), f"M_{iteration} lacks {sorted(wanted - set(rows))}")
    odd = [row for row in found["rows"] if row["state"] != "done" or row["total"]]
    require(not odd, f"of a run that is done: {odd[:2]}")
    return f"{len(rows)} rows by iteration, all done"


def logs(cluster: Cluster) -> str:
    """The step's own lines come first and alone; --all has the launcher's as well."""
    first_run(cluster)
    own = cluster.lidr("logs", RUN, "train").require().out.splitlines()
    every = cluster.lidr("logs", RUN, "train", "--all").require().out.splitlines()
    require(any("lidr started" in line for line in own), "the step's first line is not shown")
    foreign = [line for line in own if "launcher" in line.lower() or '"msg"' in line]
    require(not foreign, f"lines of the launcher: {foreign[:2]}")
    require(len(every) > len(own), "--all shows no more")
    return f"{len(own)} lines of train, {len(every)} with --all"


def cancel(cluster: Cluster) -> str:
    """A run that is cancelled ends, its TrainJobs and pods too; the same command resumes it."""
    name = f"{cluster.prefix}-cancelled"
    home = {"store": f"{cluster.profile.store}/cancelled"}
    first = in_background(cluster, name, home, SMALL)
    wait_for("a step of M_1", lambda: has_begun(cluster, name, home), 1800, 5)
    told = cluster.lidr("cancel", name, **home).require().out
    require("ended 1 run" in told, f"lidr cancel says: {told.strip()[:200]}")
    require(first().code != 0, "lidr submit --wait ended with 0, though the run was cancelled")
    wait_for("the pods to end", lambda: not _alive(cluster, name), 300, 5)
    begun = time.monotonic()
    state = json.loads(cluster.submitted(name, *SMALL, **home).require().out.splitlines()[-1])
    require(state["state"] == "done", f"resumed, it is {state['state']}")
    wanted = local_run(cluster.options.folder, tuple(SMALL), "small")
    equal = require_equal(contents(home["store"]), wanted)
    cluster.figures.compared.append(True)
    return f"ended, resumed in {time.monotonic() - begun:.0f} s; {equal}"


def schedule(cluster: Cluster) -> str:
    """A schedule looks, runs once, finds nothing new the next time, and ends with cancel."""
    name = f"{cluster.prefix}-schedule"
    home = {"store": f"{cluster.profile.store}/schedule"}
    settings = [word for each in SMALL for word in ("--set", each)]
    arguments = ("submit", "tiny_world", *settings, "--run", name, "--every", "1m")
    since = time.time() - 60
    cluster.lidr(*arguments, **home).require()
    try:
        ended = wait_for("two looks", lambda: _looks(cluster, since), 2400, 10)
        pods = [sum(1 for _ in _pods(cluster, each)) for each in ended]  # they go with the schedule
    finally:
        told = cluster.lidr("cancel", name, **home).require().out
    require("1 schedule" in told, f"lidr cancel says: {told.strip()[:200]}")
    wanted = local_run(cluster.options.folder, tuple(SMALL), "small")
    equal = require_equal(contents(home["store"]), wanted)
    require(pods[1] < pods[0], f"the second look had {pods[1]} pods, the first {pods[0]}")
    return f"{pods[0]} pods at first, {pods[1]} at a look without news; {equal}"


def in_background(
    cluster: Cluster, name: str, keys: Mapping[str, Any], settings: Sequence[str]
) -> Callable[[], Done]:
    """Submit and wait in a thread; return what waits for that and returns how it ended.

    Args:
        cluster: to submit to.
        name: of the run.
        keys: further ones of the profile.
        settings: of the recipe.
    """
    found: list[Done] = []
    thread = threading.Thread(
        target=lambda: found.append(cluster.submitted(name, *settings, **keys))
    )
    thread.start()

    def ended() -> Done:
        thread.join(1800)
        require(found, "lidr submit --wait does not end")
        return found[0]

    return ended


def has_begun(cluster: Cluster, name: str, keys: Mapping[str, Any]) -> bool:
    """Tell whether a step of M_1 runs, or has ended."""
    done = cluster.lidr("status", name, "--output", "json", **keys)
    if done.code:
        return False
    rows = json.loads(done.out.splitlines()[-1])["rows"]
    return any(
        row["iteration"] == 1 and row["step"] in STEPS[1] and row["state"] in ("running", "done")
        for row in rows
    )


def _alive(cluster: Cluster, name: str) -> bool:
    ids = cluster.run_ids(name)
    pods = cluster.items("pods", cluster.pods_namespace, "--selector=pipeline/runid")
    jobs = cluster.items("trainjobs.trainer.kubeflow.org", cluster.namespace)
    return any(
        pod["metadata"]["labels"]["pipeline/runid"] in ids
        and pod["status"]["phase"] in ("Pending", "Running")
        for pod in pods
    ) or any(job["metadata"].get("annotations", {}).get("lidr.dev/kfp-run") in ids for job in jobs)


def _looks(cluster: Cluster, since: float) -> list[str] | None:
    """Return the run ids of the first two looks since then, once both have ended."""
    ended = [
        each["metadata"]["labels"]["pipeline/runid"]
        for each in sorted(
            cluster.items("workflows.argoproj.io", cluster.pods_namespace),
            key=lambda each: each["metadata"]["creationTimestamp"],
        )
        if each["metadata"]["labels"].get(_SCHEDULED) == "true"
        and seconds_of(each["metadata"]["creationTimestamp"]) >= since
        and each.get("status", {}).get("phase") in ENDED
    ]
    return ended[:2] if len(ended) >= 2 else None


def _pods(cluster: Cluster, run_id: str) -> list[dict]:
    return cluster.items("pods", cluster.pods_namespace, f"--selector=pipeline/runid={run_id}")
