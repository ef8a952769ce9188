"""The Kubernetes API as a launcher needs it: creates TrainJobs with Kubeflow's SDK, retries calls.

API servers are restarted and upgraded while jobs run for days. One error ends the SDK's own
`wait_for_job_status`; here every call but `log` is retried until it has failed for minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lidr.components.shared.core.errors import BadInput, LaunchFailed
from lidr.components.shared.core.retry import retry, retry_seconds
from lidr.components.shared.core.text import one_line
from lidr.components.shared.kubernetes.api_errors import status_of, transient_reason
from lidr.components.shared.kubernetes.launch import Launch, Placement
from lidr.components.shared.kubernetes.pods import JOBSET_LABEL, Pod
from lidr.components.shared.kubernetes.trainer_sdk import sdk_backend, trainer_and_options

STAGE_ANNOTATION = "lidr.dev/stage"
RUN_ANNOTATION = "lidr.dev/kfp-run"

_GROUP, _VERSION, _PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
_SHORT_RETRY_SECONDS = 20.0


@dataclass(frozen=True)
class TrainJob:
    """What a launcher reads of a TrainJob (trainer.kubeflow.org/v1alpha1).

    Attributes:
        stage: URI of the stage it works for.
        run: id of the KFP run that created it; "" for none.
        nodes: number of its nodes; 0 if the runtime sets it.
        conditions: the message of each condition that is true, by type.
        deleting: whether it is being deleted.
    """

    stage: str
    run: str
    nodes: int
    conditions: Mapping[str, str]
    deleting: bool

    @property
    def ended(self) -> bool:
        """Whether it is complete or has failed."""
        return "Complete" in self.conditions or "Failed" in self.conditions


class Cluster:
    """One namespace of a cluster, through Kubeflow's SDK.

    Args:
        namespace: "" for the client's own.
        seconds: how long errors of a call are retried; by default LIDR_RETRY_SECONDS.
    """

    def __init__(self, namespace: str = "", seconds: float | None = None) -> None:
        self._backend = sdk_backend(namespace)
        self._seconds = retry_seconds() if seconds is None else seconds
        self._who = f"the Kubernetes API at {self._backend.core_api.api_client.configuration.host}"
        self.namespace: str = self._backend.namespace

    def create(
        self,
        name: str,
        component: str,
        annotations: dict[str, str],
        command: list[str],
        launch: Launch,
        placement: Placement,
    ) -> bool:
        """Create a TrainJob; False if one of that name exists.

        Raises:
            BadInput: the runtime does not exist or cannot be used, or the API server refuses the
                TrainJob.
            LaunchFailed: the API server did not answer for the time of the retries.
        """
        try:
            runtime = self._call(
                f"read TrainingRuntime {launch.runtime}", lambda: self._runtime(launch.runtime)
            )
        except RuntimeError as error:  # the SDK's: it cannot read the answer as a runtime
            raise BadInput(
                f"Kubeflow's SDK cannot use TrainingRuntime {launch.runtime!r} in namespace "
                f"{self.namespace}: {one_line(str(error.__cause__ or error))}",
                remedy="Write it like manifests/base/training-runtime.yaml, or set "
                "training.runtime.",
            ) from error
        if runtime is None:
            raise BadInput(
                f"no TrainingRuntime {launch.runtime!r} in namespace {self.namespace}",
                remedy="Apply manifests/base/training-runtime.yaml, or set training.runtime.",
            )
        trainer, options = trainer_and_options(
            name, component, annotations, command, launch, placement
        )
        created = self._call(
            f"create TrainJob {name}",
            lambda: self._backend.train(runtime=runtime, trainer=trainer, options=options),
            ignored=409,
        )
        return created is not None

    def _runtime(self, name: str) -> Any:
        try:
            return self._backend.get_runtime(name)
        except Exception as error:
            # If the namespace has none, the SDK asks for one of the whole cluster, which a
            # namespaced Role may not read. Only the name in the message tells the two 403s apart.
            own = f"{self.namespace}/{name}" in str(error)
            if status_of(error) == 404 or (status_of(error) == 403 and not own):
                return None
            raise

    def read(self, name: str) -> TrainJob | None:
        """Return a TrainJob, or None if there is none."""
        found = self._call(
            f"read TrainJob {name}",
            lambda: self._backend.custom_api.get_namespaced_custom_object(
                _GROUP, _VERSION, self.namespace, _PLURAL, name
            ),
            ignored=404,
        )
        return None if found is None else _train_job(found)

    def delete(self, name: str) -> None:
        """Delete a TrainJob, which is gone once its pods have ended.

        Deletion is in the foreground (Kubernetes' garbage collection), because another TrainJob of
        this name would share the pods' addresses and checkpoints with ranks that still write.
        """
        self._call(
            f"delete TrainJob {name}",
            lambda: self._backend.custom_api.delete_namespaced_custom_object(
                *(_GROUP, _VERSION, self.namespace, _PLURAL, name),
                propagation_policy="Foreground",
            ),
            ignored=404,
        )

    def pods(self, name: str) -> list[Pod]:
        """Return the pods of a TrainJob, as JSON."""
        answer = self._call(
            f"list the pods of TrainJob {name}",
            lambda: (
                self._backend.core_api.list_namespaced_pod(
                    self.namespace, label_selector=f"{JOBSET_LABEL}={name}", _preload_content=False
                ).data
            ),  # read inside the retried call: the connection may break
        )
        pods: list[Pod] = json.loads(answer)["items"]
        return pods

    def pod(self, name: str) -> Pod | None:
        """Return one pod, or None if there is none."""
        answer = self._call(
            f"read pod {name}",
            lambda: (
                self._backend.core_api.read_namespaced_pod(
                    name, self.namespace, _preload_content=False
                ).data
            ),
            ignored=404,
        )
        return None if answer is None else json.loads(answer)

    def log(self, pod: str, container: str, **options: object) -> str:
        """Return a container's log; "" if it cannot be read now. Not retried.

        The options are those of `read_namespaced_pod_log`, e.g. `tail_lines`.

        Raises:
            BadInput: the API server refused the request.
        """
        try:
            answer: bytes = self._backend.core_api.read_namespaced_pod_log(
                pod, self.namespace, container=container, _preload_content=False, **options
            ).data
        except Exception as error:
            if status_of(error) != 400:  # 400: the container has never started
                transient_reason(error, f"read the log of pod {pod}")
            return ""
        return answer.decode("utf-8", "replace")

    def shorten_retries(self) -> None:
        """Retry calls for seconds only from now on: this process is about to be killed."""
        self._seconds = min(self._seconds, _SHORT_RETRY_SECONDS)

    def _call(self, what: str, function: Callable[[], Any], ignored: int = 0) -> Any:
        """Call the API, with retries; None if it answers with the ignored HTTP status."""

        def call() -> Any:
            try:
                return function()
            except Exception as error:
                if ignored and status_of(error) == ignored:
                    return None
                raise

        def explain(error: Exception) -> LaunchFailed:
            return LaunchFailed(
                f"cannot {what}: {self._who} {transient_reason(error, what)}",
                remedy="A TrainJob that was made goes on; run the step again to adopt it.",
            )

        return retry(call, self._who, explain, self._seconds)


def _train_job(found: dict[str, Any]) -> TrainJob:
    metadata, spec = found["metadata"], found["spec"]
    conditions = found.get("status", {}).get("conditions", [])
    annotations = metadata.get("annotations", {})
    return TrainJob(
        stage=annotations.get(STAGE_ANNOTATION, ""),
        run=annotations.get(RUN_ANNOTATION, ""),
        nodes=spec.get("trainer", {}).get("numNodes", 0),
        conditions={
            each["type"]: each.get("message", "") for each in conditions if each["status"] == "True"
        },
        deleting="deletionTimestamp" in metadata,
    )
