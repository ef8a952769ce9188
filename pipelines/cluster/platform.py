"""What must be installed in a cluster, in which versions.

Only the standard library is imported here: `manifests/check.py` reads this from a checkout.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

KUBERNETES = (1, 33)


@dataclass(frozen=True)
class PlatformPart:
    """Something that is installed into a cluster.

    Attributes:
        name: its usual name.
        image: pattern that its controller's image matches, up to its tag or digest.
        minimum: oldest version that works.
        crds: the version used here, by CRD.
        install: the command in manifests/README.md that installs it, or "".
        needed_by: name of the part that needs it, for parts that lidr uses only through another.
    """

    name: str
    image: str
    minimum: tuple[int, ...]
    crds: dict[str, str]
    install: str = ""
    needed_by: str = ""

    @property
    def groups(self) -> set[str]:
        """API groups of its kinds."""
        return {crd.partition(".")[2] for crd in self.crds}


_TRAINER = (
    "kubectl apply --server-side -k "
    '"https://github.com/kubeflow/trainer.git/manifests/overlays/manager?ref=v2.3.0"'
)
_KUEUE = (
    "kubectl apply --server-side -f "
    "https://github.com/kubernetes-sigs/kueue/releases/download/v0.18.4/manifests.yaml"
)

KUBEFLOW = PlatformPart(
    "Kubeflow Pipelines",
    r"(kfp-api-server|ml-pipeline/api-server)[:@]",
    (2, 17),
    {},
    'kubectl apply -k "github.com/kubeflow/pipelines/manifests/kustomize/env/platform-agnostic'
    '?ref=2.17.0"',
)
JOBSET = PlatformPart(
    "JobSet",
    r"jobset[:@]",
    (0, 10),
    {"jobsets.jobset.x-k8s.io": "v1alpha2"},
    _TRAINER,
    needed_by="Kubeflow Trainer",
)
TRAINER = PlatformPart(
    "Kubeflow Trainer",
    r"trainer-controller-manager[:@]",
    (2, 3),
    {f"{each}.trainer.kubeflow.org": "v1alpha1" for each in ("trainjobs", "trainingruntimes")},
    _TRAINER,
)
KUEUE = PlatformPart(
    "Kueue",
    r"kueue[:@]",
    (0, 16),
    {
        f"{each}.kueue.x-k8s.io": "v1beta2"
        for each in ("localqueues", "clusterqueues", "resourceflavors")
    },
    _KUEUE,
)

PARTS = (
    PlatformPart("cert-manager", r"cert-manager-controller[:@]", (1, 18), {}, needed_by="KServe"),
    KUBEFLOW,
    JOBSET,
    TRAINER,
    KUEUE,
    PlatformPart(
        "CloudNativePG",
        r"cloudnative-pg[:@]",
        (1, 27),
        {
            "clusters.postgresql.cnpg.io": "v1",
            "scheduledbackups.postgresql.cnpg.io": "v1",
        },
    ),
    PlatformPart(
        "KServe",
        r"kserve-controller[:@]",
        (0, 16),
        {
            "inferenceservices.serving.kserve.io": "v1beta1",
            "servingruntimes.serving.kserve.io": "v1alpha1",
        },
    ),
    PlatformPart(
        "Prometheus operator",
        r"prometheus-operator[:@]",
        (0, 80),
        {f"{each}.monitoring.coreos.com": "v1" for each in ("podmonitors", "prometheusrules")},
    ),
)


def version_of(text: str) -> tuple[int, ...]:
    """Return the numbers of the first version in a text; () if there is none."""
    found = re.search(r"v?(\d+(?:\.\d+)+)", text)
    return tuple(int(each) for each in found[1].split(".")) if found else ()


def version_text(version: tuple[int, ...]) -> str:
    """Return `1.33`."""
    return ".".join(map(str, version))


def running_version(part: PlatformPart, images: list[str]) -> tuple[str, tuple[int, ...]]:
    """Return the image that a part's controller runs, and the version in the image's tag.

    Args:
        part: what is looked for.
        images: of every Deployment in the cluster.

    Returns:
        The image, "" if none matches; the version, () if the tag has none.
    """
    running = next((image for image in images if re.search(part.image, image)), "")
    last = running.partition("@")[0].rpartition("/")[2]  # a registry's port is no tag
    return running, version_of(last.partition(":")[2])


def images_of(deployment: dict[str, Any]) -> list[str]:
    """Return the images of a Deployment (apps/v1)."""
    return [each["image"] for each in deployment["spec"]["template"]["spec"]["containers"]]


def unavailable_deployment(part: PlatformPart, deployments: list[dict[str, Any]]) -> str:
    """Return `NAME -n NAMESPACE` of a part's Deployment without an available pod, or ""."""
    for each in deployments:
        # The condition Available would mislead: True at 0 replicas, False where 1 of 2 serves.
        available = each.get("status", {}).get("availableReplicas")
        if not available and any(re.search(part.image, image) for image in images_of(each)):
            return f"{each['metadata']['name']} -n {each['metadata']['namespace']}"
    return ""
