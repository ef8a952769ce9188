"""A cluster through the Kubernetes API; errors tell "not found" from "not allowed"."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

from urllib3.exceptions import HTTPError

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput, LidrError, Unavailable
from lidr.components.shared.core.text import one_line
from lidr.components.shared.kubernetes.api_errors import status_of
from lidr.components.shared.kubernetes.connection import connect
from lidr.pipelines.cluster.client import reason_in

Object = dict[str, Any]

_PAGE_SIZE = 500
_ANONYMOUS = "system:anonymous"
"""Kubernetes' name for whoever sends no credentials."""


class Denied(BadInput):
    """The user has no permission, or the login has expired; the object may exist."""


class ClusterApi:
    """A cluster, accessed with the user's kubeconfig or the pod's service account.

    Several threads may share one instance; call `reach` first.

    Args:
        seconds: timeout of one request, to connect and again to read.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = (seconds, seconds)  # the client ignores a single float
        self._lock = threading.Lock()
        self._client: Any = None
        self._namespace = ""
        self._reached: str | LidrError = ""

    @property
    def server(self) -> str:
        """The API server's address, once it has been reached."""
        return str(self._client.configuration.host)

    def reach(self) -> str:
        """Return the API server's version, e.g. `v1.34.1`.

        Raises:
            BadInput: there is no kubeconfig, its login is missing or refused, or the server does
                not answer. Later calls raise the same error.
            Unavailable: the kubeconfig's login takes long in another thread.
        """
        if not self._lock.acquire(timeout=2 * self._seconds):
            raise Unavailable(
                "the kubeconfig's login takes long",
                remedy="Log in first; `kubectl version` uses the same login.",
            )
        try:
            if not self._reached:
                self._reached = self._connect()
        except LidrError as error:
            self._reached = error
        finally:
            self._lock.release()
        if isinstance(self._reached, LidrError):
            raise self._reached
        return self._reached

    def is_reached(self) -> bool:
        """Return whether the API server answers and accepts the login."""
        try:
            self.reach()
        except LidrError:
            return False
        return True

    def namespaces(self, profile: Profile) -> tuple[str, str]:
        """Return the namespace of a run's pods and that of its TrainJobs."""
        pods = profile.kubeflow.namespace or profile.namespace or self._namespace
        return pods, profile.namespace or pods

    def get(self, path: str, **query: str) -> Object | None:
        """Return an object, or None if there is none.

        Raises:
            Denied: it may not be read.
            BadInput: the server refuses the request.
            Unavailable: the server does not answer.
        """
        return self._call("GET", path, query)

    def items(self, path: str, **query: str) -> Iterator[Object]:
        """Yield the items of a list, page after page; none if its kind is not installed.

        Raises:
            Denied: it may not be listed.
            BadInput, Unavailable: as for `get`.
        """
        more: dict[str, str] = {}
        while True:
            page = self._call("GET", path, {"limit": str(_PAGE_SIZE), **query, **more}) or {}
            yield from page.get("items") or []
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            more = {"continue": token}

    def review(self, kind: str, spec: Object) -> bool:
        """Ask whether something is allowed.

        Args:
            kind: SelfSubjectAccessReview or SubjectAccessReview.
            spec: of the review.

        Raises:
            Denied: the user may not ask.
        """
        version = "authorization.k8s.io/v1"
        body = {"apiVersion": version, "kind": kind, "spec": spec}
        answer = self._call("POST", f"/apis/{version}/{kind.lower()}s", {}, body) or {}
        return bool((answer.get("status") or {}).get("allowed"))

    def create(self, path: str, body: Object) -> Object:
        """Create an object, and return it as the server stores it.

        Raises:
            Denied: it may not be created, or a quota or policy forbids it; the message has the
                server's reason.
            BadInput: the server refuses it, or its namespace does not exist.
        """
        return self._call("POST", path, {}, body) or {}

    def delete(self, path: str) -> None:
        """Delete an object, then in the background what it owns; ignore a missing object."""
        self._call("DELETE", path, {"propagationPolicy": "Background"})

    def text(self, path: str, **query: str) -> str:
        """Return a plain-text answer, e.g. a log; "" if there is none yet.

        Raises:
            Denied: it may not be read.
            BadInput: the server refuses the request.
            Unavailable: the server does not answer, or its answer breaks off.
        """
        from kubernetes.client import ApiException

        try:
            answer = self._client.call_api(
                path,
                "GET",
                query_params=list(query.items()),
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=self._timeout,
            )[0]
            return str(answer.data.decode("utf-8", "replace"))
        except ApiException as error:
            if status_of(error) in (400, 404):  # 400: the container has not started
                return ""
            raise self._refusal("GET", path, error) from error
        except HTTPError as error:
            raise self._unavailable(type(error).__name__) from error

    def serves(self, version: str, plural: str) -> bool:
        """Return whether a kind is installed.

        Args:
            version: group and version, e.g. `kueue.x-k8s.io/v1beta2`.
            plural: e.g. `localqueues`.
        """
        found = self.get(f"/apis/{version}") or {}
        return any(each["name"] == plural for each in found.get("resources") or [])

    def _connect(self) -> str:
        from kubernetes import client

        self._namespace = connect()
        settings = client.Configuration.get_default_copy()
        settings.retries = False  # a server that hangs would hang several times
        self._client = client.ApiClient(settings)
        try:
            found = self.get("/version") or {}
        except Denied as error:
            raise BadInput(
                f"{self.server} does not accept the kubeconfig's login",
                remedy="Log in again; `kubectl auth whoami` shows the user.",
            ) from error
        if self._is_anonymous():  # anybody may read the version
            raise BadInput(
                f"{self.server} does not know who we are: the kubeconfig gives no login",
                remedy="Correct the user of the kubeconfig's current context; `kubectl auth "
                "whoami` shows who is logged in.",
            )
        return str(found.get("gitVersion") or "unknown")

    def _is_anonymous(self) -> bool:
        """Return whether we are not logged in; False if the server cannot say.

        Kubernetes before 1.28 has no SelfSubjectReview.
        """
        version = "authentication.k8s.io/v1"
        body = {"apiVersion": version, "kind": "SelfSubjectReview"}
        try:
            answer = self._call("POST", f"/apis/{version}/selfsubjectreviews", {}, body) or {}
        except Denied as error:  # only logged-in users may ask
            return _ANONYMOUS in error.message
        except Unavailable:
            raise
        except BadInput:
            return False
        user = (answer.get("status") or {}).get("userInfo") or {}
        return bool(user.get("username") == _ANONYMOUS)

    def _call(
        self, method: str, path: str, query: Mapping[str, str], body: Object | None = None
    ) -> Object | None:
        from kubernetes.client import ApiException

        try:
            answer = self._client.call_api(
                path,
                method,
                query_params=list(query.items()),
                header_params={"Accept": "application/json", "Content-Type": "application/json"},
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=self._timeout,
            )
        except ApiException as error:
            if status_of(error) == 404 and method != "POST":
                return None
            raise self._refusal(method, path, error) from error
        except HTTPError as error:
            raise self._unavailable(type(error).__name__) from error
        if not isinstance(answer, dict):
            raise self._unavailable("no JSON")
        return answer

    def _refusal(self, method: str, path: str, error: Any) -> LidrError:
        """Return our error for an `ApiException`."""
        status, reason = status_of(error), reason_in(error.body)
        if status in (401, 403):
            return Denied(
                f"may not {method} {path} (HTTP {status}){reason if method == 'POST' else ''}"
            )
        if status == 429:
            return Unavailable(
                f"the Kubernetes API at {self.server} limits our requests (HTTP 429)",
                remedy="Run it again in a minute.",
            )
        if status >= 500 or status == 408:
            return Unavailable(
                f"the Kubernetes API at {self.server} is up, but cannot do its work (HTTP "
                f"{status})",
                remedy="`kubectl get --raw /readyz?verbose` says what it lacks.",
            )
        if status >= 400:
            return BadInput(
                f"{path} is refused (HTTP {status}){reason}",
                remedy="Correct namespace in the profile." if status == 404 else "",
            )
        if status:
            return self._unavailable(f"HTTP {status}")
        return BadInput(  # the client's answer to an SSLError
            f"the Kubernetes API at {self.server} is not trusted: {one_line(str(error.reason))}",
            remedy="Check server and certificate-authority-data of the cluster in the kubeconfig.",
        )

    def _unavailable(self, reason: str) -> Unavailable:
        return Unavailable(
            f"the Kubernetes API at {self.server} does not answer ({reason})",
            remedy="Check the kubeconfig's server; `kubectl version` asks it as well.",
        )
