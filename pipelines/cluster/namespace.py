"""What a run's pods, TrainJobs and queue report, read through the Kubernetes API.

A status does without these reports where access is refused or the API does not answer: it catches
`BadInput` and shows less. Reading logs and deleting TrainJobs need the access.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from urllib3.exceptions import HTTPError

from lidr.components.shared.config.pools import QUEUE_LABEL
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput, Unavailable
from lidr.components.shared.core.text import one_line
from lidr.components.shared.kubernetes.api_errors import message_of, status_of
from lidr.components.shared.kubernetes.connection import connect
from lidr.components.shared.kubernetes.pods import JOBSET_LABEL, Pod
from lidr.components.shared.kubernetes.runs import RUN_LABEL
from lidr.components.shared.kubernetes.trainjobs import RUN_ANNOTATION, STAGE_ANNOTATION

_TRAINER = ("trainer.kubeflow.org", "v1alpha1")
_KUEUE = ("kueue.x-k8s.io", "v1beta2")
_VISIBILITY = "/apis/visibility.kueue.x-k8s.io/v1beta2"
_TIMEOUT_SECONDS = 20


@dataclass(frozen=True)
class RunTrainJob:
    """A TrainJob that a run has created.

    Attributes:
        name: its name.
        uid: its uid, by which Kueue's Workloads refer to it.
        stage: URI of the stage it writes.
        queue: the Kueue LocalQueue that it waits in; "" for none.
    """

    name: str
    uid: str
    stage: str
    queue: str


class RunNamespaces:
    """A run's namespaces, accessed with the user's kubeconfig or the pod's service account.

    Args:
        name: the namespace of the run's pods; "" is that of the kubeconfig, or of this pod.
        training: the namespace of its TrainJobs; "" is that of the pods.

    Raises:
        BadInput: there is neither a kubeconfig nor a pod's account.
    """

    def __init__(self, name: str, training: str = "") -> None:
        from kubernetes import client

        own = connect()
        self._core = client.CoreV1Api()
        self._custom = client.CustomObjectsApi()
        self.name = name or own
        self.training = training or self.name

    def pods(self, run_id: str) -> list[Pod]:
        """Return the pods that Kubeflow Pipelines has created for a run."""
        return self._pods(self.name, f"{RUN_LABEL}={run_id}")

    def pods_of_job(self, job: str) -> list[Pod]:
        """Return the pods of a TrainJob."""
        return self._pods(self.training, f"{JOBSET_LABEL}={job}")

    def _pods(self, namespace: str, selector: str) -> list[Pod]:
        return self._list(
            f"list the pods of namespace {namespace}",
            self._core.list_namespaced_pod,
            namespace,
            label_selector=selector,
            _preload_content=False,
        )

    def warnings(self, pod: str) -> list[str]:
        """Return the warnings about a pod, the latest last; none if events cannot be read."""
        try:
            found = self._list(
                f"list the events of namespace {self.name}",
                self._core.list_namespaced_event,
                self.name,
                field_selector=f"involvedObject.name={pod},type=Warning",
                _preload_content=False,
            )
        except BadInput:
            return []
        events = sorted(found, key=_time_of)
        return [f"{each.get('reason', '')}: {each.get('message', '')}" for each in events]

    def jobs(self, *run_ids: str) -> list[RunTrainJob]:
        """Return the TrainJobs that the steps of runs have created."""
        found = self._custom_list("TrainJobs", *_TRAINER, "trainjobs", self.training)
        return [
            _trainjob(each) for each in found if _annotations(each).get(RUN_ANNOTATION) in run_ids
        ]

    def delete_job(self, name: str) -> bool:
        """Delete a TrainJob; return False if there is none.

        It disappears once its pods have ended.
        """
        what = f"delete TrainJob {name}"
        answer = self._call(
            what,
            self._custom.delete_namespaced_custom_object,
            *_TRAINER,
            self.training,
            "trainjobs",
            name,
            propagation_policy="Foreground",
            absent=(404,),
        )
        if answer is None:
            return False
        _parsed(what, answer)
        return True

    def why_queued(self, job: RunTrainJob) -> str:
        """Return why Kueue does not admit a TrainJob yet, with its place in the queue; or ""."""
        return self._why_queued(job.queue, job.uid, self.training)

    def why_gated(self, pod: Pod) -> str:
        """Return why Kueue does not admit a step's pod yet, with its place in the queue; or ""."""
        metadata = pod["metadata"]
        queue = metadata.get("labels", {}).get(QUEUE_LABEL, "")
        return self._why_queued(queue, metadata.get("uid", ""), self.name)

    def _why_queued(self, queue: str, owner: str, namespace: str) -> str:
        if not queue:
            return ""
        for workload in self._custom_list("Workloads", *_KUEUE, "workloads", namespace):
            owners = workload["metadata"].get("ownerReferences", [])
            if any(each.get("uid") == owner for each in owners):
                return self._reason_of(workload, queue, namespace)
        return ""

    def log(self, pod: str, container: str, **options: object) -> str:
        """Return a container's log; "" if there is none yet, or it is gone."""
        answer = self._call(
            f"read the logs of namespace {self.name}",
            self._core.read_namespaced_pod_log,
            pod,
            self.name,
            absent=(400, 404),  # 400: the container has not started
            container=container,
            _preload_content=False,
            **options,
        )
        return "" if answer is None else str(answer.decode("utf-8", "replace"))

    def _reason_of(self, workload: dict[str, Any], queue: str, namespace: str) -> str:
        why = why_not_admitted(workload)
        if not why:
            return ""
        position = self._queue_position(workload["metadata"]["name"], queue, namespace)
        return f"queue {queue}{position}: {why}"

    def _queue_position(self, workload: str, queue: str, namespace: str) -> str:
        """Return a workload's position in its queue; "" if Kueue's visibility API does not say."""
        try:
            pending = self._list(
                f"read queue {queue}",
                self._custom.api_client.call_api,
                f"{_VISIBILITY}/namespaces/{namespace}/localqueues/{queue}/pendingworkloads",
                "GET",
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
            )
        except BadInput:
            return ""
        for item in pending:
            if item.get("metadata", {}).get("name") == workload:
                return f", place {int(item['positionInLocalQueue']) + 1}"
        return ""

    def _custom_list(
        self, what: str, group: str, version: str, plural: str, namespace: str
    ) -> list[Any]:
        return self._list(
            f"list {what} in namespace {namespace}",
            self._custom.list_namespaced_custom_object,
            group,
            version,
            namespace,
            plural,
            absent=(404,),  # this kind is not installed
        )

    def _list(
        self, what: str, function: Callable[..., Any], *args: Any, **options: Any
    ) -> list[Any]:
        """Return the items that `_call` gets; none for a status in `absent`."""
        answer = self._call(what, function, *args, **options)
        return [] if answer is None else list(_parsed(what, answer).get("items") or [])

    def _call(
        self,
        what: str,
        function: Callable[..., Any],
        *args: Any,
        absent: Collection[int] = (),
        **options: Any,
    ) -> Any:
        """Call the API; return None for a status in `absent`, else its answer.

        The answer is bytes with `_preload_content=False`, else an object, or text that is not JSON.

        Args:
            what: the request, as an infinitive.
            function: of the client.
            args: of the function.
            absent: HTTP statuses for which there is nothing to return.
            options: of the function.

        Raises:
            BadInput: the API refuses, or cannot do, what is asked.
        """
        from kubernetes.client import ApiException

        try:
            answer = function(*args, **options, _request_timeout=_TIMEOUT_SECONDS)
            # An answer that is not preloaded is read here: it may break off.
            return answer.data if options.get("_preload_content") is False else answer
        except ApiException as error:
            status = status_of(error)
            if status in absent:
                return None
            if status in (401, 403):
                raise BadInput(
                    f"may not {what} (HTTP {status})",
                    remedy="Ask for the permission, or log in again.",
                ) from error
            if 400 <= status < 500 and status not in (408, 429):
                raise BadInput(
                    f"cannot {what}: {one_line(message_of(error))} (HTTP {status})",
                    remedy="Check the kubeconfig's server and the profile's namespaces.",
                ) from error
            raise Unavailable(
                f"cannot {what}: the Kubernetes API fails (HTTP {status})",
                remedy="`kubectl get --raw /readyz?verbose` shows what is wrong.",
            ) from error
        except HTTPError as error:
            raise Unavailable(
                f"cannot {what}: the Kubernetes API does not answer",
                remedy="Check the kubeconfig's server.",
            ) from error


def namespace_of(profile: Profile) -> RunNamespaces:
    """Return the namespaces of the pods and TrainJobs of a profile's runs.

    Raises:
        BadInput: there is no access to a cluster.
    """
    return RunNamespaces(profile.kubeflow.namespace or profile.namespace, profile.namespace)


def why_not_admitted(workload: dict[str, Any]) -> str:
    """Return why Kueue does not admit a Workload yet; "" if it has admitted it."""
    status = workload.get("status") or {}
    by_type = {each["type"]: each for each in status.get("conditions") or []}
    if by_type.get("Admitted", {}).get("status") == "True":
        return ""
    reserved = by_type.get("QuotaReserved", {})
    if reserved.get("status") != "True":
        return reserved.get("message") or "not admitted yet"
    # with a quota, it waits for admission checks, e.g. until nodes have been provisioned
    checks = [each for each in status.get("admissionChecks") or [] if each.get("state") != "Ready"]
    waiting = [f"{each.get('name')}: {each.get('message') or each.get('state')}" for each in checks]
    return f"admission check {'; '.join(waiting)}" if waiting else "not admitted yet"


def _parsed(what: str, answer: Any) -> dict[str, Any]:
    """Return an answer as an object."""
    try:
        found = json.loads(answer) if isinstance(answer, bytes) else answer
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unavailable(
            f"cannot {what}: the answer is no JSON, perhaps a proxy's page to log in",
            remedy="Log in again, or check the kubeconfig's server.",
        )
    return found


def _time_of(event: dict[str, Any]) -> str:
    """Return when an event was last seen; those of events.k8s.io have no `lastTimestamp`."""
    times = [event.get(name) for name in ("lastTimestamp", "eventTime", "firstTimestamp")]
    return next((str(time) for time in times if time), "")


def _annotations(found: dict[str, Any]) -> dict[str, str]:
    return dict(found["metadata"].get("annotations", {}))


def _trainjob(found: dict[str, Any]) -> RunTrainJob:
    metadata = found["metadata"]
    return RunTrainJob(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        stage=_annotations(found).get(STAGE_ANNOTATION, ""),
        queue=metadata.get("labels", {}).get(QUEUE_LABEL, ""),
    )
