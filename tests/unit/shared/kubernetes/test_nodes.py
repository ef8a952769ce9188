"""What a launcher knows of a TrainJob's pods, whose states follow one another."""

from __future__ import annotations

from typing import Any, cast

import pytest

from lidr.components.shared.kubernetes import nodes
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.kubernetes.nodes import AdmissionTimeout, TrainJobPods
from lidr.components.shared.kubernetes.trainjobs import Cluster, TrainJob
from tests.kubernetes_api import KubernetesApi, ended, running, unschedulable

JOB = "lidr-train-x"
TWO_NODES = TrainJob(stage="s3://b/train/x", run="", nodes=2, conditions={}, deleting=False)


class Namespace(KubernetesApi):
    """An API that answers without HTTP, and some logs only when they are asked for again."""

    silent = 0

    def log(self, pod: str, _container: str, **_: Any) -> str:
        self.silent -= 1
        lines = [line for _moment, line in self.logs.get(pod, [])]
        return "" if self.silent >= 0 else "\n".join(lines)


def of(api: Namespace, *, sharded: bool = False) -> TrainJobPods:

    class Reader:
        log = api.log

        def pods(self, _name: str) -> list[Any]:
            return list(api.pods.values())

    return TrainJobPods(cast(Cluster, Reader()), sharded=sharded)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(nodes.time, "monotonic", lambda: now[0])
    return now


def test_training_waits_for_all_of_its_nodes_and_shards_for_none(clock: list[float]):
    api = Namespace()
    api.put_pod(JOB, 0, **running())
    api.put_pod(JOB, 1, **unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."))
    for sharded in (False, True):
        clock[0] = 0.0
        timeout, seen = AdmissionTimeout(60.0), of(api, sharded=sharded)
        seen.update(JOB)
        assert not timeout.expired(TWO_NODES, seen)
        clock[0] = 61.0
        assert timeout.expired(TWO_NODES, seen) is not sharded
    clock[0] = 0.0
    timeout, seen = AdmissionTimeout(60.0), of(api)
    seen.update(JOB)
    clock[0] = 61.0
    assert timeout.expired(TWO_NODES, seen)
    said = str(timeout.as_error(JOB, Launch(launcher="trainjob")))
    assert "did not have all 2 pods running for 1 minutes" in said
    assert "unschedulable, too little nvidia.com/gpu" in said and "kept" in said
    api.put_pod(JOB, 0, **ended("Completed", 0))
    api.put_pod(JOB, 1, **running())
    seen.update(JOB)
    assert not timeout.expired(TWO_NODES, seen), "a node that has ended well is no missing one"


def test_a_pod_that_was_replaced_explains_no_later_failure():
    api = Namespace()
    seen = of(api, sharded=True)
    evicted = api.put_pod(JOB, 0, phase="Failed", reason="Evicted", message="spot")
    api.print(evicted, "shard 0 was here")
    seen.update(JOB)
    assert [each.reason for each in seen.failures.values()] == ["Evicted: spot"]
    replacement = api.put_pod(JOB, 0, **running())
    api.pods[replacement]["metadata"]["name"] += "-again"
    killed = api.put_pod(JOB, 1, **ended("OOMKilled", 137))
    api.print(killed, "shard 1: allocating")
    seen.update(JOB)
    assert [each.pod for each in seen.failures.values()] == [killed]
    assert seen.last_output() == ["shard 1: allocating"]


def test_a_log_that_could_not_be_read_is_read_later():
    api = Namespace()
    api.silent = 1
    api.print(api.put_pod(JOB, 1, **ended("Error", 1)), "Traceback: boom")
    seen = of(api)
    seen.update(JOB)
    assert seen.last_output() == []
    seen.update(JOB)
    assert seen.last_output() == ["Traceback: boom"]
