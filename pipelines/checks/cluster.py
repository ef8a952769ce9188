"""Whether the cluster has what lidr stands on: Kubernetes itself, JobSet, Trainer, Kueue."""

from __future__ import annotations

from collections.abc import Iterator

from lidr.components.shared.core.errors import LidrError
from lidr.pipelines.checks.api import ClusterApi, Denied
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, refused, unknown
from lidr.pipelines.checks.platform import (
    JOBSET,
    KUBERNETES,
    KUEUE,
    TRAINER,
    PlatformPart,
    running_version,
    shown,
    version_of,
)
from lidr.pipelines.checks.resource_requests import asks_of, queues_of


def findings(inputs: CheckInputs, api: ClusterApi) -> Iterator[Finding]:
    """Yield what the API server serves, and the versions of the controllers behind it."""
    try:
        version = api.reach()
    except LidrError as error:
        yield refused("Kubernetes API", error)
        return
    yield ok("Kubernetes API", f"{api.server} answers")
    yield _kubernetes(version)
    images = _images(api)
    for part in _needed(inputs):
        served = _served(part, api)
        yield served
        if served.state == "ok":  # else it is the one thing to mend
            yield _controller(part, images)


def _needed(inputs: CheckInputs) -> list[PlatformPart]:
    trainjobs = [JOBSET, TRAINER] if inputs.profile.training.launcher == "trainjob" else []
    queued = queues_of(asks_of(inputs.recipe, inputs.profile, "", ""))
    return [*trainjobs, *([KUEUE] if queued else [])]


def _kubernetes(told: str) -> Finding:
    name, found = "Kubernetes version", version_of(told)
    if not found:
        return unknown(name, f"{told}; lidr needs {shown(KUBERNETES)} or newer")
    if found[:2] < KUBERNETES:
        old = f"{shown(found)} runs; lidr needs {shown(KUBERNETES)} or newer"
        return missing(name, old, "Upgrade the cluster, or choose another one.")
    return ok(name, shown(found))


def _served(part: PlatformPart, api: ClusterApi) -> Finding:
    """Tell whether a part's kinds are served, in the version that we speak."""
    name = f"{part.name} API"
    for crd, version in part.crds.items():
        plural, _, group = crd.partition(".")
        if api.serves(f"{group}/{version}", plural):
            continue
        known = [each["version"] for each in (api.get(f"/apis/{group}") or {}).get("versions", [])]
        if not known:
            return missing(name, f"{group} is not installed", part.install)
        served = f"{plural} of {group}/{version} is not served; {', '.join(known)} is there"
        return missing(name, served, part.install)
    kinds = ", ".join(crd.partition(".")[0] for crd in part.crds)
    return ok(name, f"{', '.join(sorted(set(part.crds.values())))}: {kinds}")


def _images(api: ClusterApi) -> list[str] | None:
    """Return the images of all Deployments, or None where they may not be listed."""
    try:
        return [
            container["image"]
            for item in api.each("/apis/apps/v1/deployments")
            for container in item["spec"]["template"]["spec"]["containers"]
        ]
    except Denied:
        return None


def _controller(part: PlatformPart, images: list[str] | None) -> Finding:
    name, wanted = f"{part.name} version", f"{shown(part.least)} or newer is needed"
    if images is None:
        return unknown(
            name,
            f"Deployments of the whole cluster may not be listed; {wanted}",
            "Ask an administrator for the output of python3 manifests/check.py.",
        )
    image, found = running_version(part, images)
    if not found:
        told = f"runs as {image}, whose tag tells none" if image else "no controller that we know"
        return unknown(name, f"{told}; {wanted}", "See that its controller runs.")
    if found < part.least:
        return missing(name, f"{shown(found)} runs; {wanted}", part.install)
    return ok(name, shown(found))
