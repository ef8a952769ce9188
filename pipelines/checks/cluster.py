"""Whether the cluster has what lidr needs: Kubernetes, Kubeflow Pipelines, JobSet, Trainer, Kueue.

Also which namespaces a run's pods will be in, for the checks of namespaces and capacity.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from lidr.components.shared.config import yaml_text
from lidr.components.shared.core.errors import LidrError
from lidr.pipelines.checks.argo import CONFIG_MAP, argo_settings, retry_strategy
from lidr.pipelines.checks.capacity import queues_of, requests_of
from lidr.pipelines.checks.finding import (
    KFP_SERVICE,
    CheckInputs,
    Finding,
    FoundNamespaces,
    missing,
    ok,
    refused,
    unknown,
)
from lidr.pipelines.cluster.api import ClusterApi, Denied, Object
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.platform import (
    JOBSET,
    KUBEFLOW,
    KUBERNETES,
    KUEUE,
    TRAINER,
    PlatformPart,
    images_of,
    running_version,
    unavailable_deployment,
    version_of,
    version_text,
)
from lidr.pipelines.step_kinds import kinds_of

_POD_NAMESPACE = "namespace of pods"
_KFP_SERVICE = re.compile(rf"{KFP_SERVICE}|ds-pipeline-[a-z0-9-]+")
"""Names of the Service of Kubeflow Pipelines' API; the second is Open Data Hub's, one a project."""
_SINGLE_USER = "Kubeflow Pipelines is for one user, and starts pods in its own namespace"
_OVERLAYS = "manifests/README.md, Where lidr goes, says which overlay belongs there"

_ARGO_RETRIES = "retries by Argo"
_FAILED = "a step that ends with an error"
_LOST = "a pod that is deleted, evicted or lost with its node"
_POLICIES = {
    "OnError": (f"{_LOST} is recreated", f"{_FAILED} is not, whatever retries says"),
    "OnFailure": (f"{_FAILED} is tried again", f"{_LOST} is not"),
    "Always": (f"{_FAILED} is tried again", f"and {_LOST} is recreated"),
    "OnTransientError": ("what Argo takes for a transient error is tried again", "nothing else is"),
}
_OTHER_POLICY = ("lidr does not know this policy", "see Argo's documentation")
_DEFAULT_POLICY = "OnFailure"
"""Argo's default for a retryStrategy that names no policy."""


class NamespaceFinder:
    """Determines a run's namespaces, once for all subjects.

    Args:
        inputs: what is to run.
        api: the cluster; it must be reached before `find` is called.
    """

    def __init__(self, inputs: CheckInputs, api: ClusterApi) -> None:
        self._inputs = inputs
        self._api = api
        self._lock = threading.Lock()
        self._found: FoundNamespaces | None = None

    def find(self) -> FoundNamespaces:
        """Return the namespaces."""
        with self._lock:
            if self._found is None:
                self._found = self._find()
            return self._found

    def _find(self) -> FoundNamespaces:
        profile = self._inputs.profile
        pods, training = self._api.namespaces(profile)
        kubeflow, service = self._kubeflow(pods)
        try:
            multi_user = Client(profile, self._inputs.request_seconds).multi_user
        except LidrError:
            detail = f"Kubeflow Pipelines does not say if it has several users; {pods} is checked"
            finding = unknown(_POD_NAMESPACE, detail)
            return FoundNamespaces(pods, training, kubeflow, finding, service)
        if multi_user:
            detail = f"{pods}; Kubeflow Pipelines is for several users"
            return FoundNamespaces(pods, training, kubeflow, ok(_POD_NAMESPACE, detail), service)
        if not kubeflow:
            detail = f"{_SINGLE_USER}, which cannot be seen from here; {pods} is checked"
            remedy = "kubectl get services -A shows where ml-pipeline is; set namespace to it"
            return FoundNamespaces(pods, training, "", unknown(_POD_NAMESPACE, detail, remedy))
        named = profile.kubeflow.namespace or profile.namespace
        if not named or named == kubeflow:
            training = profile.namespace or kubeflow
            finding = ok(_POD_NAMESPACE, f"{kubeflow}; {_SINGLE_USER}")
            return FoundNamespaces(kubeflow, training, kubeflow, finding, service)
        detail = f"{_SINGLE_USER}, {kubeflow}; the profile says {named}"
        remedy = f"Set namespace to {kubeflow} in the profile (LIDR_NAMESPACE). {_OVERLAYS}"
        finding = missing(_POD_NAMESPACE, detail, remedy)
        return FoundNamespaces(kubeflow, kubeflow, kubeflow, finding, service)

    def _kubeflow(self, pods: str) -> tuple[str, str]:
        """Return the namespace of Kubeflow Pipelines ("" if unknown) and its API's Service."""
        host = urlsplit(self._inputs.profile.kubeflow.host).hostname or ""
        service, namespace, *rest = [*host.split("."), ""]
        if _KFP_SERVICE.fullmatch(service) and namespace and rest[0] in ("", "svc"):
            return namespace, service  # else a name outside the cluster, e.g. a route's
        found = self._kubeflow_services()
        if pods not in found and len(found) != 1:
            return "", KFP_SERVICE
        namespace = pods if pods in found else next(iter(found))
        return namespace, found[namespace]

    def _kubeflow_services(self) -> dict[str, str]:
        """Return the Service of Kubeflow Pipelines' API in each namespace that has one.

        Where the user may not list the Services of the whole cluster, only the run's namespaces and
        `kubeflow` are searched.
        """
        with suppress(Denied):
            return _apis_among(self._api.items("/api/v1/services"))
        found: dict[str, str] = {}
        for namespace in dict.fromkeys((*self._api.namespaces(self._inputs.profile), "kubeflow")):
            place = f"/api/v1/namespaces/{namespace}/services"
            try:
                found |= _apis_among(self._api.items(place))
            except Denied:  # the user may still be allowed to read the usual one
                with suppress(Denied):
                    if self._api.get(f"{place}/{KFP_SERVICE}"):
                        found[namespace] = KFP_SERVICE
        return found


def _apis_among(services: Iterable[Object]) -> dict[str, str]:
    """Return which of the Services are those of Kubeflow Pipelines' APIs, by namespace."""
    found: dict[str, str] = {}
    for each in services:
        name, namespace = each["metadata"]["name"], each["metadata"]["namespace"]
        if _KFP_SERVICE.fullmatch(name):
            # Open Data Hub's other Services, e.g. ds-pipeline-ui-NAME, have longer names
            found[namespace] = min(name, found.get(namespace, name), key=len)
    return found


def kubeflow_findings(
    inputs: CheckInputs, api: ClusterApi, finder: NamespaceFinder
) -> Iterator[Finding]:
    """Yield whether Kubeflow Pipelines accepts requests, its version, and what Argo will retry."""
    name = "Kubeflow Pipelines API"
    try:
        client = Client(inputs.profile, inputs.request_seconds)
        client.check()
        version = client.version()
    except LidrError as error:
        yield refused(name, error)
        return
    whose = f"namespace {client.namespace}" if client.namespace else "for one user"
    yield ok(name, f"{client.host} accepts requests ({whose})")
    yield _kubeflow_version(version)
    if api.is_reached():
        yield _retries(inputs, api, finder.find().kubeflow)


def _kubeflow_version(text: str) -> Finding:
    name, needed = "Kubeflow Pipelines version", (KUBEFLOW.minimum, KUBEFLOW.install)
    return _compared(name, version_of(text), *needed, "it does not say")


def _compared(
    name: str,
    version: tuple[int, ...],
    minimum: tuple[int, ...],
    upgrade: str,
    unseen: str,
    look: str = "",
) -> Finding:
    """Return whether a version is new enough.

    Args:
        name: of the finding.
        version: the one that runs; () if unknown.
        minimum: the oldest that will do.
        upgrade: the remedy for an older one.
        unseen: why the version is unknown.
        look: the remedy for an unknown version.
    """
    wanted = f"lidr needs {version_text(minimum)} or newer"
    if not version:
        return unknown(name, f"{unseen}; {wanted}", look)
    if version < minimum:
        return missing(name, f"{version_text(version)} runs; {wanted}", upgrade)
    return ok(name, version_text(version))


def _retries(inputs: CheckInputs, api: ClusterApi, namespace: str) -> Finding:
    """Return what Argo will retry: its default retryStrategy is merged into every step's own."""
    remedy = f"kubectl get configmap {CONFIG_MAP} -n {namespace or 'KUBEFLOW'} -o yaml shows it"
    if not namespace:
        detail = "the namespace of Kubeflow Pipelines is not known"
        return unknown(_ARGO_RETRIES, detail, remedy)
    try:
        settings = argo_settings(api, namespace)
    except Denied as error:
        return unknown(_ARGO_RETRIES, error.message, remedy)
    except yaml_text.NotYaml:
        return unknown(_ARGO_RETRIES, f"ConfigMap {CONFIG_MAP} cannot be read", remedy)
    if settings is None:
        detail = f"namespace {namespace} has no ConfigMap {CONFIG_MAP}"
        return unknown(_ARGO_RETRIES, detail, remedy)
    strategy = retry_strategy(settings)
    policy = str(strategy.get("retryPolicy") or _DEFAULT_POLICY)
    does, does_not = _POLICIES.get(policy, _OTHER_POLICY)
    profile = inputs.profile
    kinds = kinds_of(inputs.recipe, profile.shards)
    counts = {profile.resources_of(kind).retries.count for kind in kinds}
    times = "/".join(map(str, sorted(counts)))
    return ok(_ARGO_RETRIES, f"{policy}, {times} times: {does}; {does_not}")


def cluster_findings(inputs: CheckInputs, api: ClusterApi) -> Iterator[Finding]:
    """Yield what the API server serves, and the versions of the controllers behind it."""
    try:
        version = api.reach()
    except LidrError as error:
        yield refused("Kubernetes API", error)
        return
    yield ok("Kubernetes API", f"{api.server} answers")
    yield _kubernetes(version)
    deployments = _deployments(api)
    for part in _needed_parts(inputs):
        served = _served(part, api)
        yield served
        if served.state == "ok":  # else the part has to be installed first
            yield _controller(part, deployments)


def _needed_parts(inputs: CheckInputs) -> list[PlatformPart]:
    trainjobs = [JOBSET, TRAINER] if inputs.profile.training.launcher == "trainjob" else []
    queued = queues_of(requests_of(inputs.recipe, inputs.profile, "", ""))
    return [*trainjobs, *([KUEUE] if queued else [])]


def _kubernetes(text: str) -> Finding:
    upgrade = "Upgrade the cluster, or choose another one."
    return _compared("Kubernetes version", version_of(text), KUBERNETES, upgrade, text)


def _served(part: PlatformPart, api: ClusterApi) -> Finding:
    """Return whether a part's kinds are served, in the version that lidr uses."""
    name = f"{part.name} API"
    for crd, version in part.crds.items():
        plural, _, group = crd.partition(".")
        if api.serves(f"{group}/{version}", plural):
            continue
        known = [each["version"] for each in (api.get(f"/apis/{group}") or {}).get("versions", [])]
        if not known:
            return missing(name, f"{group} is not installed", part.install)
        lacks = f"{group}/{version} has no {plural}"
        if version not in known:
            lacks = f"{group}/{version} is not served, only {', '.join(known)}"
        return missing(name, lacks, part.install)
    kinds = ", ".join(crd.partition(".")[0] for crd in part.crds)
    return ok(name, f"{', '.join(sorted(set(part.crds.values())))}: {kinds}")


def _deployments(api: ClusterApi) -> list[dict[str, Any]] | None:
    """Return all Deployments, or None where they may not be listed."""
    try:
        return list(api.items("/apis/apps/v1/deployments"))
    except Denied:
        return None


def _controller(part: PlatformPart, deployments: list[dict[str, Any]] | None) -> Finding:
    name, needed = f"{part.name} version", (part.minimum, part.install)
    if deployments is None:
        detail = "you may not list the Deployments of the whole cluster"
        remedy = "Ask an administrator for the output of python3 manifests/check.py."
        return _compared(name, (), *needed, detail, remedy)
    if still := unavailable_deployment(part, deployments):
        return missing(
            name, "no pod of its controller is ready", f"kubectl describe deploy {still}"
        )
    images = [image for each in deployments for image in images_of(each)]
    image, version = running_version(part, images)
    seen = f"runs as {image}, whose tag has no version" if image else "no known controller runs"
    return _compared(name, version, *needed, seen, "See that its controller runs.")
