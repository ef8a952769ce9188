"""Pod Security's *restricted* profile, control by control, and what kube-linter asks of pods.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.manifests.rendering import (
    OVERLAYS,
    ROOT,
    Object,
    containers,
    named,
    needs_kubectl,
    overlay,
    pods,
)
from tests.yaml_text import read_yaml

pytestmark = needs_kubectl

VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}
SERVERS = ("Deployment", "StatefulSet", "InferenceService")

each_overlay = pytest.mark.parametrize("name", OVERLAYS)


def violations(pod: Object) -> Iterator[str]:
    """Yield what the restricted profile (and baseline, which it includes) forbids in a pod."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield key
    for volume in pod.get("volumes", []):
        if kinds := set(volume) - {"name"} - VOLUMES:
            yield f"volume of kind {kinds}"
    shared = pod.get("securityContext", {})
    for container in containers(pod):
        own = container.get("securityContext", {})
        found = {**shared, **own}
        if own.get("allowPrivilegeEscalation") is not False:
            yield "allowPrivilegeEscalation"
        if own.get("privileged"):
            yield "privileged"
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
            yield "capabilities"
        if found.get("runAsNonRoot") is not True or found.get("runAsUser") == 0:
            yield "runAsNonRoot"
        if found.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield "seccompProfile"
        if {"procMount", "seLinuxOptions", "windowsOptions", "sysctls"} & set(found):
            yield "procMount, seLinuxOptions, windowsOptions or sysctls"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield "hostPort"


@each_overlay
def test_every_pod_keeps_to_the_restricted_profile(name: str):
    found = dict(pods(overlay(name)))
    assert len(found) >= 4
    assert {what: told for what, pod in found.items() if (told := [*violations(pod["spec"])])} == {}


BROKEN = [
    ("hostNetwork", lambda pod: pod.update(hostNetwork=True)),
    ("volume", lambda pod: pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    ("capabilities", lambda pod: _own(pod)["capabilities"].update(add=["SYS_ADMIN"])),
    ("allowPrivilegeEscalation", lambda pod: _own(pod).pop("allowPrivilegeEscalation")),
    ("runAsNonRoot", lambda pod: _own(pod).update(runAsNonRoot=False)),
    ("seccompProfile", lambda pod: pod["securityContext"].pop("seccompProfile")),
]


def _own(pod: Object) -> Object:
    return pod["containers"][0]["securityContext"]


@pytest.mark.parametrize(("control", "broken"), BROKEN, ids=[each for each, _ in BROKEN])
def test_a_pod_that_breaks_a_control_is_found(control: str, broken):
    pod = named(overlay("gke"), "Deployment")["lidr-mlflow"]["spec"]["template"]["spec"]
    pod = read_yaml(yaml.safe_dump(pod))
    assert list(violations(pod)) == []
    broken(pod)
    assert control in " ".join(violations(pod))


@each_overlay
def test_containers_write_only_where_a_volume_is(name: str):
    for what, template in pods(overlay(name)):
        pod = template["spec"]
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        volumes |= _claimed(name, what)
        for container in containers(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, what
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes, what


def _claimed(name: str, what: str) -> set[str]:
    found = named(overlay(name), "StatefulSet").get(what.removeprefix("StatefulSet/"))
    claims = found["spec"]["volumeClaimTemplates"] if found else []
    return {each["metadata"]["name"] for each in claims}


@each_overlay
def test_containers_ask_for_what_they_need_and_are_bound(name: str):
    for what, template in pods(overlay(name)):
        for container in containers(template["spec"]):
            requests, limits = (container["resources"][key] for key in ("requests", "limits"))
            assert {"cpu", "memory"} <= set(requests) & set(limits), what
            assert requests["memory"] == limits["memory"], f"{what}: memory is not compressible"


@each_overlay
def test_servers_are_probed_and_survive_a_drain(name: str):
    objects = overlay(name)
    for what, template in pods(objects):
        if not what.startswith(SERVERS):
            continue
        for container in template["spec"]["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), what
    for what, item in named(objects, "Deployment").items():
        if item["spec"].get("replicas", 2) > 1:
            assert what in named(objects, "PodDisruptionBudget")


def test_no_server_is_kept_from_being_drained():
    """A budget that lets nobody go stops every upgrade of the nodes."""
    for name in OVERLAYS:
        for budget in named(overlay(name), "PodDisruptionBudget").values():
            spec = budget["spec"]
            deployment = named(overlay(name), "Deployment")[budget["metadata"]["name"]]["spec"]
            assert spec.get("maxUnavailable") or spec["minAvailable"] < deployment["replicas"]


API_USERS = ("CronJob/lidr-champion-follower", "Deployment/lidr-notices")


@each_overlay
def test_tokens_are_mounted_only_where_the_api_is_used(name: str):
    for what, template in pods(overlay(name)):
        mounted = template["spec"]["automountServiceAccountToken"]
        assert mounted == (what in API_USERS), what
        assert template["spec"].get("enableServiceLinks", False) is False, what


def test_every_skipped_check_has_a_reason_beside_it():
    lines = [
        line.strip()
        for path in Path(ROOT).rglob("*.yaml")
        for line in path.read_text("utf-8").splitlines()
        if "checkov.io/skip" in line
    ]
    assert len(lines) > 5
    for line in lines:
        _, _, reason = line.partition("=")
        assert len(reason.split()) >= 6, line
