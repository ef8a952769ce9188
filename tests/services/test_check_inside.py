"""lidr check --in-cluster: pods as Kubernetes shows them, started, refused and looked into."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lidr.components.shared.kubernetes.pods import CONTAINER
from lidr.pipelines.checks.inside import following
from lidr.pipelines.checks.inside.jobs import PROBE_CONTAINER
from lidr.pipelines.checks.inside.probe import (
    ANSWER_PREFIX,
    QUESTION_VARIABLE,
    Answer,
    Question,
)
from lidr.pipelines.stamp import lidr_version
from tests.kubernetes_api import KubernetesApi, ended, unschedulable, waiting
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
        question = Question.model_validate_json(environment[QUESTION_VARIABLE])
        answer = {
            "version": lidr_version(),
            "gpus": [H100] * gpus,
            "faults": dict.fromkeys(["store", *question.reach], ""),
            "scratch": 100 * GIB,
            "shm": 64 * GIB,
        } | self.changes.get(kind, {})
        told = Answer.model_validate(answer).model_dump_json()
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
    monkeypatch.setattr(following, "POLL_SECONDS", 0.02)
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
    inside.api.allowed = lambda method, path: "/jobs" not in path
    lacking = inside.lacking()
    assert all("Role lidr-check" in text and "is forbidden" in text for text in lacking.values())
    assert len(lacking) == len(KINDS)


def test_missing_runtime_is_named_and_the_others_are_looked_at(inside: Inside):
    del inside.api.runtimes["lidr-training"]
    lacking = inside.lacking()
    assert list(lacking) == ["TrainingRuntime lidr-training: TrainingRuntime lidr-training"]
    assert list(inside.asked) == ["generate", "prepare", "control"]


def test_in_cluster_is_for_clusters(cluster: Cluster):
    code, _, err = cluster.lidr("check", "tiny_world", "--in-cluster", "--only", "store")
    assert code == 2 and "--in-cluster checks everything that a cluster's pods need" in err
