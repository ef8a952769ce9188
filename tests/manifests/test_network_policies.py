"""Who reaches whom: the rendered NetworkPolicies, decided as a network plugin decides them."""

from __future__ import annotations

import pytest

from tests.manifests.rendering import OVERLAYS, Object, named, needs_kubectl, overlay, pods

pytestmark = needs_kubectl

PIPELINE = {"workflows.argoproj.io/workflow": "lidr-tiny-world-x1"}
RANK = {"jobset.sigs.k8s.io/jobset-name": "lidr-train-0123456789abcdef"}
STRANGER = {"app": "somebody-else"}


def server(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name}


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """Decide a label selector."""
    for each in selector.get("matchExpressions", []):
        value = labels.get(each["key"])
        if each["operator"] == "Exists" and value is None:
            return False
        if each["operator"] == "In" and value not in each["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def _open(objects: tuple[Object, ...], direction: str, pod: dict, peer: dict, port: int) -> bool:
    """Tell whether a pod's policies let a peer of the same namespace through in one direction."""
    key = "from" if direction == "ingress" else "to"
    for policy in named(objects, "NetworkPolicy").values():
        spec = policy["spec"]
        if direction.title() not in spec["policyTypes"] or not matches(spec["podSelector"], pod):
            continue
        for rule in spec.get(direction, []):
            ports = {each["port"] for each in rule.get("ports", [])}
            inside = [
                each["podSelector"]
                for each in rule[key]
                if "podSelector" in each and "namespaceSelector" not in each
            ]
            if (not ports or port in ports) and any(matches(each, peer) for each in inside):
                return True
    return False


def reaches(objects: tuple[Object, ...], source: dict, target: dict, port: int) -> bool:
    """Tell whether one pod of the namespace reaches another: both sides must let it."""
    out = _open(objects, "egress", source, target, port)
    return out and _open(objects, "ingress", target, source, port)


@pytest.mark.parametrize("name", OVERLAYS)
def test_everything_is_denied_that_is_not_named(name: str):
    deny = named(overlay(name), "NetworkPolicy")["default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in named(overlay(name), "NetworkPolicy").values():
        for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
            assert rule.get("from") or rule.get("to"), f"{policy['metadata']['name']} is wide open"


@pytest.mark.parametrize("name", OVERLAYS)
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
    if "lidr-object-store" in named(objects, "StatefulSet"):
        clients = (PIPELINE, RANK, server("lidr-champion"), server("lidr-bucket"))
        wanted += [(client, server("lidr-object-store"), 8333) for client in clients]
    for source, target, port in wanted:
        assert reaches(objects, source, target, port), f"{source} to {target}:{port}"


@pytest.mark.parametrize("name", OVERLAYS)
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


@pytest.mark.parametrize("name", OVERLAYS)
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
