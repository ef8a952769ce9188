"""Placement: the profile's wishes in KFP's own words."""

import re
from pathlib import Path

import pytest
from kfp import dsl, kubernetes

from lidr.components.shared.config.budget import ACCOUNT
from lidr.components.shared.config.notify import NOTIFY_URL, Notify
from lidr.components.shared.config.profile import Profile
from lidr.components.train.component import train as train_step
from lidr.pipelines.placement import OWN_LABEL, SETTINGS, kubernetes_config, placed_by

ANY = {"key": "gpu", "operator": "Exists"}

PROFILE = Profile.model_validate(
    {
        "name": "pool",
        "runner": "kubeflow",
        "images": {"generate": "r/g:1", "train": "r/t:1", "control": "r/c:1"},
        "config_maps": ["settings"],
        "secrets": {"store": ["ID", "KEY"], "hub": ["TOKEN"]},
        "steps": {
            "train": {
                "cpu": "500m",
                "memory": "2Gi",
                "accelerators": 2,
                "node_selector": {"pool": "gpu", "zone": "a"},
                "tolerations": [
                    {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
                    {"key": "spot", "operator": "Equal", "value": "yes"},
                ],
                "affinity": [
                    {"match": [{"key": "zone", "values": ["a", "b"]}, ANY]},
                    {"match": [{"key": "zone", "values": ["c"]}]},
                    {"match": [{"key": "age", "operator": "Lt", "values": ["3"]}], "weight": 7},
                ],
                "shm": "1Gi",
                "queue": "gpus",
                "priority": "high",
                "retries": {"count": 5, "backoff_seconds": 7},
                "timeout_hours": 2.5,
            },
            "control": {"retries": {"count": 0}},
        },
        "pod_labels": {"azure.workload.identity/use": "true"},
        "pod_annotations": {"team": "nlp"},
    }
)


@dsl.component(base_image="python:3.11")
def train(text: str) -> str:
    return text


@dsl.component(base_image="python:3.11")
def gate(text: str) -> str:
    return text


def placed(component):
    return placed_by(PROFILE)(component(text="x"))


def test_the_kubernetes_part_is_what_kfp_kubernetes_writes():
    @dsl.pipeline
    def pipeline():
        task = train(text="x")
        keys = {key: key for key in SETTINGS}
        kubernetes.use_config_map_as_env(task, "settings", keys, optional=True)
        kubernetes.use_secret_as_env(task, "store", {"ID": "ID", "KEY": "KEY"})
        kubernetes.use_secret_as_env(task, "hub", {"TOKEN": "TOKEN"})
        kubernetes.use_field_path_as_env(task, "KFP_RUN_ID", "metadata.labels['pipeline/runid']")
        kubernetes.add_node_selector(task, "pool", "gpu")
        kubernetes.add_node_selector(task, "zone", "a")
        kubernetes.add_toleration(task, key="gpu", operator="Exists", effect="NoSchedule")
        kubernetes.add_toleration(task, key="spot", operator="Equal", value="yes")
        zones = [{"key": "zone", "operator": "In", "values": ["a", "b"]}, ANY]
        kubernetes.add_node_affinity(task, zones)
        kubernetes.add_node_affinity(task, [{"key": "zone", "operator": "In", "values": ["c"]}])
        age = {"key": "age", "operator": "Lt", "values": ["3"]}
        kubernetes.add_node_affinity(task, [age], weight=7)
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="1Gi")
        kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "lidr")
        kubernetes.add_pod_label(task, "azure.workload.identity/use", "true")
        kubernetes.add_pod_label(task, "kueue.x-k8s.io/queue-name", "gpus")
        kubernetes.add_pod_label(task, "kueue.x-k8s.io/priority-class", "high")
        kubernetes.add_pod_annotation(task, "team", "nlp")
        kubernetes.set_timeout(task, 9000)
        kubernetes.set_security_context(task, run_as_non_root=True)
        assert kubernetes_config(PROFILE, "train") == task.platform_config["kubernetes"]


@pytest.mark.parametrize(("given", "mount"), [({"accelerators": 2}, 1), ({"accelerators": 1}, 0)])
def test_processes_that_share_a_pod_get_shared_memory(given: dict, mount: int):
    profile = Profile.model_validate({"name": "p", "steps": {"generate": given}})

    @dsl.pipeline
    def pipeline():
        task = gate(text="x")
        for _ in range(mount):
            kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory")
        mounts = task.platform_config.get("kubernetes", {}).get("emptyDirMounts", [])
        assert kubernetes_config(profile, "translate").get("emptyDirMounts", []) == mounts


def test_a_launcher_of_a_trainjob_takes_no_place_of_its_own():
    """It holds no GPU: in the queue of its own TrainJob, it could wait for itself."""
    training = PROFILE.training.model_copy(update={"launcher": "trainjob"})
    profile = PROFILE.model_copy(update={"training": training})
    config = kubernetes_config(profile, "train", launches=True)
    assert config["podMetadata"]["labels"] == OWN_LABEL | PROFILE.pod_labels
    assert "emptyDirMounts" not in config
    assert config["activeDeadlineSeconds"] == "9000"


def test_a_step_gets_the_resources_of_its_kind():
    @dsl.pipeline
    def pipeline():
        task = placed(train)
        resources = task.container_spec.resources
        assert task.container_spec.image == "r/t:1"
        assert (resources.cpu_request, resources.memory_limit) == ("500m", "2Gi")
        assert (resources.accelerator_type, resources.accelerator_count) == ("nvidia.com/gpu", "2")
        policy = task._task_spec.retry_policy
        assert (policy.max_retry_count, policy.backoff_duration) == (5, "7s")
        # Argo counts it from the first attempt's start, and tries no more once it is over
        assert policy.backoff_max_duration == f"{30 * 24 * 3600}s"


def test_other_steps_are_control():
    @dsl.pipeline
    def pipeline():
        task = placed(gate)
        assert task.container_spec.image == "r/c:1"
        assert task.container_spec.resources.accelerator_count is None
        kinds = {"configMapAsEnv", "secretAsEnv", "fieldPathAsEnv", "securityContext"}
        assert set(task.platform_config["kubernetes"]) == kinds | {"podMetadata"}
        assert task._task_spec.retry_policy is None


def test_the_documentation_names_the_settings_of_a_step():
    text = (Path(__file__).resolve().parents[2] / "docs/cluster.md").read_text("utf-8")
    table = text.partition("## Settings of steps")[2].partition("\n## ")[0]
    assert {*re.findall(r"`([A-Z][A-Z0-9_]+)`", table)} == {*SETTINGS}


@pytest.mark.parametrize("key", ["AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE", "TMPDIR", "NO_PROXY"])
def test_a_step_gets_what_a_remedy_says_to_set(key: str):
    (given,) = kubernetes_config(PROFILE, "generate")["configMapAsEnv"]
    assert key in [each["envVar"] for each in given["keyToEnv"]]


def test_a_tracking_server_in_the_profile_replaces_the_config_map_s():
    profile = PROFILE.model_copy(update={"tracking_uri": "http://mlflow:5000"})

    @dsl.pipeline
    def pipeline():
        task = placed_by(profile)(gate(text="x"))
        expected = {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "LIDR_IMAGE": "r/c:1"}
        assert task.container_spec.env == expected
        (settings,) = task.platform_config["kubernetes"]["configMapAsEnv"]
        assert "MLFLOW_TRACKING_URI" not in [key["envVar"] for key in settings["keyToEnv"]]
        assert task.container_spec.image == "r/c:1"


def passthroughs(launcher: str):
    settings = PROFILE.training.model_copy(update={"launcher": launcher})
    profile = PROFILE.model_copy(update={"training": settings})
    found = []

    @dsl.pipeline
    def pipeline():
        words = dict.fromkeys(("recipe", "store", "run", "inputs", "pairs", "model", "launch"), "x")
        found.append(placed_by(profile)(train_step(**words, iteration=1)))

    return found[0].component_spec.task_config_passthroughs


def test_a_local_launcher_keeps_the_resources_in_its_own_pod():
    assert passthroughs("local") is None
    assert len(passthroughs("trainjob")) == 5  # also after another task had none


@dsl.component(base_image="python:3.11")
def finish(text: str) -> str:
    return text


def test_only_the_exit_task_gets_the_receiver_s_address_and_ends_without_it_too():
    profile = PROFILE.model_copy(update={"notify": Notify(secret="chat")})

    @dsl.pipeline
    def pipeline():
        ends, works = (placed_by(profile)(each(text="x")) for each in (finish, train))
        *shared, receiver = ends.platform_config["kubernetes"]["secretAsEnv"]
        assert shared == works.platform_config["kubernetes"]["secretAsEnv"]
        assert (receiver["secretName"], receiver["optional"]) == ("chat", True)
        assert receiver["keyToEnv"] == [{"secretKey": NOTIFY_URL, "envVar": NOTIFY_URL}]
        quiet = placed_by(PROFILE)(finish(text="x"))
        assert quiet.platform_config["kubernetes"]["secretAsEnv"] == shared


def test_only_tasks_that_decide_are_told_of_the_account():
    @dsl.pipeline
    def pipeline():
        ends, works = (placed_by(PROFILE, "text")(each(text="x")) for each in (finish, train))
        assert ends.container_spec.env[ACCOUNT] == "text"
        assert ACCOUNT not in works.container_spec.env
