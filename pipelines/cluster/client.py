"""The Kubeflow Pipelines API (v2beta1), with errors a user can act on.

`kfp.Client` is not used: it imports the whole SDK, writes a file into the user's home, prints
links, and retries a wrong address for minutes. This wraps `kfp_server_api`, the client beneath it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput, LidrError, Unavailable
from lidr.components.shared.core.redaction import service_login_fault
from lidr.components.shared.core.retry import report_wait
from lidr.components.shared.core.text import one_line
from lidr.pipelines.cluster.tokens import token_source

Result = TypeVar("Result")

HOST_VARIABLE = "KF_PIPELINES_ENDPOINT"
_IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
_TIMEOUT_SECONDS = 60.0
_PAGE_SIZE = 100
_RETRIED_METHODS = ("GET", "DELETE")
"""Not POST: if only the answer was lost, a retry would create a second run."""

LIVE = ("RUNTIME_STATE_UNSPECIFIED", "PENDING", "RUNNING", "PAUSED", "CANCELING")
"""States of a run that has not ended."""


class Client:
    """A connection to the Kubeflow Pipelines of a profile.

    Args:
        profile: its `kubeflow` section has address, login and namespace.
        seconds: timeout to connect, and again to read.

    Raises:
        BadInput: no address is known.
    """

    def __init__(self, profile: Profile, seconds: float = _TIMEOUT_SECONDS) -> None:
        import kfp_server_api as api

        self.settings = profile.kubeflow
        self.host = _host(profile)
        self._api = api.ApiClient(_configuration(profile, self.host))
        self.runs = api.RunServiceApi(self._api)
        self.experiments = api.ExperimentServiceApi(self._api)
        self.pipelines = api.PipelineServiceApi(self._api)
        self.uploads = api.PipelineUploadServiceApi(self._api)
        self.recurring = api.RecurringRunServiceApi(self._api)
        self._health = api.HealthzServiceApi(self._api)
        self._own_namespace = profile.kubeflow.namespace or profile.namespace
        self._namespace: str | None = None
        self._timeout = (seconds, seconds)  # the client ignores a single float

    @property
    def namespace(self) -> str:
        """The namespace for requests: the profile's, or "" in a single-user installation.

        Raises:
            BadInput: the installation is multi-user and the profile names no namespace.
            Unavailable: the API does not answer.
        """
        if self._namespace is None:
            multi_user = self.multi_user
            if multi_user and not self._own_namespace:
                raise BadInput(
                    f"Kubeflow Pipelines at {self.host} is shared by several users",
                    remedy="Set kubeflow.namespace in the profile to your own.",
                )
            self._namespace = self._own_namespace if multi_user else ""
        return self._namespace

    @property
    def in_namespace(self) -> dict[str, str]:
        """The `namespace` argument of requests; empty in a single-user installation."""
        return {"namespace": self.namespace} if self.namespace else {}

    @property
    def multi_user(self) -> bool:
        """Whether the installation is multi-user: each user has a namespace.

        Raises:
            Unavailable: the API does not answer.
        """
        health = self.call("report its health", self._health.healthz_service_get_healthz)
        return bool(health.multi_user)

    def check(self) -> None:
        """Check address, login and namespace, so that errors come before any work is done.

        Raises:
            BadInput: a request is refused, or the profile lacks a namespace.
            Unavailable: the API does not answer.
        """
        self.namespace  # noqa: B018
        self.call(
            "list experiments",
            self.experiments.experiment_service_list_experiments,
            page_size=1,
            **self.in_namespace,
        )

    def version(self) -> str:
        """Return the installation's version as it reports it, e.g. `2.17.0`, or "".

        Raises:
            Unavailable: the API does not answer.
        """

        def ask(**options: Any) -> str:  # the generated model drops tag_name
            answer = self._health.healthz_service_get_healthz(_preload_content=False, **options)
            return str(json.loads(answer.data).get("tag_name", ""))

        version = self.call("report its version", ask)
        return "" if version == "unknown" else version

    def workflow(self, run_id: str) -> Any:
        """Return the JSON of a run's Argo Workflow from the v1beta1 API, or "" if it has none.

        Raises:
            BadInput: the API does not serve it, or not to this user.
        """
        answer: Any = self.call(  # the generated methods are v2beta1 only
            f"read the workflow of run {run_id}",
            self._api.call_api,
            "/apis/v1beta1/runs/{run_id}",
            "GET",
            {"run_id": run_id},
            response_type="object",
            auth_settings=["Bearer"],
            _return_http_data_only=True,
        )
        runtime = answer.get("pipeline_runtime") if isinstance(answer, dict) else None
        return runtime.get("workflow_manifest", "") if isinstance(runtime, dict) else ""

    def call(
        self, what: str, function: Callable[..., Result], *args: Any, **options: Any
    ) -> Result:
        """Call a method of the generated client.

        Args:
            what: what is being done, as an infinitive, for messages.
            function: the method.

        Raises:
            Unavailable: the API does not answer, or the server fails (HTTP 5xx, 408, 429).
            BadInput: the request is refused (with the server's reason), or the answer is not
                Kubeflow's, such as a login page.
        """
        from kfp_server_api import ApiException, ApiValueError

        self._api.last_response = None
        try:
            with report_wait(f"Kubeflow Pipelines at {self.host} takes long to {what}"):
                answer = function(*args, **options, _request_timeout=self._timeout)
        except ApiException as error:
            raise self._refusal(what, error) from error
        except HTTPError as error:
            raise self._unreachable(type(error.__cause__ or error).__name__) from error
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            foreign = isinstance(error, UnicodeDecodeError | ApiValueError)
            if self._api.last_response is None and not foreign:
                raise  # a bug in lidr: there was no answer to read
            raise self._not_kubeflow(self._content_type()) from error
        if "json" not in (content_type := self._content_type()):
            raise self._not_kubeflow(content_type)
        if answer is None:
            raise self._not_kubeflow("null")
        return answer

    def _content_type(self) -> str:
        response = self._api.last_response
        return (response.getheader("content-type") or "") if response else ""

    def call_or_none(
        self, what: str, function: Callable[..., Result], *args: Any, **options: Any
    ) -> Result | None:
        """Like `call`, but return None if the server has no such object (HTTP 404)."""
        try:
            return self.call(what, function, *args, **options)
        except _NotFound:
            return None

    def list_all(
        self, what: str, field: str, function: Callable[..., Any], *args: Any, **options: Any
    ) -> Iterator[Any]:
        """Yield all items of a paginated list method.

        Args:
            what: what is being done, as an infinitive, for messages.
            field: the field of the answer that holds the list.
            function: the list method.
        """
        token, seen = "", {""}
        while True:
            page = self.call(
                what, function, *args, page_size=_PAGE_SIZE, page_token=token, **options
            )
            found: list[Any] = getattr(page, field) or []  # the models have no common base
            if None in found:
                raise self._not_kubeflow("null")
            yield from found
            token = page.next_page_token
            if not token:
                return
            if token in seen:
                raise BadInput(
                    f"cannot {what}: {self.host} returns the same page again and again",
                    remedy="Check kubeflow.host, the server's version, and any proxy in between.",
                )
            seen.add(token)

    def link(self, path: str) -> str:
        """Return the URL of a page in Kubeflow's user interface."""
        return f"{(self.settings.ui or self.host).rstrip('/')}/#/{path}"

    def _refusal(self, what: str, error: Any) -> LidrError:
        status, reason = int(error.status or 0), reason_in(error.body)
        if status == 401:
            return BadInput(
                f"Kubeflow Pipelines at {self.host} needs a valid token (HTTP 401{reason})",
                remedy=f"Log in again, and set ${self.settings.token_env} to the token.",
            )
        if status == 403:
            where = f" in namespace {self._own_namespace}" if self._own_namespace else ""
            return BadInput(
                f"may not {what}{where}{reason}",
                remedy="Check kubeflow.namespace, or ask its owner for the role kubeflow-edit.",
            )
        if status == 404 and not reason:
            return self._unreachable("HTTP 404")
        if status == 404:
            return _NotFound(f"cannot {what}{reason}", remedy="Check the names in the profile.")
        if status in (502, 503, 504):  # a gateway reports that nothing serves the address
            return self._unreachable(f"HTTP {status}{reason}")
        if status >= 500 or status in (408, 429):
            return Unavailable(
                f"Kubeflow Pipelines at {self.host} is up, but cannot {what} "
                f"(HTTP {status}{reason})",
                remedy="Look at the log of Deployment ml-pipeline, at its database and its object "
                "store, then run the same command again.",
            )
        return BadInput(f"cannot {what}: Kubeflow Pipelines refuses it (HTTP {status}{reason})")

    def _unreachable(self, reason: str) -> Unavailable:
        return Unavailable(
            f"no Kubeflow Pipelines API answers at {self.host} ({reason})",
            remedy="Check kubeflow.host; `kubectl -n kubeflow port-forward svc/ml-pipeline 8888` "
            "makes it http://localhost:8888.",
        )

    def _not_kubeflow(self, content_type: str) -> BadInput:
        kind = one_line(content_type).partition(";")[0] or "no content type"
        return BadInput(
            f"{self.host} does not answer as Kubeflow's API does ({kind}): it is a login page, "
            "another service or another version",
            remedy=f"Set ${self.settings.token_env} to a valid token, or correct kubeflow.host.",
        )


class _NotFound(BadInput):
    """The server has no such object: HTTP 404 with a message of Kubeflow's."""


def create_or_find(create: Callable[[], Result], find: Callable[[], Result | None]) -> Result:
    """Create an object; if that is refused, return the one that another client created first.

    Raises:
        BadInput: creating it is refused, and `find` finds none.
        Unavailable: the API does not answer.
    """
    try:
        return create()
    except Unavailable:
        raise
    except BadInput:
        if found := find():
            return found
        raise


def name_filter(name: str, key: str = "display_name") -> str:
    """Return the JSON `filter` of a list request that matches an exact name."""
    predicate = {"operation": "EQUALS", "key": key, "stringValue": name}
    return json.dumps({"predicates": [predicate]})


def _host(profile: Profile) -> str:
    given = profile.kubeflow.host or os.environ.get(HOST_VARIABLE, "")
    if fault := service_login_fault(given):
        raise BadInput(
            f"the address of Kubeflow Pipelines in ${HOST_VARIABLE} {fault}",
            remedy=f"Put the token into ${profile.kubeflow.token_env}.",
        )
    if given:
        return given.rstrip("/")
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return _IN_CLUSTER
    raise BadInput(
        f"profile {profile.name!r} does not say where Kubeflow Pipelines is",
        remedy=f"Set kubeflow.host in it, or ${HOST_VARIABLE}.",
    )


def _configuration(profile: Profile, host: str) -> Any:
    import kfp_server_api as api

    configuration = api.Configuration(host=host)
    configuration.ssl_ca_cert = profile.kubeflow.ca_file or None
    configuration.retries = Retry(
        total=4,
        connect=2,
        read=1,
        backoff_factor=0.3,
        status_forcelist=(429, 502, 503, 504),
        allowed_methods=_RETRIED_METHODS,
        raise_on_status=False,
    )
    source = token_source(profile.kubeflow)
    if source is not None:

        def renew(configuration: Any) -> None:
            configuration.api_key["authorization"] = source()

        configuration.api_key_prefix["authorization"] = "Bearer"
        configuration.refresh_api_key_hook = renew
        renew(configuration)
    return configuration


def reason_in(body: Any) -> str:
    """Return the error message in a server's JSON answer, after a colon and a space; or ""."""
    try:
        found = json.loads(body or "")
        message = one_line(str(found.get("message") or found.get("error") or ""))
    except (ValueError, AttributeError, RecursionError):
        return ""
    return f": {message[:400]}" if message else ""
