"""Who reaches whom: the rendered NetworkPolicies, decided as a network plugin decides them."""

from __future__ import annotations

import pytest

from lidr.pipelines.placement import OWN_LABEL
from tests.manifests.rendering import OVERLAYS, SHARED, Object, named, needs_kubectl, overlay, pods

pytestmark = needs_kubectl

WORKFLOW = {"workflows.argoproj.io/workflow": "lidr-tiny-world-x1"}
DRIVER = WORKFLOW
"""Kubeflow's own pods of a run carry Argo's label alone."""
PIPELINE = WORKFLOW | OWN_LABEL
RANK = {"jobset.sigs.k8s.io/jobset-name": "lidr-train-0123456789abcdef"} | OWN_LABEL
STRANGER = {"app": "somebody-else"}
KUBEFLOW = {"app": "ml-pipeline"}
OF_KUBEFLOW = (8080, 8887, 8888, 8333, 9000)
"""Metadata, API (gRPC and HTTP), object store (SeaweedFS and MinIO)."""

each_overlay = pytest.mark.parametrize("name", OVERLAYS)
dedicated = pytest.mark.parametrize("name", [each for each in OVERLAYS if each != SHARED])


def server(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name} | OWN_LABEL


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """Decide a label selector."""
    for each in selector.get("matchExpressions", []):
        value = labels.get(each["key"])
        if each["operator"] == "Exists" and value is None:
            return False
        if each["operator"] == "In" and value not in each["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def _selecting(objects: tuple[Object, ...], direction: str, pod: dict[str, str]) -> list[Object]:
    """Return the policies that bind a pod in one direction."""
    found = [policy["spec"] for policy in named(objects, "NetworkPolicy").values()]
    return [
        spec
        for spec in found
        if direction.title() in spec["policyTypes"] and matches(spec["podSelector"], pod)
    ]


def _open(
    objects: tuple[Object, ...], direction: str, pod: dict, peer: dict, port: int, namespace: str
) -> bool:
    """Tell whether a pod's policies let a peer through; `namespace` is "" for the pod's own."""
    policies = _selecting(objects, direction, pod)
    key = "from" if direction == "ingress" else "to"
    rules = [rule for spec in policies for rule in spec.get(direction, [])]
    return not policies or any(
        port in {each["port"] for each in rule.get("ports", [{"port": port}])}
        and any(_is_peer(each, peer, namespace) for each in rule[key])
        for rule in rules
    )


def _is_peer(peer: Object, labels: dict[str, str], namespace: str) -> bool:
    if "podSelector" not in peer and "namespaceSelector" not in peer:
        return False  # a block of addresses
    selector = peer.get("namespaceSelector")
    if selector is None and namespace:
        return False
    own = {"kubernetes.io/metadata.name": namespace or "its own"}
    if selector is not None and not matches(selector, own):
        return False
    return matches(peer.get("podSelector", {}), labels)


def reaches(
    objects: tuple[Object, ...], source: dict, target: dict, port: int, namespace: str = ""
) -> bool:
    """Tell whether a pod reaches another: both sides must let it, those of the namespace here."""
    out = _open(objects, "egress", source, target, port, namespace)
    return out and (bool(namespace) or _open(objects, "ingress", target, source, port, ""))


@dedicated
def test_everything_is_denied_in_lidr_s_own_namespace_that_is_not_named(name: str):
    deny = named(overlay(name), "NetworkPolicy")["lidr-default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@each_overlay
def test_no_rule_is_wide_open(name: str):
    for policy in named(overlay(name), "NetworkPolicy").values():
        for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
            assert rule.get("from") or rule.get("to"), f"{policy['metadata']['name']} is wide open"


def test_in_a_shared_namespace_only_lidr_s_pods_are_bound():
    """Kubeflow's servers, its drivers and others' pipelines go on as before."""
    objects = overlay(SHARED)
    for labels in (KUBEFLOW, STRANGER, DRIVER, {"jobset.sigs.k8s.io/jobset-name": "theirs"}):
        for direction in ("ingress", "egress"):
            assert _selecting(objects, direction, labels) == []
    for labels in (
        PIPELINE,
        RANK,
        *(template["metadata"]["labels"] for _, template in pods(objects)),
    ):
        for direction in ("ingress", "egress"):
            assert _selecting(objects, direction, labels) != []


@each_overlay
def test_steps_and_drivers_reach_kubeflow(name: str):
    """Executor and launcher store artifacts; driver and launcher ask API and metadata."""
    namespace = "" if name == SHARED else "kubeflow"
    for source in (PIPELINE, DRIVER):
        for port in OF_KUBEFLOW:
            assert reaches(overlay(name), source, KUBEFLOW, port, namespace), port
    assert not reaches(overlay(name), PIPELINE, KUBEFLOW, 3306, namespace)
    assert not reaches(overlay(name), PIPELINE, KUBEFLOW, 8888, "elsewhere")


@each_overlay
def test_those_who_must_meet_do(name: str):
    objects = overlay(name)
    champion = 8080 if named(objects, "InferenceService") else 8000
    wanted = [
        (PIPELINE, server("lidr-mlflow"), 5000),
        (PIPELINE, server("lidr-champion"), champion),
        (server("lidr-champion-follower"), server("lidr-mlflow"), 5000),
        (server("lidr-mlflow"), server("lidr-postgres"), 5432),
        (RANK, RANK, 29500),
    ]
    if "lidr-prune" in named(objects, "CronJob"):
        wanted.append((server("lidr-prune"), server("lidr-mlflow"), 5000))
    if "lidr-object-store" in named(objects, "StatefulSet"):
        clients = (PIPELINE, RANK, server("lidr-champion"))
        if "lidr-notices" in named(objects, "Deployment"):
            clients += (server("lidr-notices"), server("lidr-prune"))
        wanted += [(client, server("lidr-object-store"), 8333) for client in clients]
    for source, target, port in wanted:
        assert reaches(objects, source, target, port), f"{source} to {target}:{port}"


@each_overlay
def test_who_looks_at_runs_reaches_kubeflow_and_prometheus_reaches_it(name: str):
    objects = overlay(name)
    if "lidr-notices" not in named(objects, "Deployment"):
        return
    looks = server("lidr-notices")
    for source in (looks, server("lidr-prune")):
        assert reaches(objects, source, KUBEFLOW, 8888, "kubeflow")
        assert not reaches(objects, source, KUBEFLOW, 8887, "kubeflow")
    (policy,) = [each for each in _selecting(objects, "ingress", looks) if each.get("ingress")]
    (rule,) = policy["ingress"]
    assert [each["port"] for each in rule["ports"]] == [9464]


@each_overlay
def test_nobody_else_does(name: str):
    objects = overlay(name)
    targets = [template["metadata"]["labels"] for _, template in pods(objects)]
    ports = (22, 443, 5000, 5432, 8000, 8080, 8333, 9333, 29500)
    for target in [*targets, server("lidr-postgres")]:
        for port in ports:
            assert not reaches(objects, STRANGER, target, port)
    for source in (RANK, server("lidr-champion"), server("lidr-object-store")):
        assert not reaches(objects, source, server("lidr-mlflow"), 5000)
        assert not reaches(objects, source, server("lidr-postgres"), 5432)
    assert not reaches(objects, PIPELINE, server("lidr-postgres"), 5432)
    assert not reaches(objects, PIPELINE, RANK, 29500)
    assert not reaches(objects, PIPELINE, server("lidr-object-store"), 9333)


@each_overlay
def test_nobody_gets_at_the_cloud_s_metadata_server(name: str):
    """Ports 80 and 443 of 169.254.169.254 hand out the node's own keys; DNS there is no harm."""
    for policy in named(overlay(name), "NetworkPolicy").values():
        for rule in policy["spec"].get("egress", []):
            for peer in rule["to"]:
                block = peer.get("ipBlock", {})
                if block.get("cidr") == "0.0.0.0/0":
                    assert block["except"] == ["169.254.0.0/16"]
                elif block:
                    assert {each["port"] for each in rule["ports"]} == {53}
