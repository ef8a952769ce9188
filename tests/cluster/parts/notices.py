"""Notices: an HTTP server is told of each once, though their sender is killed again and again."""

from __future__ import annotations

import base64
import json
import random
import threading
from collections import Counter
from typing import Any

from lidr.pipelines.cli.inputs import read_profile
from tests.cluster.cluster import Cluster, Object, require
from tests.cluster.commands import wait_for
from tests.cluster.kustomize import apply_component, config_map, profile_inside
from tests.cluster.parts.following import in_background
from tests.cluster.probes import pod
from tests.cluster.removal import remove_runs
from tests.cluster.renewal import BROKEN
from tests.cluster.results import Failure
from tests.faults.lives import SIZES as SMALL

KILLS = 10
_PORT = 6443
"""Of the receiver: one that the policies of `notices` and of a run's pods leave open."""

_PAUSE = (8.0, 45.0)
_NOTICES = "app.kubernetes.io/name=lidr-notices"

_RECEIVE = """
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(json.dumps([self.headers["Idempotency-Key"], body["text"]]), flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass

ThreadingHTTPServer(("0.0.0.0", 6443), Handler).serve_forever()
"""


def notices(cluster: Cluster) -> str:
    """A run stops, one fails, one waits, one stands still: each is told once."""
    names = {what: f"{cluster.prefix}-told-{what}" for what in ("well", "broken", "waits", "still")}
    keys = _keys(cluster)
    cluster.afterwards(lambda: remove_runs(read_profile(*cluster.layers(**keys)), cluster.begun))
    with cluster.made("namespace", _receivers(cluster)):
        _receive(cluster)
        install_notices(cluster, keys)
        end = threading.Event()
        kills: list[str] = []
        killer = threading.Thread(target=_kill, args=(cluster, end, kills))
        killer.start()
        try:
            _runs(cluster, names, keys)
            wait_for(f"{KILLS} kills", lambda: len(kills) >= KILLS, 900, 5)
        finally:
            end.set()
            killer.join()
        wanted = _wanted(names)
        wait_for("every notice", lambda: not _missing(wanted, _received(cluster)), 300, 5)
        told = _received(cluster)
    texts = Counter(text for _, text in set(told))
    twice = [text for text, keys in texts.items() if keys > 1]
    require(not twice, f"told more than once, with different keys: {twice}")
    again = len(told) - len(set(told))
    require(again <= 1, f"{again} of {len(told)} came again, with the same key")
    strangers = [text for text in texts if "has failed" in text and names["broken"] not in text]
    require(not strangers, f"told as failures: {strangers}")
    return (
        f"{len(texts)} notices, each once ({again} again, with the same key), their sender killed "
        f"{len(kills)} times"
    )


def _keys(cluster: Cluster) -> dict[str, Any]:
    notify = {"secret": f"{cluster.prefix}-notify", "waiting_minutes": 1.0, "silent_minutes": 3.0}
    kubeflow = {"experiment": f"{cluster.prefix}-told"}
    return {
        "store": f"{cluster.profile.store}/told",
        "notify": notify,
        "kubeflow": {"host": cluster.options.kfp_host, **kubeflow},
    }


def _receivers(cluster: Cluster) -> str:
    return f"{cluster.prefix}-receiver"


def _receive(cluster: Cluster) -> None:
    """Start the receiver, in a namespace of its own, and write the Secret that leads to it."""
    namespace, labels = _receivers(cluster), {"app": "receiver"}
    server = pod(cluster, "receiver", namespace, labels, ["python", "-c", _RECEIVE])
    del server["spec"]["containers"][0]["readinessProbe"]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "receiver", "namespace": namespace},
        "spec": {"selector": labels, "ports": [{"port": _PORT}]},
    }
    url = f"http://receiver.{namespace}.svc:{_PORT}/hook"
    secrets: list[Object] = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"{cluster.prefix}-notify", "namespace": space},
            "data": {"LIDR_NOTIFY_URL": base64.b64encode(url.encode()).decode()},
        }
        for space in {cluster.namespace, cluster.pods_namespace}
    ]
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    cluster.apply(server, service, *secrets)
    for each in secrets:
        place = each["metadata"]["namespace"]
        cluster.afterwards(
            lambda place=place: cluster.delete(
                "secret", f"{cluster.prefix}-notify", f"--namespace={place}"
            )
        )


def install_notices(cluster: Cluster, keys: dict[str, Any]) -> None:
    """Apply the component `notices` with a profile that looks at a part's runs alone.

    Args:
        cluster: to apply it to.
        keys: of the profile; its `notify.secret` need not be there.
    """
    experiment = keys.get("kubeflow", {}).get("experiment")
    kubeflow = {"experiment": experiment} if experiment else {}
    profile = profile_inside(cluster, **{**keys, "kubeflow": kubeflow})
    secret = [{"op": "replace", "path": _SECRET_PATH, "value": keys["notify"]["secret"]}]
    apply_component(
        cluster,
        "notices",
        ("Deployment", secret),
        ("ConfigMap", config_map("lidr-notices", {"profile.yaml": profile})),
    )
    cluster.wait_ready("deployment", "lidr-notices", cluster.namespace)


_SECRET_PATH = "/spec/template/spec/containers/0/env/0/valueFrom/secretKeyRef/name"


def _kill(cluster: Cluster, end: threading.Event, kills: list[str]) -> None:
    """Kill the sender at random moments, until so many times."""
    rng = random.Random(cluster.options.seed)
    where = f"--namespace={cluster.namespace}"
    while len(kills) < KILLS and not end.wait(rng.uniform(*_PAUSE)):
        pods = cluster.items("pods", cluster.namespace, f"--selector={_NOTICES}")
        running = [each for each in pods if each["status"].get("phase") == "Running"]
        for each in running[:1]:
            name = each["metadata"]["name"]
            done = cluster.kubectl("delete", "pod", name, where, "--grace-period=0", "--force")
            if not done.code:
                kills.append(name)
                cluster.say(f"the sender of notices killed for the {len(kills)}. time")


def _runs(cluster: Cluster, names: dict[str, str], keys: dict[str, Any]) -> None:
    """Let one run end, one fail, one wait until it is cancelled, and one stand still."""
    nowhere = {"prepare": {"node_selector": {"lidr.dev/no-such": "node"}}}
    waits = in_background(cluster, names["waits"], {**keys, "steps": nowhere}, (*SMALL, "seed=7"))
    well = in_background(cluster, names["well"], keys, SMALL)
    _await(cluster, (names["waits"], "has waited"))
    cluster.lidr("cancel", names["waits"], **keys).require()
    waits()
    still = in_background(cluster, names["still"], keys, (*SMALL, "seed=8"))
    stopped = _halt(cluster, names["still"])
    try:
        _await(cluster, (names["still"], "has made no progress"))
    finally:
        cluster.kubectl(*stopped, "kill -CONT -1")
    well().require()
    broken = in_background(cluster, names["broken"], keys, (*SMALL, *BROKEN))
    still().require()
    require(broken().code == 1, "a run that cannot succeed ended well")


def _halt(cluster: Cluster, name: str) -> tuple[str, ...]:
    """Stop what runs in the first step's pod of a run; return the words that reach into it."""

    def begun() -> str:
        for run_id in cluster.run_ids(name):
            pods = cluster.items(
                "pods", cluster.pods_namespace, f"--selector=pipeline/runid={run_id}"
            )
            for each in pods:
                path = (
                    each["metadata"]
                    .get("annotations", {})
                    .get("workflows.argoproj.io/node-name", "")
                )
                running = each["status"].get("phase") == "Running"
                if running and "prepare" in path and "driver" not in path.rsplit(".", 1)[-1]:
                    return str(each["metadata"]["name"])
        return ""

    found = wait_for("the first step's pod", begun, 900, 3)
    where = f"--namespace={cluster.pods_namespace}"
    into = ("exec", found, where, "--container=main", "--", "sh", "-c")
    cluster.kubectl(*into, "kill -STOP -1", seconds=60)
    return into


def _wanted(names: dict[str, str]) -> list[tuple[str, str]]:
    return [
        (names["well"], "has stopped"),
        (names["still"], "has stopped"),
        (names["waits"], "has waited"),
        (names["still"], "has made no progress"),
        (names["broken"], "has failed"),
    ]


def _await(cluster: Cluster, wanted: tuple[str, str]) -> None:
    wait_for(
        f"the notice that {' '.join(wanted)}",
        lambda: not _missing([wanted], _received(cluster)),
        1500,
        5,
    )


def _missing(wanted: list[tuple[str, str]], told: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [
        (run, what)
        for run, what in wanted
        if not any(run in text and what in text for _, text in told)
    ]


def _received(cluster: Cluster) -> list[tuple[str, str]]:
    """Return key and text of every request that the receiver has taken."""
    done = cluster.kubectl("logs", "receiver", f"--namespace={_receivers(cluster)}")
    if done.code:
        raise Failure(f"the receiver's log cannot be read: {done.last()}")
    return [tuple(json.loads(line)) for line in done.out.splitlines()]
