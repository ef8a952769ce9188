"""Placement: the profile's wishes in KFP's own words."""

from kfp import dsl, kubernetes

from components.shared.profile import Profile
from components.train.component import train as train_step
from pipelines.placement import SETTINGS, kubernetes_config, placed_by

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
            }
        },
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
        kubernetes.set_security_context(task, run_as_non_root=True)
        assert kubernetes_config(PROFILE, PROFILE.steps.train) == task.platform_config["kubernetes"]


def test_a_step_gets_the_resources_of_its_kind():
    @dsl.pipeline
    def pipeline():
        task = placed(train)
        resources = task.container_spec.resources
        assert task.container_spec.image == "r/t:1"
        assert (resources.cpu_request, resources.memory_limit) == ("500m", "2Gi")
        assert (resources.accelerator_type, resources.accelerator_count) == ("nvidia.com/gpu", "2")


def test_other_steps_are_control():
    @dsl.pipeline
    def pipeline():
        task = placed(gate)
        assert task.container_spec.image == "r/c:1"
        assert task.container_spec.resources.accelerator_count is None
        kinds = {"configMapAsEnv", "secretAsEnv", "fieldPathAsEnv", "securityContext"}
        assert set(task.platform_config["kubernetes"]) == kinds


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
        words = dict.fromkeys(("recipe", "store", "run", "world", "pairs", "model", "launch"), "x")
        found.append(placed_by(profile)(train_step(**words, iteration=1)))

    return found[0].component_spec.task_config_passthroughs


def test_a_local_launcher_keeps_the_resources_in_its_own_pod():
    assert passthroughs("local") is None
    assert len(passthroughs("trainjob")) == 5  # also after another task had none
