"""follow: point a server at the version that an MLflow alias names, through the Kubernetes API."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

from urllib3.exceptions import HTTPError

from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.kubernetes.connection import connect
from lidr.components.shared.models.outside import ModelLocation, NotRegistered, resolve_model

# Annotations of the pod template that the container `fetch` reads.
SOURCE = "lidr.dev/champion-source"
ADAPTER = "lidr.dev/champion-adapter"

_TIMEOUT_SECONDS = 30  # an int: the client ignores a float

Object = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class ChampionServer(ABC):
    """The Kubernetes object that serves the champion.

    Attributes:
        name: of the object.
        namespace: of the object.
        manifests: the component of manifests/ that makes it and grants the right to change it.
    """

    name: str
    namespace: str
    manifests: ClassVar[str]

    @abstractmethod
    def patch(self, model: ModelLocation) -> Object:
        """Return the merge patch that makes the object serve a model.

        Raises:
            BadInput: it cannot serve such a model.
        """

    @abstractmethod
    def source(self, current: Object) -> str:
        """Return the source of the model that the object is set to serve, or ""."""

    @abstractmethod
    def unready(self, current: Object) -> str:
        """Return why the object does not serve its model yet; "" if it does, or does not say."""

    @abstractmethod
    def read(self, api: Any) -> Object:
        """Return the object from the API server."""

    @abstractmethod
    def write(self, api: Any, patch: Object) -> None:
        """Apply a merge patch."""


@dataclass(frozen=True)
class Deployment(ChampionServer):
    """The apps/v1 Deployment of manifests/components/champion."""

    manifests = "champion"

    def patch(self, model: ModelLocation) -> Object:  # noqa: D102
        annotations = {SOURCE: model.source, ADAPTER: model.adapter}
        return {"spec": {"template": {"metadata": {"annotations": annotations}}}}

    def source(self, current: Object) -> str:  # noqa: D102
        metadata = current["spec"]["template"].get("metadata") or {}
        return str((metadata.get("annotations") or {}).get(SOURCE) or "")

    def unready(self, current: Object) -> str:  # noqa: D102
        status = current.get("status")
        if not status:
            return ""
        seen = status.get("observedGeneration", 0) >= current["metadata"].get("generation", 0)
        wanted = current["spec"].get("replicas", 1)
        total, updated, available = (
            status.get(name) or 0 for name in ("replicas", "updatedReplicas", "availableReplicas")
        )
        if seen and wanted <= updated and total <= updated <= available:
            return ""
        why = _false_condition(status, "Progressing")
        return "its new pods are not ready" + (f": {why}" if why else "")

    def read(self, api: Any) -> Object:  # noqa: D102
        from kubernetes.client import AppsV1Api

        found = AppsV1Api(api).read_namespaced_deployment(
            self.name, self.namespace, _request_timeout=_TIMEOUT_SECONDS
        )
        plain: Object = api.sanitize_for_serialization(found)
        return plain

    def write(self, api: Any, patch: Object) -> None:  # noqa: D102
        from kubernetes.client import AppsV1Api

        AppsV1Api(api).patch_namespaced_deployment(
            self.name, self.namespace, patch, _request_timeout=_TIMEOUT_SECONDS
        )


@dataclass(frozen=True)
class InferenceService(ChampionServer):
    """A serving.kserve.io/v1beta1 InferenceService: KServe fetches the model itself."""

    manifests = "champion-kserve"

    def patch(self, model: ModelLocation) -> Object:  # noqa: D102
        if model.adapter:
            raise BadInput(
                f"the champion is an adapter ({model.adapter}), and KServe fetches one folder only",
                remedy="Train with training.lora.merge true, or serve it by the Deployment of "
                "manifests/components/champion.",
            )
        source = model.source
        if source.startswith("hf://"):  # KServe writes hf://org/name:revision
            source = source.replace("@", ":")
        return {"spec": {"predictor": {"model": {"storageUri": source}}}}

    def source(self, current: Object) -> str:  # noqa: D102
        return str(current["spec"]["predictor"]["model"].get("storageUri") or "")

    def unready(self, current: Object) -> str:  # noqa: D102
        return _false_condition(current.get("status") or {}, "Ready")

    def read(self, api: Any) -> Object:  # noqa: D102
        from kubernetes.client import CustomObjectsApi

        found: Object = CustomObjectsApi(api).get_namespaced_custom_object(
            *self._address, _request_timeout=_TIMEOUT_SECONDS
        )
        return found

    def write(self, api: Any, patch: Object) -> None:  # noqa: D102
        from kubernetes.client import CustomObjectsApi

        CustomObjectsApi(api).patch_namespaced_custom_object(
            *self._address, patch, _request_timeout=_TIMEOUT_SECONDS
        )

    @property
    def _address(self) -> tuple[str, ...]:
        return "serving.kserve.io", "v1beta1", self.namespace, "inferenceservices", self.name


class NothingToServe(LidrError):
    """No version has the alias yet."""


class Followed(NamedTuple):
    """What `follow` has done.

    Attributes:
        model: what the server was pointed at; None if it already was.
        unready: why a server that was left as it is does not serve the model yet, or "".
    """

    model: ModelLocation | None
    unready: str = ""


def follow(model: str, alias: str, server: ChampionServer) -> Followed:
    """Point a server at the version that an alias names.

    Args:
        model: name of the registered model.
        alias: of its version, e.g. champion.
        server: what serves it.

    Returns:
        The model that the server was pointed at, if it was not already. Its pods may need long to
        load the model, or never become ready.

    Raises:
        NothingToServe: no version has the alias, and the server serves none.
        BadInput: there is no such server, the alias was removed, the API server refuses, the
            version is an adapter and KServe would serve it, or MLFLOW_TRACKING_URI is not set or
            names no MLflow server.
        TrackingFailed: MLflow does not answer; the next call may work.
        LidrError: the API server cannot be reached; the next call may work.
    """
    from kubernetes.client import ApiClient

    try:
        found = resolve_model(f"models:/{model}@{alias}")
    except NotRegistered as error:
        none = f"no version of {model!r} has the alias {alias!r}"
        connect(pod_first=True)
        with ApiClient() as api:
            if server.source(_call(server, "read", lambda: server.read(api))):
                remedy = f"Give it to a version: `lidr promote {model} VERSION --to {alias}`."
                raise BadInput(none, remedy=remedy) from error
        raise NothingToServe(none) from error
    patch = server.patch(found)
    connect(pod_first=True)
    with ApiClient() as api:
        current = _call(server, "read", lambda: server.read(api))
        if _is_applied(current, patch):
            return Followed(None, server.unready(current))
        _call(server, "change", lambda: server.write(api, patch))
    return Followed(found)


def _is_applied(current: Object, patch: Object) -> bool:
    """Return whether a merge patch would change nothing."""
    return all(
        _is_applied(current.get(key) or {}, value)
        if isinstance(value, dict)
        else current.get(key) == value
        for key, value in patch.items()
    )


def _false_condition(status: Object, kind: str) -> str:
    """Return the message of a condition that is False, or its reason; "" if it is not False."""
    for each in status.get("conditions") or []:
        if each.get("type") == kind and each.get("status") == "False":
            return str(each.get("message") or each.get("reason") or f"not {kind}")
    return ""


def _call(server: ChampionServer, what: str, call: Callable[[], T]) -> T:
    """Call the API server; raise errors that name the server and what was tried."""
    from kubernetes.client import ApiException

    thing = f"{type(server).__name__} {server.name} in namespace {server.namespace}"
    try:
        return call()
    except ApiException as error:
        said = f"cannot {what} {thing}: HTTP {error.status} {error.reason}"
        if error.status in (403, 404):
            remedy = (
                "Check the name and the namespace, and apply "
                f"manifests/components/{server.manifests} with its Role."
            )
            raise BadInput(said, remedy=remedy) from error
        if 400 <= error.status < 500 and error.status not in (408, 409, 429):
            raise BadInput(said) from error
        raise LidrError(said) from error
    except HTTPError as error:
        raise LidrError(f"cannot {what} {thing}: the API server does not answer") from error
