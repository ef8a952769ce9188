"""Whether Kubeflow Pipelines answers, lets us in, and is of a version that lidr knows."""

from __future__ import annotations

from collections.abc import Iterator

from lidr.components.shared.core.errors import LidrError
from lidr.pipelines.checks import retrying
from lidr.pipelines.checks.api import ClusterApi
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, refused, unknown
from lidr.pipelines.checks.place import PlaceFinder
from lidr.pipelines.checks.platform import KUBEFLOW, shown, version_of
from lidr.pipelines.cluster.client import Client

_API = "Kubeflow Pipelines API"
_VERSION = "Kubeflow Pipelines version"


def findings(inputs: CheckInputs, api: ClusterApi, place: PlaceFinder) -> Iterator[Finding]:
    """Yield what the Kubeflow Pipelines API says, and what Argo behind it will retry."""
    try:
        client = Client(inputs.profile, inputs.request_seconds)
        client.check()
        version = client.version()
    except LidrError as error:
        yield refused(_API, error)
        return
    whose = f"namespace {client.namespace}" if client.namespace else "for one user"
    yield ok(_API, f"{client.host} lets us in ({whose})")
    yield _version(version)
    if api.is_reached():
        yield retrying.finding(inputs, api, place.find().kubeflow)


def _version(told: str) -> Finding:
    found, least = version_of(told), KUBEFLOW.least
    if not found:
        return unknown(_VERSION, f"it does not tell; lidr needs {shown(least)} or newer")
    if found < least:
        old = f"{told} runs; lidr needs {shown(least)} or newer"
        return missing(_VERSION, old, KUBEFLOW.install)
    return ok(_VERSION, told)
