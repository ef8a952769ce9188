"""A TrainJob of two nodes in a Kueue queue: it waits, is admitted, is preempted, and ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.cluster import Cluster, Object, require
from tests.cluster.commands import Done, wait_for
from tests.cluster.contents import contents, local_run
from tests.cluster.results import LeftOut
from tests.faults.lives import SIZES as SMALL

QUEUE = "lidr"
"""Whose quota and rules the part's own queue copies, so that other runs' training goes on."""


def queue(cluster: Cluster) -> str:
    """Go through a TrainJob's life in a queue, with a rival of higher priority."""
    if not cluster.get("localqueue", QUEUE, f"--namespace={cluster.namespace}"):
        raise LeftOut(f"there is no LocalQueue {QUEUE} in {cluster.namespace}")
    name = _queue_of(cluster)
    keys = _two_nodes(cluster)
    _make_queue(cluster, name)
    _stop_queue(cluster, "Hold")
    found: list[Done] = []
    waiting = threading.Thread(target=lambda: found.append(_submit(cluster, name, keys)))
    waiting.start()
    seen = []
    try:
        note = wait_for("train to wait in the queue", lambda: _note(cluster, name, keys), 2400, 10)
        seen.append(f"waiting ({note[:70]})")
        _stop_queue(cluster, "None")
        wait_for("the TrainJob's admission", lambda: _is(cluster, name, "Admitted"), 1200)
        seen.append("admitted")
        wait_for("two ranks", lambda: len(_ranks(cluster, name)) == 2, 1200)
        with cluster.made("-f", str(_rival(cluster)), always=True):
            wait_for("the preemption", lambda: _is(cluster, name, "Evicted"), 1200)
            seen.append("preempted")
        wait_for("its second admission", lambda: _is(cluster, name, "Admitted"), 600)
    finally:
        _stop_queue(cluster, "None")
        waiting.join(2400)
    require(found and found[0].code == 0, f"the run did not end well: {found and found[0].last()}")
    return f"{', '.join(seen)}, admitted again, done; {_compared(cluster, keys['store'])}"


def _queue_of(cluster: Cluster) -> str:
    """Return the name of the part's queue, and of its run."""
    return f"{cluster.prefix}-queue"


def _make_queue(cluster: Cluster, name: str) -> None:
    """Make a LocalQueue and a ClusterQueue like lidr's, which lends nothing to others."""
    spec = cluster.get("clusterqueue", QUEUE)["spec"]
    spec.pop("cohortName", None)
    api = "kueue.x-k8s.io/v1beta2"
    own = {"name": name, "namespace": cluster.namespace}
    cluster.apply(
        {"apiVersion": api, "kind": "ClusterQueue", "metadata": {"name": name}, "spec": spec},
        {"apiVersion": api, "kind": "LocalQueue", "metadata": own, "spec": {"clusterQueue": name}},
    )
    cluster.afterwards(lambda: cluster.delete("clusterqueue", name))
    cluster.afterwards(lambda: cluster.delete("localqueue", name, f"-n={cluster.namespace}"))


def _two_nodes(cluster: Cluster) -> Object:
    resources = cluster.profile.resources_of("train").model_dump(mode="json", exclude_defaults=True)
    resources.pop("pool", None)
    return {
        "store": f"{cluster.profile.store}/queue",
        "training": {"nodes": 2},
        "steps": {"train": {**resources, "queue": _queue_of(cluster)}},
    }


def _submit(cluster: Cluster, name: str, keys: Object) -> Done:
    return cluster.submitted(name, *SMALL, **keys)


def _stop_queue(cluster: Cluster, policy: str) -> None:
    patch = json.dumps({"spec": {"stopPolicy": policy}})
    cluster.kubectl(
        "patch", "clusterqueue", _queue_of(cluster), "--type=merge", f"--patch={patch}"
    ).require()


def _note(cluster: Cluster, name: str, keys: Object) -> str:
    done = cluster.lidr("status", name, "--output", "json", **keys)
    if done.code:
        return ""
    rows = json.loads(done.out.splitlines()[-1])["rows"]
    notes = [row["note"] for row in rows if row["step"] == "train" and row["state"] == "waiting"]
    return next((note for note in notes if f"queue {_queue_of(cluster)}" in note), "")


def _job(cluster: Cluster, name: str) -> Object:
    ids = cluster.run_ids(name)
    jobs = cluster.items("trainjobs.trainer.kubeflow.org", cluster.namespace)
    return next(
        (
            job
            for job in jobs
            if job["metadata"].get("annotations", {}).get("lidr.dev/kfp-run") in ids
        ),
        {},
    )


def _is(cluster: Cluster, name: str, condition: str) -> bool:
    """Tell whether the TrainJob's Workload has a condition now."""
    uid = _job(cluster, name).get("metadata", {}).get("uid")
    for workload in cluster.items("workloads.kueue.x-k8s.io", cluster.namespace):
        owners = workload["metadata"].get("ownerReferences", [])
        if uid and any(owner["uid"] == uid for owner in owners):
            conditions = workload.get("status", {}).get("conditions", [])
            return any(e["type"] == condition and e["status"] == "True" for e in conditions)
    return False


def _ranks(cluster: Cluster, name: str) -> list[Object]:
    job = _job(cluster, name).get("metadata", {}).get("name", "none")
    selector = f"--selector=jobset.sigs.k8s.io/jobset-name={job}"
    pods = cluster.items("pods", cluster.namespace, selector)
    return [pod for pod in pods if pod["status"]["phase"] == "Running"]


def _rival(cluster: Cluster) -> Path:
    """Queue a pod that needs all of the quota and goes first; return the file of its objects.

    A pod, since `pod` is what lidr wants Kueue to know besides TrainJobs.
    """
    spec = cluster.get("clusterqueue", _queue_of(cluster))["spec"]
    resources = spec["resourceGroups"][0]["flavors"][0]["resources"]
    quota = {each["name"]: each["nominalQuota"] for each in resources}
    requests = {key: quota[key] for key in ("cpu", "memory") if key in quota}
    labels = {
        "kueue.x-k8s.io/queue-name": _queue_of(cluster),
        "kueue.x-k8s.io/priority-class": f"{cluster.prefix}-first",
    }
    container = {
        "name": "rival",
        "image": cluster.profile.images.control,
        "command": ["sleep", "600"],
        "resources": {"requests": requests, "limits": requests},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    objects = [
        {
            "apiVersion": "kueue.x-k8s.io/v1beta2",
            "kind": "WorkloadPriorityClass",
            "metadata": {"name": f"{cluster.prefix}-first"},
            "value": 1000000,
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{cluster.prefix}-rival",
                "namespace": cluster.namespace,
                "labels": labels,
            },
            "spec": pod,
        },
    ]
    file = cluster.options.folder / "rival.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    cluster.kubectl("apply", f"--filename={file}").require()
    return file


def _compared(cluster: Cluster, store: str) -> str:
    """Compare with one process: two ranks differ from it by rounding, so only before training."""
    found, wanted = contents(store), local_run(cluster.options.folder, tuple(SMALL), "small")
    before = {key: value for key, value in wanted.items() if _untrained(key, wanted)}
    missing = [key for key in before if found.get(key) != before[key]]
    require(not missing, f"stages before training differ: {missing[:3]}")
    return f"{len(before)} files before training equal to the byte (two ranks round otherwise)"


def _untrained(key: str, wanted: Mapping[str, str]) -> bool:
    return key.split("/")[0] in ("prepare", "generate", "translate", "merge", "pair")
