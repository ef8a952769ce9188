"""Runs the probes, and reports which of them start, why the others do not, and what they see."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from lidr.components.shared.config.yaml_text import NotYaml
from lidr.components.shared.core.errors import BadInput, LidrError, Unavailable
from lidr.components.shared.core.text import one_line
from lidr.components.shared.kubernetes import pods
from lidr.components.shared.kubernetes.api_errors import POLICY_SIGNS
from lidr.components.shared.kubernetes.pods import CONTAINER, Pod
from lidr.pipelines.checks.argo import argo_settings, artifact_store
from lidr.pipelines.checks.finding import (
    KFP_SERVICE,
    CheckInputs,
    Finding,
    FoundNamespaces,
    missing,
    unknown,
)
from lidr.pipelines.checks.inside.jobs import CHECK_LABEL, Probe, probes_of, runtime_of, template_of
from lidr.pipelines.checks.inside.probe import ProbeAnswer, answer_in
from lidr.pipelines.checks.inside.remedies import (
    PROFILE,
    ROLE,
    again,
    failed,
    is_final,
    longer,
)
from lidr.pipelines.checks.inside.seen import findings_of
from lidr.pipelines.cluster.api import ClusterApi, Denied, Object
from lidr.pipelines.cluster.namespace import why_not_admitted

POLL_SECONDS = 1.0

REFUSED_SECONDS = 30.0
"""Time without a pod after which a refusal counts. The Job's controller tries again after 10 s: a
webhook may not know the Job yet when its first pod is created (Kueue's says "not found")."""

_TRAINER = "/apis/trainer.kubeflow.org/v1alpha1"
_KUEUE = "/apis/kueue.x-k8s.io/v1beta2"


@dataclass
class _ProbeRun:
    """A probe, and how far its run has come.

    Attributes:
        probe: its Job.
        began: when the Job was created (monotonic clock, seconds); 0 until then.
        had_pod: whether its pod has been seen.
        found: its findings; empty until it has ended.
    """

    probe: Probe
    began: float = 0.0
    had_pod: bool = False
    found: list[Finding] = field(default_factory=list)


def inside_findings(
    inputs: CheckInputs, api: ClusterApi, namespaces: FoundNamespaces
) -> dict[str, list[Finding]]:
    """Run a probe for each kind of step, and return their findings by title.

    The Jobs are deleted with their pods; if that fails, Kubernetes removes them soon after.

    Args:
        inputs: what is to run; its `seconds` are the time limit of all probes together.
        api: the cluster, which has been reached.
        namespaces: of the run.
    """
    check = f"lidr-check-{uuid.uuid4().hex[:8]}"
    templates, lacking = _templates(inputs, api, namespaces.training)
    services = _services(api, namespaces)
    probes = probes_of(inputs, namespaces, templates, services, check)
    runs = [_ProbeRun(probe) for probe in probes]
    end = time.monotonic() + inputs.seconds
    try:
        while pending := [each for each in runs if not each.found]:
            late = time.monotonic() >= end
            for each in pending:
                each.found = _poll_once(api, each, check, late=late)
            if not late:
                time.sleep(POLL_SECONDS)
    finally:
        for each in runs:
            with suppress(LidrError):  # Kubernetes removes the Job later
                api.delete(f"{_jobs(each.probe)}/{each.probe.name}")
    return {each.name: [each] for each in lacking} | {each.probe.title: each.found for each in runs}


def _services(api: ClusterApi, namespaces: FoundNamespaces) -> dict[str, str]:
    """Return the addresses of Kubeflow that a step's pod needs, by their names in the report."""
    namespace, service = namespaces.kubeflow, namespaces.service
    if not namespace:
        return {}
    found = {"Kubeflow Pipelines API": f"tcp://{service}.{namespace}:8888"}
    try:
        settings = argo_settings(api, namespace)
    except (LidrError, NotYaml):
        settings = None
    stock = service == KFP_SERVICE  # Open Data Hub has other names for the next two
    if stock:
        found["Kubeflow's metadata"] = f"tcp://metadata-grpc-service.{namespace}:8080"
    if stock or settings:
        found["Kubeflow's object store"] = artifact_store(settings, namespace)
    return found


def _templates(
    inputs: CheckInputs, api: ClusterApi, namespace: str
) -> tuple[dict[str, Object], list[Finding]]:
    """Return the pod templates of ranks and shards by TrainingRuntime; findings for the others."""
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
        elif template := template_of(runtime):
            there[name] = template
        else:
            detail = f"none of its jobs has a container {CONTAINER}, in which Kubeflow Trainer runs"
            remedy = f"Call its trainer's container {CONTAINER}, as those of manifests/base do."
            lacking.append(missing(f"TrainingRuntime {name}", detail, remedy))
    return there, lacking


def _jobs(probe: Probe) -> str:
    return f"/apis/batch/v1/namespaces/{probe.namespace}/jobs"


def _poll_once(api: ClusterApi, run: _ProbeRun, check: str, *, late: bool) -> list[Finding]:
    """Create or poll a probe; an unavailable API is asked again until time is up."""
    try:
        return _poll(api, run, check, late=late) if run.began else _create(api, run)
    except Unavailable as error:
        return [failed(run.probe, error.message, error.remedy)] if late else []
    except Denied as error:
        return [failed(run.probe, error.message, ROLE)]
    except LidrError as error:
        return [failed(run.probe, error.message, error.remedy, otherwise=PROFILE)]


def _create(api: ClusterApi, run: _ProbeRun) -> list[Finding]:
    """Create a probe's Job; return a finding if a quota or a policy forbids it, else []."""
    try:
        api.create(_jobs(run.probe), run.probe.body)
    except Denied as error:
        if not any(sign in error.message for sign in POLICY_SIGNS):
            raise
        return [failed(run.probe, error.message)]
    except BadInput as error:
        if "already exists" not in error.message:
            raise
        # our earlier request, whose answer was lost, has created it
    run.began = time.monotonic()
    return []


def _poll(api: ClusterApi, run: _ProbeRun, check: str, *, late: bool) -> list[Finding]:
    """Return a probe's findings, or why it does not start; [] while it may still end in time."""
    probe = run.probe
    pod = _pod(api, probe, check)
    if pod is None:
        if run.had_pod:  # its Job makes no second one
            return [failed(probe, "its pod has been deleted")]
        refused = "; ".join(_warnings(api, probe))
        if refused and (late or time.monotonic() - run.began >= REFUSED_SECONDS):
            return [failed(probe, refused)]
        if not late:
            return []
        return [failed(probe, "its Job has created no pod", otherwise=longer(probe))]
    run.had_pod = True
    if _has_ended(pod, probe.container):
        return _read_answer(api, run, pod)
    if why := _why_waiting(api, probe, pod):
        found = [failed(probe, why, otherwise=longer(probe))]
        return found if late or is_final(why) else []
    if not late:
        return []
    why = "it is still being created (its image may be large)"
    if pods.is_running(pod, probe.container):
        why = "it started and did not end in time"
    return [failed(probe, why, otherwise=longer(probe))]


def _pod(api: ClusterApi, probe: Probe, check: str) -> Pod | None:
    path = f"/api/v1/namespaces/{probe.namespace}/pods"
    selector = f"{CHECK_LABEL}={check},batch.kubernetes.io/job-name={probe.name}"
    return next(iter(api.items(path, labelSelector=selector)), None)


def _has_ended(pod: Pod, container: str) -> bool:
    """Return whether the probe has ended; a service mesh's sidecar may outlive it."""
    statuses = pod.get("status", {}).get("containerStatuses", [])
    own = [each.get("state", {}) for each in statuses if each["name"] == container]
    return pods.has_ended(pod) or any("terminated" in state for state in own)


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
                return f"queue {queue}: {why_not_admitted(workload) or 'admitted just now'}"
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
    why = pods.why_failed(pod, probe.container)
    try:
        log = api.text(path, container=probe.container)
    except (Denied, Unavailable):
        if not why:
            raise
        log = ""  # the pod's status says why
    if not log and not why:
        return [_unread(api, probe)]
    answer: ProbeAnswer | None = None
    with suppress(ValueError):
        answer = answer_in(log)
    if answer:
        node = str(pod.get("spec", {}).get("nodeName", ""))
        return list(findings_of(probe, answer, node, time.monotonic() - run.began))
    why = why or "it ended without an answer"
    if pod.get("status", {}).get("reason") or pods.is_disrupted(pod):  # not the image's fault
        return [failed(probe, why, again(probe))]
    last = one_line(log.strip().rpartition("\n")[2])[:200]
    remedy = "Check that the image is lidr's, of this version: it runs the probe."
    return [failed(probe, f"{why}: {last}" if last else why, remedy)]


def _unread(api: ClusterApi, probe: Probe) -> Finding:
    """Return the finding about a probe that has succeeded, but whose log we do not get."""
    asked = {"verb": "get", "resource": "pods", "subresource": "log"}
    spec = {"resourceAttributes": asked | {"namespace": probe.namespace}}
    allowed = api.review("SelfSubjectAccessReview", spec)
    return failed(probe, "its log cannot be read", again(probe) if allowed else ROLE)
