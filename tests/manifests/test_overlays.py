"""What every overlay must hold: schemas, names, labels, images, references."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from referencing import Registry, Resource

from images import build
from lidr.components.shared.config.profile import TrainingPlacement, load_profile
from lidr.components.shared.kubernetes.launch import Launch
from lidr.pipelines.checks.pod_request import quantity
from lidr.pipelines.placement import SETTINGS
from tests import crds
from tests.manifests.rendering import (
    OVERLAYS,
    ROOT,
    SHARED,
    Object,
    containers,
    named,
    namespace_of,
    needs_kubectl,
    overlay,
    pods,
    rendered,
    title,
)
from tests.yaml_text import read_yaml

pytestmark = needs_kubectl

PROFILES = ROOT.parent / "pipelines" / "profiles"

KUBERNETES = ("1.33", "1.37")  # the oldest and the newest that manifests/README.md names
CLUSTER_SCOPED = {"ClusterQueue", "Namespace", "PriorityClass", "ResourceFlavor", "StorageClass"}
CUSTOM = re.compile(r"\.(kubeflow\.org|x-k8s\.io|kserve\.io|cnpg\.io|coreos\.com)/")
IMAGE = re.compile(r"(?:[\w.\-]+/)*[\w.\-]+:[\w.\-]+(@sha256:[0-9a-f]{64})?")

each_overlay = pytest.mark.parametrize("name", OVERLAYS)


@cache
def definitions(kubernetes: str) -> Registry:
    read = kubernetes_validate.utils.schema_contents
    found = read(f"{_folder(kubernetes)}/_definitions.json", kubernetes)
    return Resource.from_contents(found) @ Registry()


@cache
def built_in(kind: str, version: str, kubernetes: str) -> jsonschema.Draft202012Validator:
    """Return the strict validator of a built-in kind, from kubernetes-validate's schemas."""
    group, _, short = version.rpartition("/")
    parts = [kind.lower(), *([group.partition(".")[0]] if group else []), short]
    read = kubernetes_validate.utils.schema_contents
    schema = read(f"{_folder(kubernetes)}/{'-'.join(parts)}.json", kubernetes)
    registry = Resource.from_contents(schema) @ definitions(kubernetes)
    return jsonschema.Draft202012Validator(schema, registry=registry)


def _folder(kubernetes: str) -> str:
    return f"kubernetes-json-schema/v{kubernetes}.0-local-strict"


def problems(item: Object) -> tuple[str, ...]:
    """Return what the API server would have against an object."""
    return _problems(json.dumps(item, sort_keys=True))


@cache
def _problems(text: str) -> tuple[str, ...]:
    """Most objects are equal in all overlays, and are looked at once."""
    item = json.loads(text)
    if CUSTOM.search(item["apiVersion"]):
        return tuple(crds.problems(item))
    return tuple(
        f"{version}: {error.json_path}: {error.message}"
        for version in KUBERNETES
        for error in built_in(item["kind"], item["apiVersion"], version).iter_errors(item)
    )


@each_overlay
def test_every_built_in_object_has_its_kind_s_exact_fields(name: str):
    found = [item for item in overlay(name) if not CUSTOM.search(item["apiVersion"])]
    assert len(found) > 30
    assert {title(item): told for item in found if (told := problems(item))} == {}


@crds.needs_crds
@each_overlay
def test_every_custom_object_has_its_kind_s_exact_fields(name: str):
    found = [item for item in overlay(name) if CUSTOM.search(item["apiVersion"])]
    assert len(found) >= 4
    assert {title(item): told for item in found if (told := problems(item))} == {}


@crds.needs_crds
def test_no_custom_object_is_of_a_deprecated_version():
    used = {(item["apiVersion"], item["kind"]) for name in OVERLAYS for item in overlay(name)}
    for version, kind in used:
        group, _, short = version.partition("/")
        if CUSTOM.search(version):
            (found,) = [each for each in crds.versions(group, kind) if each["name"] == short]
            assert found["served"] and not found.get("deprecated"), f"{version} {kind}"
    old = {each["name"] for each in crds.versions("kueue.x-k8s.io", "LocalQueue")}
    assert "v1beta1" in old, "the check would have seen a deprecated one"


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ("Deployment", lambda item: item["spec"].update(replica=2)),
        ("Deployment", lambda item: item.update(apiVersion="extensions/v1beta1")),
        ("NetworkPolicy", lambda item: item["spec"].update(podSelector="all")),
    ],
)
def test_the_validation_refuses(kind: str, broken: Any):
    item = read_yaml(yaml.safe_dump(next(iter(named(overlay("gke"), kind).values()))))
    broken(item)
    with pytest.raises((AssertionError, FileNotFoundError)):
        assert problems(item) == ()


@each_overlay
def test_namespaces_are_set_where_they_belong_and_nowhere_else(name: str):
    assert {item["kind"] for item in rendered(f"overlays/{name}/cluster")} <= CLUSTER_SCOPED
    for part in ("", "/champion"):
        assert not {item["kind"] for item in rendered(f"overlays/{name}{part}")} & CLUSTER_SCOPED
    for item in overlay(name):
        expected = None if item["kind"] in CLUSTER_SCOPED else namespace_of(name)
        assert item["metadata"].get("namespace") == expected, title(item)
        for subject in item.get("subjects", []):
            assert subject["namespace"] == namespace_of(name)
    (queue,) = named(overlay(name), "ClusterQueue").values()
    (selected,) = queue["spec"]["namespaceSelector"]["matchLabels"].values()
    assert selected == namespace_of(name)


@pytest.mark.parametrize("name", [each for each in OVERLAYS if each != SHARED])
def test_the_namespace_admits_restricted_pods_only_and_is_a_profile_s_to_kubeflow(name: str):
    """Kubeflow's NetworkPolicy lets `part-of: kubeflow-profile` into its object store."""
    labels = named(overlay(name), "Namespace")["lidr"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels["app.kubernetes.io/part-of"] == "kubeflow-profile"


def test_what_is_kubeflow_s_in_a_shared_namespace_stays_as_it_is():
    """Bounds, defaults and accounts there are those of Kubeflow's own pods, too."""
    objects = overlay(SHARED)
    for kind in ("Namespace", "ResourceQuota", "LimitRange"):
        assert named(objects, kind) == {}
    for item in objects:
        assert item["metadata"]["name"].startswith("lidr"), title(item)


@each_overlay
def test_every_pod_is_labelled_as_lidr_s(name: str):
    for what, template in pods(overlay(name)):
        assert template["metadata"]["labels"]["app.kubernetes.io/part-of"] == "lidr", what
    for item in named(overlay(name), "Cluster").values():
        labels = item["spec"]["inheritedMetadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "lidr"


@each_overlay
def test_the_champion_is_applied_by_itself(name: str):
    """It is for when there is something to serve: until then nothing waits or fails."""
    without = {title(item) for item in rendered(f"overlays/{name}")}
    servers = ("Deployment/lidr-champion", "CronJob/lidr-champion", "InferenceService/")
    assert not [what for what in without if what.startswith(servers)]
    alone = {title(item) for item in rendered(f"overlays/{name}/champion")}
    assert "CronJob/lidr-champion-follower" in alone
    assert not alone & without


@each_overlay
def test_nothing_is_applied_that_cannot_be_applied_again(name: str):
    """A Job's template never changes, so another image tag would be refused."""
    assert named(overlay(name), "Job") == {}


@each_overlay
def test_volumes_of_the_object_store_fit_its_disk_many_times(name: str):
    for item in named(overlay(name), "StatefulSet").values():
        (container,) = item["spec"]["template"]["spec"]["containers"]
        if container["name"] != "seaweedfs":
            continue
        (claim,) = item["spec"]["volumeClaimTemplates"]
        disk = quantity(claim["spec"]["resources"]["requests"]["storage"]) / 2**20
        (size,) = [int(each["value"]) for each in container["env"] if each["name"] == "VOLUME_MB"]
        assert size == min(disk / 40, 30_000)


@each_overlay
def test_nothing_is_there_twice_and_everything_is_labelled(name: str):
    objects = overlay(name)
    assert [key for key, count in Counter(map(title, objects)).items() if count > 1] == []
    for item in objects:
        if item["kind"] != "Namespace":  # there it is the platform's
            assert item["metadata"]["labels"]["app.kubernetes.io/part-of"] == "lidr", title(item)


@each_overlay
def test_every_image_has_a_tag_and_a_place_for_its_digest(name: str):
    slots = {each["name"]: each for each in _kustomization("components/images")["images"]}
    text = (ROOT / "components/images/kustomization.yaml").read_text("utf-8")
    assert text.count("newTag:") == text.count("digest: sha256:") == len(slots) == 4
    ours = {each["newName"] for each in slots.values()} | set(slots)
    for what, template in pods(overlay(name)):
        for container in containers(template["spec"]):
            image = container["image"]
            assert IMAGE.fullmatch(image) and ":latest" not in image, f"{what}: {image}"
            assert image.split(":")[0] in ours or "@sha256:" in image, f"{what}: {image}"
    for item in named(overlay(name), "Cluster").values():
        assert "@sha256:" in item["spec"]["imageName"]


@each_overlay
def test_every_image_of_lidr_s_is_tagged_as_make_images_does(name: str):
    found = [
        container["image"]
        for _, template in pods(overlay(name))
        for container in containers(template["spec"])
        if "lidr/" in container["image"]
    ]
    assert found
    assert {image.rpartition(":")[2] for image in found} == {build.version()}


def _kustomization(folder: str) -> Object:
    return read_yaml((ROOT / folder / "kustomization.yaml").read_text("utf-8"))


@each_overlay
def test_selectors_find_the_pods_they_are_meant_for(name: str):
    objects = overlay(name)
    labels = [template["metadata"]["labels"] for _, template in pods(objects)]
    labels += [{"app.kubernetes.io/name": key} for key in named(objects, "Cluster")]
    for item in objects:
        for selector in _selectors(item):
            assert any(selector.items() <= each.items() for each in labels), title(item)
        if item["kind"] in ("Deployment", "StatefulSet"):
            own = item["spec"]["template"]["metadata"]["labels"]
            assert item["spec"]["selector"]["matchLabels"].items() <= own.items(), title(item)


def _selectors(item: Object) -> Iterator[dict[str, str]]:
    """Yield the labels that an object looks for among this namespace's pods."""
    spec = item.get("spec", {})
    if item["kind"] == "Service":
        yield spec["selector"]
    if item["kind"] in ("PodDisruptionBudget", "PodMonitor"):
        yield spec["selector"]["matchLabels"]
    if item["kind"] == "NetworkPolicy" and "matchLabels" in spec["podSelector"]:
        yield spec["podSelector"]["matchLabels"]


@each_overlay
def test_ports_that_are_named_exist(name: str):
    objects = overlay(name)
    for item in named(objects, "Service").values():
        for template in (template for _, template in pods(objects)):
            if item["spec"]["selector"].items() <= template["metadata"]["labels"].items():
                ports = {
                    port["name"] for each in containers(template["spec"]) for port in _ports(each)
                }
                assert {port["targetPort"] for port in item["spec"]["ports"]} <= ports


def _ports(container: Object) -> list[Object]:
    return container.get("ports", [])


def _references(value: Any) -> Iterator[tuple[str, str]]:
    """Yield kind and name of every Secret, ConfigMap and claim that an object names."""
    if isinstance(value, list):
        for each in value:
            yield from _references(each)
    if not isinstance(value, dict):
        return
    for key, each in value.items():
        if key in ("secretRef", "secretKeyRef"):
            yield "Secret", each["name"]
        elif key in ("configMapRef", "configMapKeyRef", "configMap") and isinstance(each, dict):
            yield "ConfigMap", each["name"]
        elif key == "secret" and isinstance(each, dict):
            yield "Secret", each["secretName"]
        elif key == "persistentVolumeClaim" and isinstance(each, dict):
            yield "PersistentVolumeClaim", each["claimName"]
        else:
            yield from _references(each)


OPERATORS_OWN = {("Secret", "lidr-postgres-app")}  # CloudNativePG makes it


@each_overlay
def test_what_is_referenced_is_declared_or_documented(name: str):
    objects = overlay(name)
    contracts = set(re.findall(r"^\| `(lidr-[\w-]+)` \|", _readme(), re.MULTILINE))
    declared = {(each["kind"], each["metadata"]["name"]) for each in objects}
    declared |= {("Secret", secret) for secret in contracts} | OPERATORS_OWN
    wanted = {found for item in objects for found in _references(item)}
    wanted |= {
        ("ServiceAccount", template["spec"]["serviceAccountName"]) for _, template in pods(objects)
    }
    wanted |= {
        ("PriorityClass", found)
        for _, template in pods(objects)
        if (found := template["spec"].get("priorityClassName"))
    }
    wanted |= {
        (subject["kind"], subject["name"]) for each in objects for subject in _subjects(each)
    }
    assert len(wanted) > 12
    assert wanted - declared == set()


def _subjects(item: Object) -> list[Object]:
    return item.get("subjects", [])


def _readme() -> str:
    return (ROOT / "README.md").read_text("utf-8")


def test_no_secret_is_written_anywhere():
    for name in OVERLAYS:
        assert named(overlay(name), "Secret") == {}


@each_overlay
def test_the_shipped_profile_s_names_are_the_manifests_names(name: str):
    profile = load_profile(PROFILES / "cluster.yaml")
    objects = overlay(name)
    assert profile.namespace == "lidr"
    assert profile.service_account in named(objects, "ServiceAccount")
    assert set(profile.config_maps) <= set(named(objects, "ConfigMap"))
    assert profile.training.runtime == TrainingPlacement().runtime
    assert profile.training.runtime in named(objects, "TrainingRuntime")
    assert Launch.of(profile).queue in named(objects, "LocalQueue")
    (port,) = named(objects, "Service")["lidr-mlflow"]["spec"]["ports"]
    assert profile.tracking_uri == f"http://lidr-mlflow.lidr:{port['port']}"
    for secret, keys in profile.secrets.items():
        row = re.search(rf"^\| `{secret}` \|.*$", _readme(), re.MULTILINE)
        assert row and all(f"`{key}`" in row.group() for key in keys), secret


def test_the_shipped_spot_pool_is_the_flavor_of_the_manifests():
    profile = load_profile(PROFILES / "cluster.yaml", PROFILES / "spot.yaml")
    flavor = named(overlay("openshift"), "ResourceFlavor")["lidr-gpu-spot"]["spec"]
    pool = profile.resources_of("evaluate")
    assert pool.node_selector.items() <= flavor["nodeLabels"].items()
    given = [
        t.model_dump(exclude_defaults=True) | {"operator": t.operator} for t in pool.tolerations
    ]
    assert given == flavor["tolerations"]
    assert pool.queue in named(overlay("openshift"), "LocalQueue")


@each_overlay
def test_steps_and_ranks_get_the_environment_of_the_overlay(name: str):
    """KFP hands over named keys alone, so a key that placement does not know would be lost."""
    assert set(named(overlay(name), "ConfigMap")["lidr-environment"]["data"]) <= set(SETTINGS)


@each_overlay
def test_queues_lead_to_flavors_that_exist(name: str):
    objects = overlay(name)
    (queue,) = named(objects, "LocalQueue").values()
    (cluster_queue,) = named(objects, "ClusterQueue").values()
    assert queue["spec"]["clusterQueue"] == cluster_queue["metadata"]["name"]
    flavors = {
        each["name"]
        for group in cluster_queue["spec"]["resourceGroups"]
        for each in group["flavors"]
    }
    assert flavors == set(named(objects, "ResourceFlavor"))


POOLS = {
    "gke": ("cloud.google.com/gke-accelerator", "cloud.google.com/gke-spot"),
    "eks": ("karpenter.k8s.aws/instance-gpu-name", "karpenter.sh/capacity-type"),
    "aks": ("kubernetes.azure.com/accelerator", "kubernetes.azure.com/scalesetpriority"),
    "openshift": ("nvidia.com/gpu.product", "lidr.dev/spot"),
}


@pytest.mark.parametrize("name", POOLS)
def test_gpu_pools_are_told_by_the_cloud_s_own_labels(name: str):
    accelerator, spot = POOLS[name]
    flavors = named(overlay(name), "ResourceFlavor")
    on_demand, cheap = (flavors[key]["spec"] for key in ("lidr-gpu", "lidr-gpu-spot"))
    assert accelerator in on_demand["nodeLabels"] and accelerator in cheap["nodeLabels"]
    assert on_demand["nodeLabels"].get(spot) != cheap["nodeLabels"][spot]
    keys = [each["key"] for each in cheap["tolerations"]]
    assert keys[0] == "nvidia.com/gpu" and len(keys) == 2


def test_settings_of_components_are_patched_as_the_page_says(tmp_path):
    page = (ROOT / "README.md").read_text("utf-8")
    printed = page.split("## Components")[1].split("```yaml\n")[1].split("```")[0]
    here = os.path.relpath(ROOT / "components", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(printed.replace("../../components", here))
    objects = rendered(str(tmp_path))
    maps = {
        each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"
    }
    told = next(data for name, data in maps.items() if name.startswith("lidr-notices-"))
    file = tmp_path / "profile.yaml"
    file.write_text(told["profile.yaml"])
    assert load_profile(file).notify.waiting_minutes == 30
    settings = next(
        data for name, data in maps.items() if name.startswith("lidr-prune-") and "mode" in data
    )
    assert (settings["mode"], settings["store"]) == ("yes", "s3://team/lidr")
    used = json.dumps([each for each in objects if each["kind"] != "ConfigMap"])
    assert all(f'"{name}"' in used for name in maps), "pods keep the name of another ConfigMap"
