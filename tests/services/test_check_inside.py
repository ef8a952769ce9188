"""lidr check --in-cluster: pods as Kubernetes shows them, started, refused and looked into."""

from __future__ import annotations

import copy
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lidr.components.shared.config.pools import Resources
from lidr.components.shared.kubernetes.pods import CONTAINER
from lidr.pipelines.checks.finding import FoundNamespaces, ok
from lidr.pipelines.checks.inside import probe_runs, remedies
from lidr.pipelines.checks.inside.jobs import PROBE_CONTAINER, Probe
from lidr.pipelines.checks.inside.probe import (
    ANSWER_PREFIX,
    QUESTION_VARIABLE,
    ProbeAnswer,
    ProbeQuestion,
)
from lidr.pipelines.placement import SETTINGS
from lidr.pipelines.stamp import lidr_version
from tests.kubernetes_api import KubernetesApi, Refused, ended, running, unschedulable, waiting
from tests.services.kubeflow import Cluster

GIB = float(1 << 30)
H100 = "NVIDIA H100 80GB HBM3"
KINDS = ["generate", "train", "prepare", "control"]


class Inside:
    """A cluster whose Jobs come to an end at once, each as a test wants it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.api: KubernetesApi = cluster.kubernetes
        self.api.on_job = self._play
        service = {"metadata": {"name": "ml-pipeline", "namespace": "kubeflow"}}
        self.api.objects |= {
            "/version": {"gitVersion": "v1.36.2"},
            "/api/v1/services": {"items": [service]},
        }
        cluster.kubeflow.multi_user = True
        self.changes: dict[str, dict[str, Any]] = {}
        self.statuses: dict[str, dict[str, Any]] = {}
        self.refusals: dict[str, str] = {}
        self.asked: dict[str, dict[str, Any]] = {}
        self.late = 0.0

    def _play(self, job: dict[str, Any]) -> None:
        """Do what the Job's controller, the scheduler, the kubelet and the probe do."""
        kind = job["metadata"]["name"].rpartition("-")[2]
        spec = job["spec"]["template"]["spec"]
        container = spec["containers"][0]
        self.asked[kind] = job
        if kind in self.refusals:
            self.api.warn(job["metadata"]["name"], "FailedCreate", self.refusals[kind])
            return
        if kind in self.statuses:
            self.api.put_job_pod(job, **self.statuses[kind])
            return
        pod = self.api.put_job_pod(job, **ended("Completed", 0, container["name"]))
        gpus = int(container["resources"]["limits"].get("nvidia.com/gpu", "0"))
        environment = {each["name"]: each.get("value", "") for each in container["env"]}
        question = ProbeQuestion.model_validate_json(environment[QUESTION_VARIABLE])
        answer = {
            "version": lidr_version(),
            "gpus": [H100] * gpus,
            "faults": dict.fromkeys(["store", *question.reach], ""),
            "scratch": 100 * GIB,
            "shm": 64 * GIB,
        } | self.changes.get(kind, {})
        told = ProbeAnswer.model_validate(answer).model_dump_json()
        self.api.print(pod, "noise \x1b[2J", f"{ANSWER_PREFIX}{told}")

    def check(self, *more: str, timeout: str = "5") -> tuple[int, dict[str, dict[str, Any]]]:
        """Return the exit code, and findings by `subject: name`."""
        code, out, err = self.cluster.lidr(
            "check", "tiny_world", "--in-cluster", "--timeout", timeout, "--output", "json", *more
        )
        rows = json.loads(out)["findings"] if out else []
        assert "lidr.pipelines" not in err, "no traceback of ours"
        return code, {f"{row['subject']}: {row['name']}": row for row in rows}

    def lacking(self) -> dict[str, str]:
        code, found = self.check()
        assert code == 2
        assert self.api.batch == {} and self.api.pods == {}, "nothing is left"
        return {
            name: f"{row['detail']} | {row['remedy']}"
            for name, row in found.items()
            if row["state"] == "missing"
        }


@pytest.fixture
def inside(cluster: Cluster, monkeypatch) -> Iterator[Inside]:
    monkeypatch.setattr(probe_runs, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(probe_runs, "REFUSED_SECONDS", 0.0)
    yield Inside(cluster)


def test_a_pod_of_each_kind_is_started_looks_and_is_gone(inside: Inside):
    code, found = inside.check()
    assert (code, [row for row in found.values() if row["state"] != "ok"]) == (0, [])
    assert list(inside.asked) == KINDS
    assert found["pod of train: GPUs"]["detail"] == f"8 x {H100}"
    assert found["pod of generate, translate, evaluate: GPUs"]["detail"] == f"1 x {H100}"
    assert found["pod of control: GPUs"]["detail"] == "none"
    assert "node-1" in found["pod of control: starts"]["detail"]
    assert inside.api.batch == {} and inside.api.pods == {}


def test_a_probe_is_like_the_pods_of_its_kind_but_small_and_bounded(inside: Inside):
    inside.check()
    profile = inside.cluster.profile
    for kind, job in inside.asked.items():
        spec, template = job["spec"], job["spec"]["template"]
        assert spec["backoffLimit"] == 0 and spec["ttlSecondsAfterFinished"] == 60
        assert spec["activeDeadlineSeconds"] == 20
        container = template["spec"]["containers"][0]
        requests = container["resources"]["requests"]
        assert (requests["cpu"], requests["memory"]) == ("100m", "512Mi")
        assert container["resources"]["limits"]["memory"] == profile.resources_of(kind).memory
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
    step, ranks = (inside.asked[kind]["spec"]["template"] for kind in ("generate", "train"))
    assert step["spec"]["serviceAccountName"] == "lidr-pipeline"
    assert step["metadata"]["labels"]["workflows.argoproj.io/workflow"] == "lidr-check"
    assert step["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "lidr"
    assert step["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
    assert "sidecar.istio.io/inject" not in ranks["metadata"]["annotations"]
    assert step["spec"]["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert step["spec"]["containers"][0]["image"] == profile.images.generate
    assert step["spec"]["containers"][0]["name"] == PROBE_CONTAINER
    keys = {each["name"] for each in step["spec"]["containers"][0]["env"]}
    assert {"HF_TOKEN", "AWS_ACCESS_KEY_ID", "MLFLOW_TRACKING_PASSWORD"} <= keys
    assert ranks["spec"]["serviceAccountName"] == "lidr-training"
    assert "jobset.sigs.k8s.io/jobset-name" in ranks["metadata"]["labels"]
    assert "workflows.argoproj.io/workflow" not in ranks["metadata"]["labels"]
    assert ranks["spec"]["containers"][0]["name"] == CONTAINER
    assert {"secretRef": {"name": "lidr-hub", "optional": True}} in (
        ranks["spec"]["containers"][0]["envFrom"]
    )


def test_a_probe_of_a_step_gets_the_variables_that_the_step_gets(inside: Inside):
    """Of its ConfigMaps that is the keys that placement names: no `envFrom`, as ranks have it."""
    inside.check()
    container = inside.asked["control"]["spec"]["template"]["spec"]["containers"][0]
    given = {each["name"]: each.get("valueFrom", {}) for each in container["env"]}
    (asked,) = (each["value"] for each in container["env"] if each["name"] == QUESTION_VARIABLE)
    assert set(ProbeQuestion.model_validate_json(asked).namespaces) == {"lidr", "kubeflow"}
    assert set(SETTINGS) <= set(given) and "envFrom" not in container
    key = {"name": "lidr-environment", "key": "NO_PROXY", "optional": True}
    assert given["NO_PROXY"] == {"configMapKeyRef": key}
    key = {"name": "lidr-hub", "key": "HF_TOKEN", "optional": False}
    assert given["HF_TOKEN"] == {"secretKeyRef": key}


TAINT = "0/3 nodes are available: 3 node(s) had untolerated taint {gpu: yes}."
NOT_STARTED = {
    "image": (
        waiting("ImagePullBackOff", 'Back-off pulling image "x": not found', PROBE_CONTAINER),
        "Correct images",
    ),
    "secret": (
        waiting("CreateContainerConfigError", 'secret "lidr-hub" not found', PROBE_CONTAINER),
        "Create the Secret",
    ),
    "taint": (unschedulable(TAINT), "tolerations"),
    "selector": (
        unschedulable(
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
        ),
        "node_selector",
    ),
    "room": (
        unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
        "Free nodes",
    ),
}


@pytest.mark.parametrize("cause", NOT_STARTED)
def test_what_does_not_start_says_why(inside: Inside, cause: str):
    status, remedy = NOT_STARTED[cause]
    inside.statuses["control"] = status
    # What can never start is told at once; what waits, at the end, when the others have long begun.
    code, found = inside.check(timeout="60" if cause in ("image", "secret") else "12")
    row = found["pod of control: starts"]
    assert (code, row["state"]) == (2, "missing")
    text = json.dumps(status)
    assert any(part in text for part in row["detail"].split(": ")) and remedy in row["remedy"]
    lacking = [name for name, each in found.items() if each["state"] == "missing"]
    assert lacking == ["pod of control: starts"], "the others are looked at all the same"
    assert inside.api.batch == {} and inside.api.pods == {}


CONTROL_PLANE = "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }"
GPU_TAINT = "3 node(s) had untolerated taint {nvidia.com/gpu: present}"


@pytest.mark.parametrize(
    ("why", "remedy"),
    [
        (f"unschedulable, too little nvidia.com/gpu: {CONTROL_PLANE}, 4 Insufficient", "Free no"),
        (f"unschedulable: {CONTROL_PLANE}, {GPU_TAINT}.", "Add the taint"),
        (f"unschedulable: {CONTROL_PLANE}, 3 didn't match node affinity/selector.", "Correct node"),
        ("unschedulable: 1 had untolerated taint {node.kubernetes.io/not-ready: }", "Otherwise"),
        ("BackoffLimitExceeded: Job has reached the specified backoff limit", "Otherwise"),
        ("CreateContainerConfigError: failed to sync secret cache: timed out", "Raise --timeout"),
        ('CreateContainerConfigError: secret "lidr-hub" not found', "Create the Secret"),
        ("CreateContainerConfigError: container has runAsNonRoot and image will run as", "Take an"),
        ('FailedCreate: admission webhook "kyverno" denied the request: no team', "Meet the cl"),
        (
            "may not POST (HTTP 403): ValidatingAdmissionPolicy 'p' denied request: no",
            "Meet the cl",
        ),
        ('FailedCreate: pods "x" is forbidden: violates PodSecurity "restricted"', "Meet the cl"),
    ],
)
def test_remedy_is_that_of_the_cause(why: str, remedy: str):
    probe = Probe(("control",), "lidr", {}, Resources(), PROBE_CONTAINER)
    assert remedies.failed(probe, why, otherwise="Otherwise.").remedy.startswith(remedy)


def test_too_few_gpus_may_be_a_taint_on_the_nodes_that_have_some():
    probe = Probe(("train",), "lidr", {}, Resources(), CONTAINER)
    why = f"unschedulable, too little nvidia.com/gpu: {GPU_TAINT}, 2 Insufficient nvidia.com/gpu."
    remedy = remedies.failed(probe, why).remedy
    assert remedy.startswith("Free nodes") and "Or: Add the taint" in remedy


@pytest.mark.parametrize(
    ("why", "permanent"),
    [
        ('ImagePullBackOff: Back-off pulling image "x": ErrImagePull: x: not found', True),
        ("ImagePullBackOff: pull access denied, or may require authorization", True),
        ("ImagePullBackOff: unexpected status: 401 Unauthorized", True),
        ("ImagePullBackOff: 429 Too Many Requests: unauthenticated pull rate limit", False),
        ("ImagePullBackOff: dial tcp 10.0.0.1:443: i/o timeout", False),
        ("ErrImageNeverPull: Container image is not present", True),
        ('CreateContainerConfigError: secret "lidr-hub" not found', True),
        (
            "CreateContainerConfigError: failed to sync secret cache: timed out waiting for the "
            "condition",
            False,
        ),
    ],
)
def test_container_that_a_busy_registry_or_node_holds_back_may_still_start(
    why: str, permanent: bool
):
    assert remedies.is_final(why) == permanent


def test_pod_that_ended_without_a_log_says_why_and_blames_the_image_only_if_it_may_be(
    inside: Inside,
):
    inside.statuses = {
        "control": ended("StartError", 128, PROBE_CONTAINER),
        "prepare": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"},
        "generate": {"phase": "Failed", "reason": "OutOfcpu", "message": "not enough cpu"},
    }
    lacking = inside.lacking()
    control = lacking["pod of control: starts"]
    assert control.startswith("StartError (exit code 128) | Check that the image is lidr's")
    for kind, why in (("prepare", "Evicted: "), ("generate, translate, evaluate", "OutOfcpu: ")):
        text = lacking[f"pod of {kind}: starts"]
        assert text.startswith(why) and "Run the check again" in text and "image" not in text


@pytest.mark.parametrize(("allowed", "remedy"), [(False, "Role lidr-check"), (True, "Run the ch")])
def test_log_that_is_not_there_is_a_matter_of_rights_only_without_them(
    inside: Inside, allowed: bool, remedy: str
):
    inside.statuses["control"] = ended("Completed", 0, PROBE_CONTAINER)
    inside.api.allows = lambda spec: allowed or "subresource" not in spec["resourceAttributes"]
    text = inside.lacking()["pod of control: starts"]
    assert text.startswith(f"its log cannot be read | {remedy}")


def test_pods_that_may_not_be_listed_name_the_role(inside: Inside):
    inside.api.allowed = lambda method, path: not path.endswith("/pods")
    texts = [text for name, text in inside.lacking().items() if name.endswith(": starts")]
    assert len(texts) == len(KINDS)
    assert all("Role lidr-check" in text for text in texts)


def test_probe_has_ended_though_a_sidecar_goes_on(inside: Inside):
    def play(job: dict[str, Any]) -> None:
        inside._play(job)
        inside.api.pods[f"{job['metadata']['name']}-x7k2p"]["status"]["phase"] = "Running"

    inside.api.on_job = play
    code, found = inside.check(timeout="60")
    assert (code, [row for row in found.values() if row["state"] != "ok"]) == (0, [])


def test_job_whose_creation_is_not_answered_is_created_again(inside: Inside):
    names: set[str] = set()

    def play(job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        if name in names:
            raise Refused(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        names.add(name)
        inside._play(job)
        raise Refused(503, "ServiceUnavailable", "etcdserver: leader changed")

    inside.api.on_job = play
    code, found = inside.check(timeout="60")
    assert (code, [row for row in found.values() if row["state"] != "ok"]) == (0, [])


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ('admission webhook "k" denied the request: no team label', "an exception."),
        ("unable to create x in namespace lidr because it is being terminated", "in the profile."),
    ],
)
def test_job_that_a_policy_forbids_needs_no_role(inside: Inside, message: str, remedy: str):
    def refuse(job: dict[str, Any]) -> None:
        raise Refused(403, "Forbidden", message)

    inside.api.on_job = refuse
    for text in inside.lacking().values():
        assert message in text and text.endswith(remedy)


def test_job_that_the_api_server_finds_invalid_is_not_a_matter_of_time(inside: Inside):
    def refuse(job: dict[str, Any]) -> None:
        raise Refused(422, "Invalid", 'Job is invalid: tolerations[0].key: "gpu/x/y"')

    inside.api.on_job = refuse
    for text in inside.lacking().values():
        assert "(HTTP 422)" in text and text.endswith("| Correct the profile: see the message.")


def test_policy_that_denies_with_http_400_is_named_as_one(inside: Inside):
    def refuse(job: dict[str, Any]) -> None:
        raise Refused(400, "BadRequest", 'admission webhook "k" denied the request: no team label')

    inside.api.on_job = refuse
    for text in inside.lacking().values():
        assert "no team label" in text and text.endswith("ask its administrator for an exception.")


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (
            waiting("ContainerCreating", "", PROBE_CONTAINER),
            "it is still being created (its image may be large)",
        ),
        (
            waiting("PodInitializing", "", PROBE_CONTAINER),
            "it is still being created (its image may be large)",
        ),
        (running(PROBE_CONTAINER), "it started and did not end in time"),
    ],
)
def test_pod_that_needs_longer_says_whether_it_has_started(
    inside: Inside, status: dict[str, Any], why: str
):
    inside.statuses["control"] = status
    code, found = inside.check(timeout="3")
    row = found["pod of control: starts"]
    assert (code, row["detail"]) == (2, why)
    assert row["remedy"].startswith("Raise --timeout")


@pytest.mark.parametrize("warned", [True, False])
def test_pod_that_vanishes_is_not_a_matter_of_time(inside: Inside, warned: bool):
    inside.statuses["control"] = running(PROBE_CONTAINER)
    gone: list[str] = []

    def allowed(method: str, path: str) -> bool:
        name = next((each for each in inside.api.pods if "-control-" in each), "")
        seen = sum(each.endswith("/pods") for _, each in inside.api.requests) > 2 * len(KINDS)
        if name and seen and not gone:
            gone.append(name)
            del inside.api.pods[name]
            if warned:
                why = "admission webhook denied the request: not found"  # of a first pod
                inside.api.warn(name.removesuffix("-x7k2p"), "FailedCreate", why)
        return True

    inside.api.allowed = allowed
    code, found = inside.check(timeout="3")
    row = found["pod of control: starts"]
    assert code == 2 and gone
    assert row["detail"] == "its pod has been deleted"
    assert row["remedy"].startswith("Run the check again")


def test_open_data_hub_s_own_services_are_asked_for():
    class Nothing:
        def get(self, path: str) -> None:
            return None

    stock = FoundNamespaces("lidr", "lidr", "kubeflow", ok("x"))
    assert probe_runs._services(Nothing(), stock) == {  # type: ignore[arg-type]
        "Kubeflow Pipelines API": "tcp://ml-pipeline.kubeflow:8888",
        "Kubeflow's metadata": "tcp://metadata-grpc-service.kubeflow:8080",
        "Kubeflow's object store": "http://seaweedfs.kubeflow:9000",
    }
    hub = FoundNamespaces("project", "project", "project", ok("x"), "ds-pipeline-dspa")
    assert probe_runs._services(Nothing(), hub) == {  # type: ignore[arg-type]
        "Kubeflow Pipelines API": "tcp://ds-pipeline-dspa.project:8888",
    }


def test_what_can_never_start_is_told_at_once(inside: Inside):
    inside.statuses["control"] = waiting("ImagePullBackOff", "not found", PROBE_CONTAINER)
    began = time.monotonic()
    code, _ = inside.check(timeout="60")
    assert code == 2 and time.monotonic() - began < 20


def test_pod_that_a_quota_or_a_missing_account_forbids_says_so(inside: Inside):
    inside.refusals = {
        "train": "Error creating: pods is forbidden: exceeded quota: lidr, requested: pods=1",
        "control": 'Error creating: pods "x" is forbidden: error looking up service account '
        "lidr/lidr-pipeline: not found",
    }
    lacking = inside.lacking()
    assert "exceeded quota: lidr" in lacking["pod of train: starts"]
    assert "Raise the ResourceQuota" in lacking["pod of train: starts"]
    assert "Apply the overlay" in lacking["pod of control: starts"]
    assert len(lacking) == 2


def test_pod_that_is_refused_at_first_and_then_made_is_no_fault(inside: Inside, monkeypatch):
    monkeypatch.setattr(probe_runs, "REFUSED_SECONDS", 60.0)
    name = "control"
    inside.refusals[name] = 'admission webhook "mpod.kb.io" denied the request: Job "x" not found'
    retries: list[threading.Timer] = []

    def refuse_once(job: dict[str, Any]) -> None:
        inside._play(job)
        if inside.refusals.pop(name, "") or not retries:
            retries.append(threading.Timer(1.0, inside._play, [inside.asked[name]]))
            retries[0].start()

    inside.api.on_job = refuse_once
    code, found = inside.check(timeout="60")
    retries[0].join()
    assert (code, [row for row in found.values() if row["state"] != "ok"]) == (0, [])


def test_pod_that_a_queue_holds_says_why(inside: Inside):
    def hold(job: dict[str, Any]) -> None:
        if not job["metadata"]["name"].endswith("-train"):
            inside._play(job)
            return
        pod = inside.api.put_job_pod(job)
        inside.api.queue_pod(pod, "lidr", "insufficient unused quota for nvidia.com/gpu")

    inside.api.on_job = hold
    code, found = inside.check(timeout="3")
    assert code == 2
    assert found["pod of train: starts"]["detail"] == (
        "queue lidr: insufficient unused quota for nvidia.com/gpu"
    )


def test_wrong_gpu_a_closed_policy_and_an_empty_secret_are_found(inside: Inside):
    closed = {"store": "", "MLflow": "lidr-mlflow.lidr:5000 is not reached: timed out"}
    inside.changes = {
        "generate": {"gpus": ["NVIDIA A100-SXM4-80GB"]},
        "train": {"gpus": [H100] * 7, "shm": 64.0 * (1 << 20)},
        "control": {"faults": closed, "empty": ["HF_TOKEN"], "scratch": GIB},
        "prepare": {"version": "0.0.9"},
    }
    lacking = inside.lacking()
    assert "the profile says H100" in lacking["pod of generate, translate, evaluate: GPUs"]
    assert "7 x NVIDIA H100 80GB HBM3 seen, 8 asked for" in lacking["pod of train: GPUs"]
    assert "0.1 GiB, less than 1.0" in lacking["pod of train: /dev/shm"]
    assert "NetworkPolicy" in lacking["pod of control: MLflow"]
    assert lacking["pod of control: Secrets"].startswith("HF_TOKEN is empty or unset")
    assert "less than 10.0" in lacking["pod of control: scratch"]
    assert "lidr 0.0.9" in lacking["pod of prepare: starts"]
    assert len(lacking) == 7


def test_image_that_is_not_lidr_s_says_what_it_said(inside: Inside):
    def other(job: dict[str, Any]) -> None:
        name = job["spec"]["template"]["spec"]["containers"][0]["name"]
        pod = inside.api.put_job_pod(job, **ended("Error", 1, name))
        inside.api.print(pod, "python: No module named lidr\x1b[2J")

    inside.api.on_job = other
    lacking = inside.lacking()
    assert "Error (exit code 1): python: No module named lidr" in lacking["pod of control: starts"]
    assert not any("\x1b" in text for text in lacking.values())


@pytest.mark.parametrize("said", ["{}", "[1]", "{", '{"version": 3}', '{"version": "1", "x": 2}'])
def test_answer_that_is_none_is_not_believed(inside: Inside, said: str):
    def lie(job: dict[str, Any]) -> None:
        name = job["spec"]["template"]["spec"]["containers"][0]["name"]
        inside.api.print(
            inside.api.put_job_pod(job, **ended("Completed", 0, name)), ANSWER_PREFIX + said
        )

    inside.api.on_job = lie
    assert set(inside.lacking()) == {
        f"pod of {each}: starts"
        for each in ("generate, translate, evaluate", "train", "prepare", "control")
    }


def test_who_may_make_no_jobs_is_told_which_role_to_ask_for(inside: Inside):
    def refuse(job: dict[str, Any]) -> None:
        message = 'jobs.batch is forbidden: User "me" cannot create resource "jobs"'
        raise Refused(403, "Forbidden", message)

    inside.api.on_job = refuse
    lacking = inside.lacking()
    assert all("Role lidr-check" in text and "is forbidden" in text for text in lacking.values())
    assert len(lacking) == len(KINDS)


def test_missing_runtime_is_named_and_the_others_are_looked_at(inside: Inside):
    del inside.api.runtimes["lidr-training"]
    lacking = inside.lacking()
    assert list(lacking) == ["TrainingRuntime lidr-training: TrainingRuntime lidr-training"]
    assert list(inside.asked) == ["generate", "prepare", "control"]


def test_the_trainer_of_a_runtime_is_looked_at_wherever_it_stands(inside: Inside):
    jobs = inside.api.runtimes["lidr-training"]["spec"]["template"]["spec"]["replicatedJobs"]
    first = copy.deepcopy(jobs[0])
    first["name"] = "dataset-initializer"
    pod = first["template"]["spec"]["template"]["spec"]
    pod["containers"] = [{"name": "dataset-initializer", "image": "initializer"}]
    jobs.insert(0, first)
    assert inside.check()[0] == 0
    assert "train" in inside.asked


def test_a_runtime_without_a_trainer_is_a_finding(inside: Inside):
    jobs = inside.api.runtimes["lidr-training"]["spec"]["template"]["spec"]["replicatedJobs"]
    for job in jobs:
        for container in job["template"]["spec"]["template"]["spec"]["containers"]:
            container["name"] = "trainer"
    (text,) = inside.lacking().values()
    assert "none of its jobs has a container node" in text
    assert list(inside.asked) == ["generate", "prepare", "control"]


def test_in_cluster_is_for_clusters(cluster: Cluster):
    code, _, err = cluster.lidr("check", "tiny_world", "--in-cluster", "--only", "store")
    assert code == 2 and "--in-cluster checks everything that a cluster's pods need" in err


def test_in_cluster_without_the_kubernetes_client_names_the_extra(cluster: Cluster, monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    code, _, err = cluster.lidr("check", "tiny_world", "--in-cluster")
    assert code == 2
    assert err.splitlines() == [
        "lidr: error: --in-cluster: kubernetes is not installed here. pip install 'lidr[submit]'"
    ]
