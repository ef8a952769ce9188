"""Stopping a cluster's components, and starting them again."""

from __future__ import annotations

from tests.cluster.cluster import Cluster
from tests.cluster.commands import run, wait_for
from tests.cluster.results import Failure

_FILL = "/data/.lidr-test-fill"
_DISK_LIMIT = 20 * 2**20
"""KiB: a larger disk is not filled, because it is hardly the store's alone."""


class Components:
    """The components of one cluster.

    Args:
        cluster: whose options say where they are, and how those are stopped that are no pods.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        own, kubeflow = cluster.namespace, cluster.options.kfp_namespace
        self._workloads = {
            "argo": f"deployment/workflow-controller@{kubeflow}",
            "kfp": f"deployment/ml-pipeline@{kubeflow}",
            "mlflow": f"deployment/lidr-mlflow@{own}",
            "postgres": f"statefulset/lidr-postgres@{own}",
            "store": f"statefulset/lidr-object-store@{own}",
        } | cluster.options.workloads

    def present(self, component: str) -> bool:
        """Tell whether a component can be stopped here."""
        if component in self._cluster.options.stop:
            return component in self._cluster.options.start
        if component == "disk":
            return self.present("store") and self._disk() <= _DISK_LIMIT
        if component not in self._workloads:
            return False
        kind, name, namespace = self._where(component)
        return bool(self._cluster.get(kind, name, f"--namespace={namespace}"))

    def stop(self, component: str) -> None:
        """Stop a component, and return when it has stopped."""
        if command := self._cluster.options.stop.get(component):
            run(command).require()
        elif component == "disk":
            self._in_store(f"dd if=/dev/zero of={_FILL} bs=1M; sync")
        else:
            self._scale(component, 0)

    def start(self, component: str) -> None:
        """Start it again, and return when it is ready."""
        if command := self._cluster.options.start.get(component):
            run(command).require()
            if component == "node":
                self._cluster.kubectl(
                    "wait", "nodes", "--all", "--for=condition=Ready", "--timeout=300s"
                ).require()
        elif component == "disk":
            self._in_store(f"rm -f {_FILL}; sync")
        else:
            self._scale(component, 1)

    def _where(self, component: str) -> tuple[str, str, str]:
        workload, _, namespace = self._workloads[component].partition("@")
        kind, _, name = workload.partition("/")
        return kind, name, namespace

    def _scale(self, component: str, replicas: int) -> None:
        kind, name, namespace = self._where(component)
        self._cluster.kubectl(
            "scale", kind, name, f"--replicas={replicas}", f"--namespace={namespace}"
        ).require()
        if replicas:
            self._cluster.wait_ready(kind, name, namespace)
            return
        found = self._cluster.get(kind, name, f"--namespace={namespace}")
        labels = found["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        self._cluster.kubectl(
            "delete",
            "pods",
            f"--selector={selector}",
            f"--namespace={namespace}",
            "--grace-period=1",
        ).require()
        wait_for(
            f"{name} to stop",
            lambda: not self._cluster.items("pods", namespace, f"--selector={selector}"),
            120,
        )

    def _in_store(self, script: str) -> str:
        kind, name, namespace = self._where("store")
        done = self._cluster.kubectl(
            "exec", f"{kind}/{name}", f"--namespace={namespace}", "--", "sh", "-c", script
        )
        return done.out

    def _disk(self) -> int:
        """Return the size of the store's disk in KiB."""
        lines = self._in_store("df -k /data").splitlines()
        try:
            return int(lines[-1].split()[1])
        except (IndexError, ValueError) as error:
            raise Failure("the object store's pod does not tell how large its disk is") from error
