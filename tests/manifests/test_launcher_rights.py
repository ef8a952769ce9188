"""The shipped Roles are what their pods need: with them all goes well, beyond them nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lidr.components.serve.follow import Deployment, follow
from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.kubernetes import runs
from lidr.components.shared.kubernetes.own_pod import own_run
from lidr.components.shared.kubernetes.trainjobs import Cluster
from lidr.components.shared.models.outside import ModelLocation
from tests.crds import needs_crds
from tests.kubernetes_api import (
    CORE,
    SERVERS,
    KubernetesApi,
    running,
    serve,
    wait_until,
    write_kubeconfig,
)
from tests.manifests.rights import Right, asked, granted
from tests.unit.train.launch import jobs
from tests.yaml_text import read_documents

pytestmark = needs_crds

ROLES = Path(__file__).resolve().parents[2] / "manifests" / "base" / "roles.yaml"
FOLLOWER = ROLES.parents[1] / "components" / "champion-follower" / "follower.yaml"
CHAMPION = ROLES.parents[1] / "components" / "champion" / "deployment.yaml"

OPTIONAL = {
    Right("list", "events"),
    Right("list", "workloads", "kueue.x-k8s.io"),
    Right("get", "configmaps"),  # the SDK asks the control plane's namespace for its version
}
"""What is asked for only to explain a wait better, and done without."""


def role(name: str, file: Path = ROLES) -> set[Right]:
    """Return the rights of a Role as it is shipped."""
    objects = [each for each in read_documents(file.read_text("utf-8")) if each]
    (found,) = (o for o in objects if o["kind"] == "Role" and o["metadata"]["name"] == name)
    binding = {
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"kind": "Role", "name": name},
        "subjects": [{"name": "me"}],
    }
    return granted((found, binding), "me")


@dataclass
class Guard:
    """Decides requests by a set of rights, and notes what was used and what was refused."""

    rights: set[Right]
    used: set[Right] = field(default_factory=set)
    refused: set[Right] = field(default_factory=set)

    def __call__(self, method: str, path: str) -> bool:
        right = asked(method, path)
        for form in (right, right._replace(name="")):
            if form in self.rights:
                self.used.add(form)
                return True
        self.refused.add(right._replace(name=""))
        return False


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    with serve() as server:
        path = write_kubeconfig(server, tmp_path / "kubeconfig")
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        yield server


def launch(api: KubernetesApi, folder: Path) -> None:
    """Do all that a train step does: look at its own pod, launch, follow the log, clean up."""
    job = jobs.make_job(folder / "store")
    host = socket.gethostname()
    api.pods[host] = {"metadata": {"name": host, "labels": {"pipeline/runid": "run-7"}}}

    def play(name: str) -> None:
        def body() -> None:
            pod = api.put_pod(jobs.NAME, **running())
            api.print(pod, "[rank0] hello")
            log = f"{CORE}/pods/{pod}/log"
            with suppress(AssertionError):  # a launcher that lacks a right never reads it
                wait_until(lambda: [path for _, path in api.requests if path == log], 5)
            jobs.exchange(job).succeed(jobs.SUMMARY)
            api.set_condition(jobs.NAME, "Complete")

        threading.Thread(target=body, daemon=True).start()

    api.before_create = play
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(jobs.launcher(jobs.LAUNCH).run, job).result(timeout=60)
    assert done == jobs.SUMMARY
    assert api.jobs == {}


def test_with_the_shipped_role_a_launcher_does_its_work(api: KubernetesApi, tmp_path: Path):
    api.allowed = guard = Guard(role("lidr-launcher"))
    launch(api, tmp_path)
    assert guard.used == role("lidr-launcher"), "the Role has what nobody uses"
    assert guard.refused <= OPTIONAL


def test_with_the_shipped_role_a_step_learns_whether_another_run_has_ended(
    api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("token", "ca.crt"):
        (tmp_path / name).write_text("x")
    monkeypatch.setattr(runs, "_ACCOUNT", tmp_path)
    monkeypatch.setattr(runs, "_server", lambda: api.url)
    api.allowed = guard = Guard(role("lidr-lease"))
    assert runs.has_ended("lidr", "run-7")
    assert guard.used == role("lidr-lease"), "the Role has what nobody uses"
    assert not guard.refused
    for right in role("lidr-lease"):
        api.allowed = Guard(role("lidr-lease") - {right})
        assert not runs.has_ended("lidr", "run-7")


NEEDED = {
    Right("create", "trainjobs", "trainer.kubeflow.org"),
    Right("get", "trainjobs", "trainer.kubeflow.org"),
    Right("get", "trainingruntimes", "trainer.kubeflow.org"),
    Right("list", "pods"),
}
"""Without these it stops with one clear error; without the others it only knows or cleans less."""


@pytest.mark.parametrize("missing", sorted(NEEDED), ids=lambda right: right.text)
def test_without_a_right_it_says_which_is_missing(
    api: KubernetesApi, tmp_path: Path, missing: Right
):
    api.allowed = guard = Guard(role("lidr-launcher") - {missing})
    with pytest.raises(BadInput, match=r"may not .*forbidden.*Role of manifests/base"):
        launch(api, tmp_path)
    assert missing in guard.refused


def test_its_own_pod_is_all_it_may_read_of_pods_by_name(api: KubernetesApi):
    api.allowed = Guard(role("lidr-launcher") - {Right("get", "pods")})
    assert own_run(Cluster()) == ""


BEYOND = {
    "make a pod": ("POST", f"{CORE}/pods"),
    "run in a pod": ("POST", f"{CORE}/pods/x/exec"),
    "read a Secret": ("GET", f"{CORE}/secrets/lidr-mlflow"),
    "list Secrets": ("GET", f"{CORE}/secrets"),
    "change a runtime": (
        "PATCH",
        "/apis/trainer.kubeflow.org/v1alpha1/namespaces/lidr/trainingruntimes/lidr-training",
    ),
    "list TrainJobs": ("GET", "/apis/trainer.kubeflow.org/v1alpha1/namespaces/lidr/trainjobs"),
    "take rights": ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/lidr/rolebindings"),
    "take a token": ("POST", f"{CORE}/serviceaccounts/lidr-training/token"),
    "change a Deployment": ("PATCH", "/apis/apps/v1/namespaces/lidr/deployments/lidr-champion"),
    "open the network": (
        "DELETE",
        "/apis/networking.k8s.io/v1/namespaces/lidr/networkpolicies/lidr-default-deny",
    ),
}


@pytest.mark.parametrize("what", BEYOND)
def test_the_role_lets_nobody(what: str):
    assert not Guard(role("lidr-launcher") | role("lidr-pipeline"))(*BEYOND[what])


def test_with_its_role_the_follower_changes_its_deployment_and_no_other(
    api: KubernetesApi, monkeypatch
):
    api.allowed = guard = Guard(role("lidr-champion-follower", FOLLOWER))
    monkeypatch.setattr(
        "lidr.components.serve.follow.resolve_model",
        lambda name: ModelLocation("s3://b/stages/train/x/model"),
    )
    documents = read_documents(CHAMPION.read_text("utf-8"))
    (found,) = (each for each in documents if each["kind"] == "Deployment")
    api.servers = {f"{SERVERS[0]}{name}": found for name in ("lidr-champion", "lidr-mlflow")}
    assert follow("tiny", "champion", Deployment("lidr-champion", "lidr"))
    assert guard.used == role("lidr-champion-follower", FOLLOWER)
    with pytest.raises(LidrError, match=r"cannot read Deployment lidr-mlflow.*403"):
        follow("tiny", "champion", Deployment("lidr-mlflow", "lidr"))
