"""Where the pods of a run will be: what is looked at has to be looked at there."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from lidr.components.shared.core.errors import LidrError
from lidr.pipelines.checks.api import ClusterApi, Denied
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, unknown
from lidr.pipelines.cluster.client import Client

TITLE = "namespace of pods"

_SERVICE = re.compile(r"ml-pipeline|ds-pipeline-[a-z0-9-]+")
"""Service of Kubeflow Pipelines' API; the second is Open Data Hub's, one in each project."""
_OWN = "Kubeflow Pipelines is for one user, and starts pods in its own namespace"
_REMEDY = "manifests/README.md, Where lidr goes, says which overlay belongs there"


@dataclass(frozen=True)
class Place:
    """Namespaces of a run.

    Attributes:
        pods: of the pipeline's pods.
        training: of the TrainJobs.
        kubeflow: of Kubeflow Pipelines itself; "" where it cannot be told.
        finding: how the first was found, and whether the profile says the same.
    """

    pods: str
    training: str
    kubeflow: str
    finding: Finding


class PlaceFinder:
    """Finds a run's namespaces, once for all who ask.

    Args:
        inputs: what is to run.
        api: the cluster, which has been reached when somebody asks.
    """

    def __init__(self, inputs: CheckInputs, api: ClusterApi) -> None:
        self._inputs = inputs
        self._api = api
        self._lock = threading.Lock()
        self._found: Place | None = None

    def find(self) -> Place:
        """Return the namespaces."""
        with self._lock:
            if self._found is None:
                self._found = self._find()
            return self._found

    def _find(self) -> Place:
        profile = self._inputs.profile
        pods, training = self._api.namespaces(profile)
        kubeflow = self._kubeflow(pods)
        try:
            multi_user = Client(profile, self._inputs.request_seconds).multi_user
        except LidrError:
            told = f"Kubeflow Pipelines cannot be asked whom it is for; {pods} is looked at"
            return Place(pods, training, kubeflow, unknown(TITLE, told))
        if multi_user:
            told = f"{pods}; Kubeflow Pipelines is for several users"
            return Place(pods, training, kubeflow, ok(TITLE, told))
        if not kubeflow:
            told = f"{_OWN}, which cannot be checked from here; {pods} is looked at"
            remedy = "kubectl get services -A shows where ml-pipeline is; set namespace to it"
            return Place(pods, training, "", unknown(TITLE, told, remedy))
        named = profile.kubeflow.namespace or profile.namespace
        if not named or named == kubeflow:
            training = profile.namespace or kubeflow
            return Place(kubeflow, training, kubeflow, ok(TITLE, f"{kubeflow}; {_OWN}"))
        told = f"{_OWN}, {kubeflow}; the profile says {named}"
        remedy = f"Set namespace to {kubeflow} in the profile (LIDR_NAMESPACE). {_REMEDY}"
        return Place(kubeflow, kubeflow, kubeflow, missing(TITLE, told, remedy))

    def _kubeflow(self, pods: str) -> str:
        """Return the namespace of Kubeflow Pipelines, or ""."""
        host = urlsplit(self._inputs.profile.kubeflow.host).hostname or ""
        service, _, rest = host.partition(".")
        if _SERVICE.fullmatch(service) and rest:
            return rest.partition(".")[0]
        found = set(self._services())
        return pods if pods in found else found.pop() if len(found) == 1 else ""

    def _services(self) -> Iterator[str]:
        """Yield the namespaces of Kubeflow's API: of the cluster, or where one may look."""
        try:
            for each in self._api.each("/api/v1/services"):
                if _SERVICE.fullmatch(each["metadata"]["name"]):
                    yield each["metadata"]["namespace"]
            return
        except Denied:
            pass
        for namespace in dict.fromkeys((*self._api.namespaces(self._inputs.profile), "kubeflow")):
            try:
                if self._api.get(f"/api/v1/namespaces/{namespace}/services/ml-pipeline"):
                    yield namespace
            except Denied:
                continue
