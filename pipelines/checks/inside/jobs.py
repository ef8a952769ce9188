"""Builds the probes: Jobs whose pods are like those of a kind of step, but small and short-lived.

A Job ends itself and its pod after `activeDeadlineSeconds`, and Kubernetes removes both a minute
later (`ttlSecondsAfterFinished`), even if the process that created it is gone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from lidr.components.shared.config.pools import (
    NodeAffinity,
    Resources,
    StepKind,
    quantity_bytes,
    queue_labels,
)
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.kubernetes.pods import CONTAINER
from lidr.pipelines.checks.capacity import train_job_nodes
from lidr.pipelines.checks.finding import CheckInputs, FoundNamespaces
from lidr.pipelines.checks.inside.probe import QUESTION_VARIABLE, ProbeQuestion
from lidr.pipelines.cluster.api import Object
from lidr.pipelines.placement import OWN_LABEL, kubernetes_config
from lidr.pipelines.step_kinds import kinds_of

CHECK_LABEL = "lidr.dev/check"
"""Label of the Jobs and pods of one check."""

PROBE_CONTAINER = "probe"
"""Name of the container in a probe that is like a step's own pod, not a TrainJob's."""

_TTL_SECONDS = 60
_CPU, _MEMORY = "100m", "512Mi"
_WORKFLOW = "workflows.argoproj.io/workflow"
_JOBSET = "jobset.sigs.k8s.io/jobset-name"
_NO_SIDECAR = {"sidecar.istio.io/inject": "false"}
"""Annotation that Kubeflow Pipelines gives the pods of steps."""
_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Probe:
    """A Job whose pod is like that of some kinds of step.

    Attributes:
        kinds: the kinds of step.
        namespace: the Job's.
        body: the Job.
        resources: of such a step's pod.
        container: name of the container whose log has the answer.
    """

    kinds: tuple[StepKind, ...]
    namespace: str
    body: Object
    resources: Resources
    container: str

    @property
    def name(self) -> str:
        """The Job's name."""
        return str(self.body["metadata"]["name"])

    @property
    def title(self) -> str:
        """The kinds, for people."""
        return f"pod of {', '.join(self.kinds)}"


def probes_of(
    inputs: CheckInputs,
    namespaces: FoundNamespaces,
    templates: Mapping[str, Object],
    services: Mapping[str, str],
    check: str,
) -> Iterator[Probe]:
    """Yield a probe for each kind of step; kinds whose pods are equal share one.

    Args:
        inputs: what is to run.
        namespaces: of the run.
        templates: pod templates of ranks and shards by TrainingRuntime (`template_of`); a kind
            whose runtime is missing has no probe.
        services: addresses of the Kubeflow services that a step's pod needs, by name.
        check: name of this check, which is the value of its label and begins its Jobs' names.
    """
    made: dict[str, Probe] = {}
    for kind in kinds_of(inputs.recipe, inputs.profile.shards):
        runtime = runtime_of(inputs.profile, kind)
        if runtime and runtime not in templates:
            continue
        pod = _pod(inputs, namespaces, services, kind, templates.get(runtime))
        known = made.get(repr(pod))
        if known:
            made[repr(pod)] = replace(known, kinds=(*known.kinds, kind))
            continue
        body = _job(f"{check}-{kind}", check, pod, inputs.seconds)
        where = namespaces.training if runtime else namespaces.pods
        resources = inputs.profile.resources_of(kind)
        container = CONTAINER if runtime else PROBE_CONTAINER
        made[repr(pod)] = Probe((kind,), where, body, resources, container)
    yield from made.values()


def runtime_of(profile: Profile, kind: StepKind) -> str:
    """Return the TrainingRuntime of the pods that run a kind of step; "" for the step's own pod."""
    if not train_job_nodes(profile, kind):
        return ""
    return profile.training.runtime if kind == "train" else profile.training.rollout_runtime


def template_of(runtime: Object) -> Object | None:
    """Return the template of a TrainingRuntime's trainer pods; None if it has no trainer.

    A runtime may have other jobs too, such as initializers of the data set and the model.
    """
    for job in runtime["spec"]["template"]["spec"]["replicatedJobs"]:
        template: Object = job["template"]["spec"]["template"]
        if any(each["name"] == CONTAINER for each in template["spec"]["containers"]):
            return template
    return None


def _job(name: str, check: str, pod: Object, seconds: float) -> Object:
    labels = {**OWN_LABEL, CHECK_LABEL: check}
    about = pod["metadata"] | {"labels": pod["metadata"]["labels"] | labels}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": math.ceil(seconds) + 15,
            "ttlSecondsAfterFinished": _TTL_SECONDS,
            "template": {**pod, "metadata": about},
        },
    }


def _pod(
    inputs: CheckInputs,
    namespaces: FoundNamespaces,
    services: Mapping[str, str],
    kind: StepKind,
    of_runtime: Object | None,
) -> Object:
    """Return the template of a pod like those of a kind of step, or of its TrainingRuntime's."""
    profile, resources = inputs.profile, inputs.profile.resources_of(kind)
    labels = profile.pod_labels | queue_labels(resources.queue, resources.priority)
    annotations = profile.pod_annotations
    if of_runtime is None:
        annotations = _NO_SIDECAR | annotations
        template: Object = {"metadata": {"labels": {}}, "spec": _step_pod(profile, kind)}
        labels = {**labels, _WORKFLOW: "lidr-check"}
    else:
        template = copy.deepcopy(of_runtime)
        labels = {**template.get("metadata", {}).get("labels", {}), **labels, _JOBSET: "lidr-check"}
        if profile.training.service_account:
            template["spec"]["serviceAccountName"] = profile.training.service_account
    spec = template["spec"]
    names = (CONTAINER, PROBE_CONTAINER)
    container = next(each for each in spec["containers"] if each["name"] in names)
    container |= {
        "image": _image(profile, kind, ranks=of_runtime is not None),
        "command": ["python", "-m", "lidr.pipelines.checks.inside.probe"],
        "resources": _requested(resources),
    }
    container.pop("args", None)
    asked = _question(inputs, namespaces, services, kind, ranks=of_runtime is not None)
    variable = {"name": QUESTION_VARIABLE, "value": asked.model_dump_json(exclude_defaults=True)}
    container["env"] = [*container.get("env", []), variable]
    spec |= {"restartPolicy": "Never", "enableServiceLinks": False} | _placed(resources)
    if resources.shared_memory:
        _give_shm(spec, container, resources.shm)
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}


def _step_pod(profile: Profile, kind: StepKind) -> Object:
    """Return the pod of a step as Kubeflow makes it, under restricted Pod Security."""
    tracking = {"name": "MLFLOW_TRACKING_URI", "value": profile.tracking_uri}
    container = {
        "name": PROBE_CONTAINER,
        "env": [*_references(profile, kind), *([tracking] if profile.tracking_uri else [])],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "serviceAccountName": profile.service_account,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }


def _references(profile: Profile, kind: StepKind) -> list[Object]:
    """Return the variables that a step gets from Secrets and ConfigMaps, as core/v1 EnvVars."""
    config, found = kubernetes_config(profile, kind), []
    for source in ("secret", "configMap"):
        for given in config.get(f"{source}AsEnv", []):
            of = {"name": given[f"{source}Name"], "optional": given["optional"]}
            for each in given["keyToEnv"]:
                key = {f"{source}KeyRef": {**of, "key": each[f"{source}Key"]}}
                found.append({"name": each["envVar"], "valueFrom": key})
    return found


def _image(profile: Profile, kind: StepKind, *, ranks: bool) -> str:
    return (ranks and kind == "train" and profile.training.image) or profile.images.of(kind)


def _requested(resources: Resources) -> Object:
    """Return a container's resources: the step's accelerators, but little CPU and memory.

    The memory limit is the step's, since the kubelet caps /dev/shm at it.
    """
    least = min(_MEMORY, resources.memory, key=quantity_bytes)
    gpus = {resources.accelerator_type: str(resources.accelerators)}
    held = gpus if resources.accelerators else {}
    return {
        "requests": {"cpu": _CPU, "memory": least, **held},
        "limits": {"memory": resources.memory, **held},
    }


def _placed(resources: Resources) -> Object:
    tolerations = [
        {key: value for key, value in each.model_dump().items() if value}
        for each in resources.tolerations
    ]
    found: Object = {
        "nodeSelector": resources.node_selector,
        "tolerations": tolerations,
        "affinity": _affinity(resources.affinity),
    }
    return {key: value for key, value in found.items() if value}


def _affinity(terms: tuple[NodeAffinity, ...]) -> Object:
    def matching(term: NodeAffinity) -> Object:
        wanted = [each.model_dump(mode="json") for each in term.match]
        return {"matchExpressions": [{k: v for k, v in each.items() if v} for each in wanted]}

    required = [matching(term) for term in terms if not term.weight]
    preferred = [{"weight": t.weight, "preference": matching(t)} for t in terms if t.weight]
    node: Object = {}
    if required:
        node["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": required}
    if preferred:
        node["preferredDuringSchedulingIgnoredDuringExecution"] = preferred
    return {"nodeAffinity": node} if node else {}


def _give_shm(spec: Object, container: Object, size: str) -> None:
    """Mount /dev/shm as the step does, unless its runtime already does."""
    mounts = container.setdefault("volumeMounts", [])
    if any(each["mountPath"] == "/dev/shm" for each in mounts):  # noqa: S108
        return
    mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    bound = {"sizeLimit": size} if size else {}
    volume = {"name": "shm", "emptyDir": {"medium": "Memory", **bound}}
    spec["volumes"] = [*spec.get("volumes", []), volume]


def _question(
    inputs: CheckInputs,
    namespaces: FoundNamespaces,
    services: Mapping[str, str],
    kind: StepKind,
    *,
    ranks: bool,
) -> ProbeQuestion:
    profile, reach = inputs.profile, dict[str, str]()
    if not ranks:  # ranks and shards leave MLflow to their launcher
        if profile.tracking_uri.startswith("http"):
            reach["MLflow"] = profile.tracking_uri
        reach |= services
    if inputs.recipe.model.source.startswith("hf://") and kind == "prepare":
        reach["model hub"] = _HUB
    keys = () if ranks else tuple(key for each in profile.secrets.values() for key in each)
    names = (namespaces.pods, namespaces.training, namespaces.kubeflow)
    return ProbeQuestion(store=profile.store, reach=reach, namespaces=names, variables=keys)
