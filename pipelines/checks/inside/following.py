"""Probes from their making to their end: which start, why others do not, and what they see."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from pydantic import ValidationError

from lidr.components.shared.config.yaml_text import NotYaml
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.text import one_line
from lidr.components.shared.kubernetes import pods
from lidr.components.shared.kubernetes.pods import Pod
from lidr.pipelines.checks.argo import argo_settings, artifact_store
from lidr.pipelines.checks.finding import CheckInputs, Finding, Place, missing, unknown
from lidr.pipelines.checks.inside.jobs import CHECK_LABEL, Object, Probe, probes_of, runtime_of
from lidr.pipelines.checks.inside.probe import Answer, answer_in
from lidr.pipelines.checks.inside.seen import findings_of
from lidr.pipelines.cluster.api import ClusterApi

POLL_SECONDS = 1.0

_TRAINER = "/apis/trainer.kubeflow.org/v1alpha1"
_KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
_FINAL = ("ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "ErrImageNeverPull")
"""Reasons of a waiting container that nothing but a change will mend."""

_REMEDIES = {
    "ImagePull": "Correct images in the profile, or let the nodes log in to the registry.",
    "InvalidImageName": "Correct images in the profile.",
    "CreateContainerConfigError": "Make the Secret or ConfigMap, or correct its name and keys in "
    "the profile.",
    "untolerated taint": "Add the taint to tolerations of the pool in the profile.",
    "node affinity/selector": "Correct node_selector of the pool in the profile; "
    "`kubectl get nodes --show-labels` shows what nodes have.",
    "too little": "Free nodes of the pool, or let it grow; `lidr check` compares it with what is "
    "there.",
    "quota": "Raise the ResourceQuota, or the ClusterQueue's; `lidr check` compares them.",
    "queue": "Raise the queue's quota, wait, or name another queue in the profile.",
    "service account": "Apply the overlay (manifests/README.md), or correct service_account.",
}


@dataclass
class _Watched:
    """A probe on its way.

    Attributes:
        probe: it.
        began: when its Job was made (monotonic).
        found: what is said of it, once it has ended.
    """

    probe: Probe
    began: float = field(default_factory=time.monotonic)
    found: list[Finding] = field(default_factory=list)


def inside_findings(inputs: CheckInputs, api: ClusterApi, place: Place) -> dict[str, list[Finding]]:
    """Start a probe for each kind of step, and return what each has found, by its title.

    Nothing stays: Jobs are deleted with their pods, and end and go by themselves where nobody
    deletes them.

    Args:
        inputs: what is to run; its `seconds` bound all of it.
        api: the cluster, reached.
        place: namespaces.
    """
    check = f"lidr-check-{uuid.uuid4().hex[:8]}"
    runtimes, lacking = _runtimes(inputs, api, place)
    services = _services(api, place.kubeflow)
    found = {f"TrainingRuntime {name}": [each] for name, each in lacking.items()}
    watched = [_Watched(probe) for probe in probes_of(inputs, place, runtimes, services, check)]
    end = time.monotonic() + inputs.seconds
    try:
        for each in watched:
            _make(api, each)
        while any(not each.found for each in watched):
            late = time.monotonic() >= end
            for each in (each for each in watched if not each.found):
                each.found = _look(api, each, check, late=late)
            if not late:
                time.sleep(POLL_SECONDS)
    finally:
        for each in watched:
            with suppress(LidrError):  # it goes by itself
                api.delete(f"{_jobs(each.probe)}/{each.probe.name}")
    return found | {each.probe.title: each.found for each in watched}


def _services(api: ClusterApi, namespace: str) -> dict[str, str]:
    """Return the addresses of Kubeflow that a step's pod needs, by what is there.

    Args:
        api: the cluster.
        namespace: of Kubeflow Pipelines; "" where it is not known.
    """
    if not namespace:
        return {}
    try:
        settings = argo_settings(api, namespace)
    except (LidrError, NotYaml):
        settings = None
    return {
        "Kubeflow Pipelines API": f"tcp://ml-pipeline.{namespace}:8888",
        "Kubeflow's metadata": f"tcp://metadata-grpc-service.{namespace}:8080",
        "Kubeflow's object store": artifact_store(settings, namespace),
    }


def _runtimes(
    inputs: CheckInputs, api: ClusterApi, place: Place
) -> tuple[dict[str, Object], dict[str, Finding]]:
    """Return the TrainingRuntimes of ranks and shards, and what is said where one is not there."""
    there, lacking = {}, {}
    names = {runtime_of(inputs.profile, kind) for kind in ("train", "generate")} - {""}
    for name in sorted(names):
        path = f"{_TRAINER}/namespaces/{place.training}/trainingruntimes/{name}"
        try:
            runtime = api.get(path)
        except LidrError as error:
            lacking[name] = unknown(f"TrainingRuntime {name}", error.message)
            continue
        if runtime is None:
            remedy = "kubectl apply -k manifests/overlays/YOURS (manifests/README.md)"
            lacking[name] = missing(f"TrainingRuntime {name}", "is not there", remedy)
        else:
            there[name] = runtime
    return there, lacking


def _jobs(probe: Probe) -> str:
    return f"/apis/batch/v1/namespaces/{probe.namespace}/jobs"


def _make(api: ClusterApi, watched: _Watched) -> None:
    try:
        api.create(_jobs(watched.probe), watched.probe.body)
    except LidrError as error:
        remedy = (
            "Role lidr-check (manifests/base/roles.yaml) has the rights; ask for a RoleBinding."
        )
        watched.found = [_failed(watched.probe, error.message, remedy)]


def _look(api: ClusterApi, watched: _Watched, check: str, *, late: bool) -> list[Finding]:
    """Return what a probe has found, or why it does not start; [] while there is hope."""
    probe = watched.probe
    pod = _pod(api, probe, check)
    if pod is None:
        refused = "; ".join(_warnings(api, probe, probe.name))
        if refused or late:
            return [_failed(probe, refused or "its Job has made no pod")]
        return []
    if pods.has_ended(pod):
        return _ended(api, watched, pod)
    if why := _why_not(api, probe, pod):
        final = any(reason in why for reason in _FINAL)
        return [_failed(probe, why)] if final or late else []
    if late:
        return [_failed(probe, "it started and was not done in time")]
    return []


def _pod(api: ClusterApi, probe: Probe, check: str) -> Pod | None:
    path = f"/api/v1/namespaces/{probe.namespace}/pods"
    selector = f"{CHECK_LABEL}={check},batch.kubernetes.io/job-name={probe.name}"
    return next(iter(api.each(path, labelSelector=selector)), None)


def _why_not(api: ClusterApi, probe: Probe, pod: Pod) -> str:
    if pods.is_gated(pod):
        return _queued(api, probe, str(pod["metadata"].get("uid", "")))
    return pods.why_waiting(pod, probe.container)


def _queued(api: ClusterApi, probe: Probe, uid: str) -> str:
    """Return why Kueue holds a pod."""
    queue = probe.resources.queue
    try:
        for workload in api.each(f"{_KUEUE}/namespaces/{probe.namespace}/workloads"):
            owners = workload["metadata"].get("ownerReferences", [])
            if any(each.get("uid") == uid for each in owners):
                conditions = workload.get("status", {}).get("conditions", [])
                said = [each for each in conditions if each["type"] == "QuotaReserved"]
                return f"queue {queue}: {said[0]['message'] if said else 'not admitted yet'}"
    except LidrError:
        pass
    return f"queue {queue} holds it"


def _warnings(api: ClusterApi, probe: Probe, name: str) -> Iterator[str]:
    """Yield the warnings about an object, e.g. a Job whose pod a quota forbids."""
    path = f"/api/v1/namespaces/{probe.namespace}/events"
    with suppress(LidrError):
        for event in api.each(path, fieldSelector=f"involvedObject.name={name},type=Warning"):
            yield one_line(f"{event.get('reason', '')}: {event.get('message', '')}")


def _ended(api: ClusterApi, watched: _Watched, pod: Pod) -> list[Finding]:
    probe = watched.probe
    path = f"/api/v1/namespaces/{probe.namespace}/pods/{pods.name_of(pod)}/log"
    log = api.text(path, container=probe.container)
    try:
        answer: Answer | None = answer_in(log)
    except (ValueError, ValidationError):
        answer = None
    if answer is None:
        last = one_line(log.strip().rpartition("\n")[2])[:200]
        why = pods.why_dead(pod, probe.container) or "it ended and said nothing"
        remedy = "See that the image is lidr's, of this version: it runs the probe."
        return [_failed(probe, f"{why}: {last}" if last else why, remedy)]
    node = str(pod.get("spec", {}).get("nodeName", ""))
    took = time.monotonic() - watched.began
    return list(findings_of(probe, answer, node, took))


def _failed(probe: Probe, why: str, remedy: str = "") -> Finding:
    """Return that a pod did not start, and what may be done about it."""
    known = (told for mark, told in _REMEDIES.items() if mark in why)
    told = remedy or next(known, f"kubectl describe job {probe.name} -n {probe.namespace}")
    return missing("starts", why, told)
