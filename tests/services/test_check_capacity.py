"""lidr check's capacity: quotas, nodes and queues against a Kubernetes API over HTTP."""

from __future__ import annotations

import pytest

from lidr.pipelines.checks.pod_request import amount_text, quantity
from tests.services import checked
from tests.services.checked import Checked, node
from tests.services.test_check import unknown
from tests.yaml_text import read_yaml

OTHER_TAINT = {"key": "team", "value": "other", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("gpu", "detail"),
    [
        (node("gpu", 128, gpus=4), "comes closest, with 4 nvidia.com/gpu"),
        (node("gpu", 128, gpus=8, taints=[OTHER_TAINT]), "are tainted team=other:NoSchedule"),
        (node("gpu", 128, gpus=8, unschedulable=True), "none of 1 nodes is ready"),
    ],
)
def test_a_pool_that_cannot_take_pods_now_may_grow(bare: Checked, gpu: dict, detail: str):
    bare.objects[checked.NODES] = {"items": [gpu]}
    row = bare.check("--only", "capacity")[1]["nodes for train"]
    assert row["state"] == "missing" and detail in row["detail"]
    bare.cluster.kubernetes.forbidden.add(checked.AUTOSCALER)
    row = bare.check("--only", "capacity")[1]["nodes for train"]
    assert row["state"] == "unknown" and detail in row["detail"]
    assert f"is not known: may not GET {checked.AUTOSCALER}" in row["detail"]
    bare.cluster.kubernetes.forbidden.clear()
    bare.objects[checked.AUTOSCALER] = {"data": {"status": "up"}}
    row = bare.check("--only", "capacity")[1]["nodes for train"]
    assert row["state"] == "unknown" and detail in row["detail"]
    assert row["detail"].endswith("; the cluster autoscaler may add nodes")


@pytest.mark.parametrize(
    ("key", "effect", "state"),
    [
        ("node.kubernetes.io/unreachable", "NoExecute", "missing"),
        ("node.cloudprovider.kubernetes.io/shutdown", "NoSchedule", "missing"),
        ("karpenter.sh/disrupted", "NoSchedule", "missing"),
        ("ToBeDeletedByClusterAutoscaler", "NoSchedule", "missing"),
        ("DeletionCandidateOfClusterAutoscaler", "PreferNoSchedule", "ok"),
    ],
)
def test_a_node_that_is_taken_away_is_not_ready(bare: Checked, key: str, effect: str, state: str):
    taints = [{"key": key, "value": "1", "effect": effect}]
    nodes = [node("cpu", 16), node("gpu", 128, gpus=8, taints=taints)]
    bare.objects[checked.NODES] = {"items": nodes}
    row = bare.check("--only", "capacity")[1]["nodes for train"]
    assert row["state"] == state
    assert key not in row["detail"] and "tolerations" not in row["remedy"]


def test_room_for_some_pods_is_counted_and_nodes_are_listed_once(bare: Checked):
    training = read_yaml(bare.cluster.file.read_text())["training"]
    bare.cluster.configure(training=training | {"nodes": 4})
    large = [node(name, 128, gpus=8) for name in ("a", "b")]
    bare.objects[checked.NODES] = {"items": [*large, node("c", 16)]}
    asked = bare.cluster.kubernetes.requests
    _, found, _ = bare.check("--only", "capacity")
    told = "room for 2 of 4 pods of 16 cpu, 256Gi memory, 8 nvidia.com/gpu on the nodes"
    assert found["nodes for train"]["detail"] == told
    assert asked.count(("GET", checked.NODES)) == 1
    large[1]["spec"]["taints"].append(OTHER_TAINT)
    _, found, _ = bare.check("--only", "capacity")
    assert found["nodes for train"]["detail"] == (
        told.replace("2 of 4", "1 of 4") + ", and for 1 on those whose taints are not tolerated"
    )


def test_the_node_that_comes_closest_is_named(bare: Checked):
    nodes = [node("cpu", 512), node("near", 128, gpus=4), node("far", 8, gpus=2)]
    bare.objects[checked.NODES] = {"items": nodes}
    _, found, _ = bare.check("--only", "capacity")
    assert found["nodes for train"]["detail"] == (
        "a pod of 16 cpu, 256Gi memory, 8 nvidia.com/gpu fits on no node: near comes closest, "
        "with 4 nvidia.com/gpu"
    )


@pytest.mark.parametrize(
    ("resource", "given", "text"),
    [
        ("memory", "12000Gi", "12000Gi"),
        ("memory", "16Ti", "16Ti"),
        ("requests.memory", "512Mi", "512Mi"),
        ("limits.memory", "-64Gi", "-64Gi"),
        ("memory", "64.5Gi", "64.5Gi"),
        ("memory", "0", "0"),
        ("requests.ephemeral-storage", "2Ti", "2Ti"),
        ("cpu", "500m", "0.5"),
        ("pods", "2000000000", "2000000000"),
    ],
)
def test_an_amount_has_the_unit_of_its_resource(resource: str, given: str, text: str):
    assert amount_text(resource, quantity(given)) == text


def cpu_default(cpu: str, kind: str = "Container") -> dict:
    return {"spec": {"limits": [{"type": kind, "default": {"cpu": cpu, "memory": "1Gi"}}]}}


@pytest.mark.parametrize(
    ("ranges", "state", "detail"),
    [
        ([], "missing", "prepare, control, judge set no CPU limit, and no LimitRange has a"),
        ([cpu_default("9", "Pod")], "missing", "no LimitRange has a default"),
        (
            [cpu_default("4")],
            "missing",
            "generate, translate, evaluate set no CPU limit, and the",
        ),
        ([cpu_default("9"), cpu_default("8")], "ok", "a LimitRange sets its CPU limit"),
    ],
)
def test_a_quota_of_cpu_limits_refuses_pods_that_get_none(
    bare: Checked, ranges: list[dict], state: str, detail: str
):
    quota = checked.resource_quota()
    quota["spec"]["hard"] |= {"limits.cpu": "640", "limits.ephemeral-storage": "1Ti"}
    bare.objects[checked.QUOTAS] = {"items": [quota]}
    bare.objects[checked.LIMITS] = {"items": ranges}
    row = bare.check("--only", "capacity")[1]["ResourceQuota lidr"]
    assert row["state"] == state and detail in row["detail"]
    if state == "missing":
        assert row["remedy"] == (
            "kubectl edit resourcequota lidr -n lidr, and remove limits.cpu; or add a LimitRange "
            "with default cpu 8"
        )


@pytest.mark.parametrize(
    ("key", "hard", "used", "state", "detail"),
    [
        ("count/trainjobs.trainer.kubeflow.org", "0", "0", "missing", "0 of 0 are left"),
        ("count/workflows.argoproj.io", "2", "2", "missing", "0 of 2 are left"),
        ("count/jobs.batch", "4", "3", "ok", "pods left for each step"),
        ("count/secrets", "9", "9", "unknown", "nothing is left of count/secrets, which lidr"),
        ("count/secrets", "9", "8", "ok", "for each step; not looked at: count/secrets"),
        ("requests.amd.com/gpu", "0", "0", "ok", "pods left for each step"),
        ("requests.cpu", "16", "20", "missing", "the quota of 16 is exceeded by 4"),
    ],
)
def test_a_quota_is_called_enough_in_what_was_compared_only(
    bare: Checked, key: str, hard: str, used: str, state: str, detail: str
):
    quota = checked.resource_quota()
    quota["spec"]["hard"][key], quota["status"] = hard, {"used": {key: used}}
    bare.objects[checked.QUOTAS] = {"items": [quota]}
    row = bare.check("--only", "capacity")[1]["ResourceQuota lidr"]
    assert row["state"] == state and detail in row["detail"]
    assert row["detail"].endswith(detail) or state in ("missing", "unknown")


def test_a_quota_of_cpu_limits_holds_the_defaults_of_a_limit_range(bare: Checked):
    quota = checked.resource_quota()
    quota["spec"]["hard"]["limits.cpu"] = "40"
    quota["status"] = {"used": {"limits.cpu": "10"}}
    bare.objects[checked.QUOTAS] = {"items": [quota]}
    limits = [{"type": "Container", "default": {"cpu": "32"}}]
    bare.objects[checked.LIMITS] = {"items": [{"spec": {"limits": limits}}]}
    row = bare.check("--only", "capacity")[1]["ResourceQuota lidr"]
    assert row["state"] == "missing"
    assert "gets 32 limits.cpu from a LimitRange, 30 of 40 are left" in row["detail"]


def test_a_quota_of_cpu_limits_is_unknown_where_limit_ranges_may_not_be_read(bare: Checked):
    quota = checked.resource_quota()
    bare.objects[checked.QUOTAS] = {"items": [quota]}
    bare.cluster.kubernetes.forbidden.add(checked.LIMITS)
    _, found, _ = bare.check("--only", "capacity")
    assert unknown(found) == {}, "nobody asks"
    enough = "has enough CPU, memory, GPUs and pods left for each step"
    assert found["ResourceQuota lidr"]["detail"] == enough
    quota["spec"]["hard"]["limits.cpu"] = "640"
    _, found, _ = bare.check("--only", "capacity")
    assert list(unknown(found)) == ["ResourceQuota lidr"]
    quota["spec"]["hard"]["limits.cpu"] = "15"
    row = bare.check("--only", "capacity")[1]["ResourceQuota lidr"]
    detail = "train asks for 16 limits.cpu, 15 of 15 are left"
    assert row["detail"] == detail, "its TrainJob has limits"


@pytest.mark.parametrize(
    ("gpus", "borrowing", "state", "detail"),
    [
        ("8", None, "ok", "has enough in one flavor"),
        ("4", "4", "unknown", "borrow from cohort all, which is not looked at: train asks for 8"),
        ("4", "3", "missing", "can never admit the pods: train asks for 8 nvidia.com/gpu"),
        ("4", None, "unknown", "borrow from cohort all, which is not looked at: train asks for 8"),
    ],
)
def test_a_queue_in_a_cohort_has_what_it_may_borrow(
    bare: Checked, gpus: str, borrowing: str | None, state: str, detail: str
):
    queue = checked.cluster_queue({})
    queue["spec"]["cohortName"] = "all"
    *_, quota = queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    quota |= {"nominalQuota": gpus} | ({"borrowingLimit": borrowing} if borrowing else {})
    bare.objects[checked.CLUSTER_QUEUE] = queue
    row = bare.check("--only", "capacity")[1]["quota of queue lidr"]
    assert row["state"] == state and detail in row["detail"]


@pytest.mark.parametrize(
    ("labels", "state", "detail"),
    [
        ({"pool": "h100", "spot": "true"}, "ok", ""),
        ({"zone": "b"}, "ok", ""),
        ({"pool": "a100"}, "missing", "train wants nodes labelled pool=h100, which no flavor has"),
        (None, "unknown", "may not GET"),
    ],
)
def test_a_flavor_of_other_nodes_is_none(
    bare: Checked, labels: dict | None, state: str, detail: str
):
    steps = read_yaml(bare.cluster.file.read_text())["steps"]
    steps["train"]["node_selector"] = {"pool": "h100"}
    bare.cluster.configure(steps=steps)
    bare.objects[checked.FLAVOR] = {"spec": {"nodeLabels": labels or {}}}
    if labels is None:
        bare.cluster.kubernetes.forbidden.add(checked.FLAVOR)
    row = bare.check("--only", "capacity")[1]["quota of queue lidr"]
    assert row["state"] == state and detail in row["detail"]
    if state == "missing":
        assert "resourceflavors" in row["remedy"] and "correct pools.h100 in" in row["remedy"]
        assert "training.nodes" not in row["remedy"]


def term(key: str, *values: str, weight: int = 0) -> dict:
    return {"match": [{"key": key, "values": list(values)}], "weight": weight}


@pytest.mark.parametrize(
    ("affinity", "state"),
    [
        ([term("pool", "h100")], "missing"),
        ([term("pool", "h100"), term("pool", "a100")], "ok"),
        ([term("pool", "h100"), term("zone", "b")], "ok"),  # Kueue does not know of zones
        ([term("pool", "h100", weight=5)], "ok"),
    ],
    ids=["another label", "one of two", "a label that the flavor does not name", "preferred"],
)
def test_a_flavor_of_other_nodes_than_the_affinity_s_is_none(
    bare: Checked, affinity: list[dict], state: str
):
    steps = read_yaml(bare.cluster.file.read_text())["steps"]
    steps["train"]["affinity"] = affinity
    bare.cluster.configure(steps=steps)
    bare.objects[checked.FLAVOR] = {"spec": {"nodeLabels": {"pool": "a100"}}}
    row = bare.check("--only", "capacity")[1]["quota of queue lidr"]
    assert row["state"] == state
    if state == "missing":
        assert "train wants nodes that match its affinity, which no flavor has" in row["detail"]
        assert "pools.h100 in the profile (node_selector, affinity)" in row["remedy"]


@pytest.mark.parametrize(
    ("taint", "tolerations", "added", "state"),
    [
        (OTHER_TAINT, [], [], "missing"),
        (OTHER_TAINT, [{"key": "team"}], [], "ok"),
        (OTHER_TAINT, [], [{"key": "team", "value": "other"}], "ok"),
        (OTHER_TAINT, [], [{"key": "team", "operator": "Equal", "value": "mine"}], "missing"),
        (OTHER_TAINT | {"effect": "PreferNoSchedule"}, [], [], "ok"),
    ],
    ids=["none", "the step's", "the flavor's", "another of the flavor's", "repels nothing"],
)
def test_a_flavor_whose_taints_are_not_tolerated_is_none(
    bare: Checked, taint: dict, tolerations: list[dict], added: list[dict], state: str
):
    steps = read_yaml(bare.cluster.file.read_text())["steps"]
    for kind in ("train", "generate"):  # the others follow these
        steps[kind]["tolerations"] = tolerations
    bare.cluster.configure(steps=steps)
    bare.objects[checked.FLAVOR] = {"spec": {"nodeTaints": [taint], "tolerations": added}}
    row = bare.check("--only", "capacity")[1]["quota of queue lidr"]
    assert row["state"] == state
    if state == "missing":
        assert "train does not tolerate team=other:NoSchedule of flavor gpu" in row["detail"]
        assert row["remedy"] == (
            "Add to pools.h100.tolerations: {key: team, operator: Exists, effect: NoSchedule}"
        )


@pytest.mark.parametrize(("pods", "state"), [(3, "missing"), (4, "ok")])
def test_a_queue_s_quota_of_pods_is_looked_at(bare: Checked, pods: int, state: str):
    training = read_yaml(bare.cluster.file.read_text())["training"]
    bare.cluster.configure(training=training | {"nodes": 4})
    queue = checked.cluster_queue({})
    (group,) = queue["spec"]["resourceGroups"]
    amounts = {"cpu": "512", "memory": "4Ti", "nvidia.com/gpu": "64", "pods": str(pods)}
    quotas = [{"name": name, "nominalQuota": amount} for name, amount in amounts.items()]
    group |= {"coveredResources": [*amounts]}
    group["flavors"][0]["resources"] = quotas
    bare.objects[checked.CLUSTER_QUEUE] = queue
    row = bare.check("--only", "capacity")[1]["quota of queue lidr"]
    assert row["state"] == state
    if state == "missing":
        assert "train asks for 4 pods, which no flavor has with the rest" in row["detail"]


def test_flavors_that_may_not_be_read_hide_no_shortage(bare: Checked):
    bare.cluster.kubernetes.forbidden.add(checked.FLAVOR)
    row = bare.check("--only", "capacity")[1]["quota of queue lidr"]
    assert row["state"] == "unknown" and "but nothing is known of its nodes" in row["detail"]
    queue = checked.cluster_queue({})
    *_, quota = queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    quota["nominalQuota"] = "4"
    bare.objects[checked.CLUSTER_QUEUE] = queue
    row = bare.check("--only", "capacity")[1]["quota of queue lidr"]
    assert row["state"] == "missing"
    detail = "can never admit the pods: train asks for 8 nvidia.com/gpu, which no flavor has"
    assert detail in row["detail"]
