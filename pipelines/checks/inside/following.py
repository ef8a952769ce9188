"""Runs the probes and reports which start, why others do not, and what they see."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from lidr.components.shared.config.yaml_text import NotYaml
from lidr.components.shared.core.errors import LidrError, Unavailable
from lidr.components.shared.core.text import one_line
from lidr.components.shared.kubernetes import pods
from lidr.components.shared.kubernetes.pods import Pod
from lidr.pipelines.checks.argo import argo_settings, artifact_store
from lidr.pipelines.checks.finding import CheckInputs, Finding, RunNamespaces, missing, unknown
from lidr.pipelines.checks.inside.jobs import CHECK_LABEL, Probe, probes_of, runtime_of
from lidr.pipelines.checks.inside.probe import answer_in
from lidr.pipelines.checks.inside.seen import findings_of
from lidr.pipelines.cluster.api import ClusterApi, Denied, Object

POLL_SECONDS = 1.0

_TRAINER = "/apis/trainer.kubeflow.org/v1alpha1"
_KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
_FINAL = ("ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "ErrImageNeverPull")
"""Reasons of a waiting container that do not pass by themselves."""

_ROLE = "Role lidr-check (manifests/base/roles.yaml) has the rights; ask for a RoleBinding."
_REMEDIES = {
    "ImagePull": "Correct images in the profile, or let the nodes log in to the registry.",
    "ErrImageNeverPull": "Bring the image to the nodes, or correct images in the profile.",
    "InvalidImageName": "Correct images in the profile.",
    "CreateContainerConfigError": "Create the Secret or ConfigMap, or correct its name and keys in "
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
class _ProbeRun:
    """A probe that is run.

    Attributes:
        probe: its Job.
        began: when the Job was created (monotonic clock, seconds).
        found: its findings; empty until it has ended.
    """

    probe: Probe
    began: float = field(default_factory=time.monotonic)
    found: list[Finding] = field(default_factory=list)


def inside_findings(
    inputs: CheckInputs, api: ClusterApi, namespaces: RunNamespaces
) -> dict[str, list[Finding]]:
    """Run a probe for each kind of step, and return its findings by its title.

    The Jobs are deleted with their pods; if that fails, Kubernetes removes them soon after.

    Args:
        inputs: what is to run; its `seconds` are the time limit of all probes together.
        api: the cluster, which has been reached.
        namespaces: of the run.
    """
    check = f"lidr-check-{uuid.uuid4().hex[:8]}"
    runtimes, lacking = _runtimes(inputs, api, namespaces.training)
    services = _services(api, namespaces.kubeflow)
    probes = probes_of(inputs, namespaces, runtimes, services, check)
    runs = [_ProbeRun(probe) for probe in probes]
    end = time.monotonic() + inputs.seconds
    try:
        for each in runs:
            _create(api, each)
        while pending := [each for each in runs if not each.found]:
            late = time.monotonic() >= end
            for each in pending:
                each.found = _poll_once(api, each, check, late=late)
            if not late:
                time.sleep(POLL_SECONDS)
    finally:
        for each in runs:
            with suppress(LidrError):  # Kubernetes removes it
                api.delete(f"{_jobs(each.probe)}/{each.probe.name}")
    return {each.name: [each] for each in lacking} | {each.probe.title: each.found for each in runs}


def _services(api: ClusterApi, namespace: str) -> dict[str, str]:
    """Return the addresses of Kubeflow that a step's pod needs, by what the report calls them."""
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
    inputs: CheckInputs, api: ClusterApi, namespace: str
) -> tuple[dict[str, Object], list[Finding]]:
    """Return the TrainingRuntimes of ranks and shards by name; findings for those not read."""
    there, lacking = {}, []
    names = {runtime_of(inputs.profile, kind) for kind in ("train", "generate")} - {""}
    for name in sorted(names):
        try:
            runtime = api.get(f"{_TRAINER}/namespaces/{namespace}/trainingruntimes/{name}")
        except LidrError as error:
            lacking.append(unknown(f"TrainingRuntime {name}", error.message))
            continue
        if runtime is None:
            remedy = "kubectl apply -k manifests/overlays/YOURS (manifests/README.md)"
            lacking.append(missing(f"TrainingRuntime {name}", "is not there", remedy))
        else:
            there[name] = runtime
    return there, lacking


def _jobs(probe: Probe) -> str:
    return f"/apis/batch/v1/namespaces/{probe.namespace}/jobs"


def _create(api: ClusterApi, run: _ProbeRun) -> None:
    try:
        api.create(_jobs(run.probe), run.probe.body)
    except LidrError as error:
        denied = isinstance(error, Denied) and "quota" not in error.message
        run.found = [_failed(run.probe, error.message, _ROLE if denied else error.remedy)]


def _poll_once(api: ClusterApi, run: _ProbeRun, check: str, *, late: bool) -> list[Finding]:
    """Do what `_poll` does; a request that fails is repeated, and harms no other probe."""
    try:
        return _poll(api, run, check, late=late)
    except LidrError as error:
        passes = isinstance(error, Unavailable) and not late
        return [] if passes else [_failed(run.probe, error.message, error.remedy)]


def _poll(api: ClusterApi, run: _ProbeRun, check: str, *, late: bool) -> list[Finding]:
    """Return a probe's findings, or why it does not start; [] while it may still end in time."""
    probe = run.probe
    pod = _pod(api, probe, check)
    if pod is None:
        refused = "; ".join(_warnings(api, probe))
        if refused or late:
            return [_failed(probe, refused or "its Job has created no pod")]
        return []
    if pods.has_ended(pod):
        return _read_answer(api, run, pod)
    if why := _why_waiting(api, probe, pod):
        permanent = any(reason in why for reason in _FINAL)
        return [_failed(probe, why)] if permanent or late else []
    if late:
        return [_failed(probe, "it started and did not end in time")]
    return []


def _pod(api: ClusterApi, probe: Probe, check: str) -> Pod | None:
    path = f"/api/v1/namespaces/{probe.namespace}/pods"
    selector = f"{CHECK_LABEL}={check},batch.kubernetes.io/job-name={probe.name}"
    return next(iter(api.items(path, labelSelector=selector)), None)


def _why_waiting(api: ClusterApi, probe: Probe, pod: Pod) -> str:
    if pods.is_gated(pod):
        return _why_queued(api, probe, str(pod["metadata"].get("uid", "")))
    return pods.why_waiting(pod, probe.container)


def _why_queued(api: ClusterApi, probe: Probe, uid: str) -> str:
    """Return why Kueue holds a pod."""
    queue = probe.resources.queue
    try:
        for workload in api.items(f"{_KUEUE}/namespaces/{probe.namespace}/workloads"):
            owners = workload["metadata"].get("ownerReferences", [])
            if any(each.get("uid") == uid for each in owners):
                conditions = workload.get("status", {}).get("conditions", [])
                said = [each for each in conditions if each["type"] == "QuotaReserved"]
                return f"queue {queue}: {said[0]['message'] if said else 'not admitted yet'}"
    except LidrError:
        pass
    return f"queue {queue} holds it"


def _warnings(api: ClusterApi, probe: Probe) -> Iterator[str]:
    """Yield the warnings about a Job, e.g. that a quota forbids its pod."""
    path = f"/api/v1/namespaces/{probe.namespace}/events"
    selector = f"involvedObject.name={probe.name},type=Warning"
    with suppress(LidrError):
        for event in api.items(path, fieldSelector=selector):
            yield one_line(f"{event.get('reason', '')}: {event.get('message', '')}")


def _read_answer(api: ClusterApi, run: _ProbeRun, pod: Pod) -> list[Finding]:
    """Return the findings of a probe whose pod has ended, from its log."""
    probe = run.probe
    path = f"/api/v1/namespaces/{probe.namespace}/pods/{pods.name_of(pod)}/log"
    log = api.text(path, container=probe.container)
    try:
        answer = answer_in(log)
    except ValueError:
        answer = None
    if not log:
        return [_failed(probe, "its log cannot be read", _ROLE)]
    if answer is None:
        last = one_line(log.strip().rpartition("\n")[2])[:200]
        why = pods.why_failed(pod, probe.container) or "it ended without an answer"
        remedy = "Check that the image is lidr's, of this version: it runs the probe."
        return [_failed(probe, f"{why}: {last}" if last else why, remedy)]
    node = str(pod.get("spec", {}).get("nodeName", ""))
    took = time.monotonic() - run.began
    return list(findings_of(probe, answer, node, took))


def _failed(probe: Probe, why: str, remedy: str = "") -> Finding:
    """Return the finding that a pod did not start, or did not end well; see `_REMEDIES`."""
    known = (text for cause, text in _REMEDIES.items() if cause in why)
    fallback = f"Raise --timeout; kubectl get events -n {probe.namespace} keeps what happened."
    return missing("starts", why, remedy or next(known, fallback))
