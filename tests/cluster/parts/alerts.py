"""Alerts: a Prometheus takes lidr's rules, sees what they ask for, and fires with a reason."""

from __future__ import annotations

import contextlib
import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

from tests.cluster.cluster import Cluster, Object, require
from tests.cluster.commands import wait_for
from tests.cluster.kustomize import apply_component
from tests.cluster.parts.following import in_background
from tests.cluster.parts.notices import install_notices
from tests.cluster.parts.submitting import RUN, first_run
from tests.cluster.probes import pod
from tests.cluster.renewal import BROKEN
from tests.cluster.results import LeftOut
from tests.faults.lives import SIZES as SMALL

_PROMETHEUS = "/api/v1/namespaces/monitoring/services/prometheus-operated:9090/proxy/api/v1"
"""Of the Prometheus operator's own Service, through the API server."""

_HUNGRY = "b = bytearray(400 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1"

Alert = tuple[str, dict[str, str], str]
"""Its name, its labels and its state, pending or firing."""


def alerts(cluster: Cluster) -> str:
    """Give Prometheus every rule, and a reason for those that need no days or GPUs."""
    if not cluster.get("crd", "podmonitors.monitoring.coreos.com"):
        raise LeftOut("there is no Prometheus operator")
    first_run(cluster)
    keys = {"notify": {"secret": f"{cluster.prefix}-nobody", "waiting_minutes": 1.0}}
    install_notices(cluster, keys)
    apply_component(cluster, "monitoring")
    rules = wait_for("Prometheus to take the rules", lambda: _rules(cluster), 300, 5)
    bad = {name: rule["lastError"] for name, rule in rules.items() if rule["health"] == "err"}
    require(not bad, f"rules that cannot be evaluated: {bad}")

    broken, waits = f"{cluster.prefix}-alert-broken", f"{cluster.prefix}-alert-waits"
    nowhere = {"prepare": {"node_selector": {"lidr.dev/no-such": "node"}}}
    waiting = in_background(cluster, waits, {**keys, "steps": nowhere}, (*SMALL, "seed=11"))
    failing = in_background(cluster, broken, keys, (*SMALL, "seed=12", *BROKEN))
    with cluster.made(*_trouble(cluster)), _without_mlflow(cluster):
        _await(cluster, "firing", "LidrOutOfMemory", pod="lidr-alert-hungry")
        _await(cluster, "firing", "LidrTrainingRestartsOften", created_by_name=_RANKS)
        _await(cluster, "pending", "LidrTrainingWaits")
        _await(cluster, "firing", "LidrMlflowDown", deployment="lidr-mlflow")
    _await_value(cluster, rules["LidrStepWaits"]["query"], 60.0, run=waits)
    _await_value(cluster, rules["LidrStepSilent"]["query"], 0.0, run=broken)
    cluster.lidr("cancel", waits, **keys).require()
    waiting()
    require(failing().code == 1, "a run that cannot succeed ended well")
    _await(cluster, "firing", "LidrRunFailed", run=broken)
    _await(cluster, "firing", "LidrRunEnded", run=RUN)
    away = ("scale", "deployment", "lidr-notices", f"--namespace={cluster.namespace}")
    cluster.kubectl(*away, "--replicas=0").require()
    _await(cluster, "pending", "LidrNoticesUnsent")
    return (
        f"{len(rules)} rules taken; with a reason a run's end and failure, MLflow's absence, a "
        "container out of memory and ranks that start again fired, ranks that wait and notices "
        "that nobody sends were pending; waits and silences are told"
    )


def _asked(cluster: Cluster, path: str) -> Any:
    done = cluster.kubectl("get", "--raw", f"{_PROMETHEUS}/{path}")
    return json.loads(done.out)["data"] if not done.code else {}


def _rules(cluster: Cluster) -> dict[str, Object]:
    """Return lidr's rules by name once all have been evaluated; {} before that."""
    groups = _asked(cluster, "rules").get("groups", [])
    found = {
        rule["name"]: rule
        for group in groups
        for rule in group["rules"]
        if rule["name"].startswith("Lidr")
    }
    return found if all(rule["health"] != "unknown" for rule in found.values()) else {}


def _alerts(cluster: Cluster) -> list[Alert]:
    """Return lidr's alerts that are pending or firing."""
    return [
        (each["labels"]["alertname"], each["labels"], each["state"])
        for each in _asked(cluster, "alerts").get("alerts", [])
        if each["labels"]["alertname"].startswith("Lidr")
    ]


def _await(cluster: Cluster, state: str, name: str, **labels: str) -> None:
    """Wait until an alert with these labels is in a state, or beyond it."""
    states = {state, "firing"}

    def there() -> bool:
        return any(
            name == known and seen in states and labels.items() <= given.items()
            for known, given, seen in _alerts(cluster)
        )

    wait_for(f"{name} to be {state} for {labels or 'anything'}", there, 900, 5)
    cluster.say(f"{name} is {state}")


def _await_value(cluster: Cluster, rule: str, least: float, **labels: str) -> None:
    """Wait until what a rule compares with its threshold of hours has reached `least`."""
    metric = rule.partition(">")[0].strip()
    query = urllib.parse.urlencode({"query": metric})

    def value() -> bool:
        found = _asked(cluster, f"query?{query}").get("result", [])
        return any(
            labels.items() <= each["metric"].items() and float(each["value"][1]) >= least
            for each in found
        )

    wait_for(f"{metric} of {labels}", value, 900, 5)
    cluster.say(f"{metric} is told")


_RANKS = "lidr-train-alert-node-0"


def _trouble(cluster: Cluster) -> list[str]:
    """Make pods that wait, run out of memory and start again; return the words to delete them."""
    space, labels = cluster.pods_namespace, {"lidr.dev/test": "alerts"}
    hungry = pod(cluster, "lidr-alert-hungry", space, labels, ["python", "-c", _HUNGRY])
    waiting = pod(cluster, "lidr-train-alert-node-1-0-x", space, labels, ["true"])
    waiting["spec"]["nodeSelector"] = {"lidr.dev/no-such": "node"}
    ranks = pod(cluster, "", space, labels, ["false"])
    job: Object = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": _RANKS, "namespace": space, "labels": labels},
        "spec": {
            "completions": 1,
            "completionMode": "Indexed",
            "backoffLimit": 5,
            "template": {"metadata": {"labels": labels}, "spec": ranks["spec"]},
        },
    }
    cluster.apply(hungry, waiting, job)
    return ["pods,jobs", "--selector=lidr.dev/test=alerts", f"--namespace={space}"]


@contextlib.contextmanager
def _without_mlflow(cluster: Cluster) -> Iterator[None]:
    """Scale MLflow to nothing for a while."""
    where = ("deployment", "lidr-mlflow", f"--namespace={cluster.namespace}")
    replicas = cluster.get(*where)["spec"]["replicas"]
    cluster.kubectl("scale", *where, "--replicas=0").require()
    try:
        yield
    finally:
        cluster.kubectl("scale", *where, f"--replicas={replicas}").require()
        cluster.wait_ready("deployment", "lidr-mlflow", cluster.namespace)
