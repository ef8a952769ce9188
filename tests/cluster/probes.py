"""Small pods that tell what they reach."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tests.cluster.cluster import Cluster, Object
from tests.cluster.commands import wait_for

Target = tuple[str, int]

_CONNECT = """
import json, socket, sys, time
time.sleep(10)  # until this pod's policies have arrived everywhere
for host, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((host, port), 4).close()
        print(json.dumps([host, port, True]), flush=True)
    except OSError:
        print(json.dumps([host, port, False]), flush=True)
"""
_LISTEN = """
import socket, time
server = socket.create_server(("0.0.0.0", 29500))
while True:
    server.accept()[0].close()
"""


def pod(
    cluster: Cluster, name: str, namespace: str, labels: Mapping[str, str], command: Sequence[str]
) -> Object:
    """Return a pod that Pod Security's restricted profile admits and no Service sends to."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "probe",
                    "image": cluster.profile.images.control,
                    "imagePullPolicy": "IfNotPresent",
                    "command": list(command),
                    "readinessProbe": {"exec": {"command": ["false"]}},
                    "resources": {
                        "requests": {"cpu": "10m", "memory": "64Mi"},
                        "limits": {"cpu": "1", "memory": "256Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def listener(
    cluster: Cluster, name: str, namespace: str, labels: Mapping[str, str], seconds: float = 180
) -> str:
    """Start a pod that listens on port 29500, and return its address."""
    cluster.apply(pod(cluster, name, namespace, labels, ["python", "-c", _LISTEN]))

    def address() -> str:
        status = cluster.get("pod", name, f"--namespace={namespace}").get("status", {})
        return status.get("podIP", "") if status.get("phase") == "Running" else ""

    return wait_for(f"pod {name} to run", address, seconds)


def connecting(
    cluster: Cluster,
    name: str,
    namespace: str,
    labels: Mapping[str, str],
    targets: Sequence[Target],
) -> Object:
    """Return a pod that tries to connect to each target and prints what came of it."""
    command = ["python", "-c", _CONNECT, json.dumps(targets)]
    return pod(cluster, name, namespace, labels, command)


def output(cluster: Cluster, name: str, namespace: str, seconds: float = 300) -> str:
    """Wait until a pod has ended, and return what it printed."""

    def ended() -> bool:
        found = cluster.get("pod", name, f"--namespace={namespace}")
        return found.get("status", {}).get("phase") in ("Succeeded", "Failed")

    wait_for(f"pod {name} to end", ended, seconds)
    return cluster.kubectl("logs", name, f"--namespace={namespace}").require().out


def reached(text: str) -> dict[Target, bool]:
    """Return which targets a connecting pod has reached, from what it printed."""
    rows = [json.loads(line) for line in text.splitlines() if line.startswith("[")]
    return {(host, port): found for host, port, found in rows}
