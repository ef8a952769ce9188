"""What every task of the compiled pipeline asks a cluster for, frozen."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from lidr.components.rollout.stages import generate_stage
from lidr.components.shared.config.machine import MACHINE, Machine
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.pipelines.cli.inputs import read_profile, read_recipe
from lidr.pipelines.compiled import compile_loop, compile_promotion
from tests.yaml_text import read_documents

PROFILE = {
    "name": "everything",
    "runner": "kubeflow",
    "store": "s3://b/s",
    "tracking_uri": "http://mlflow",
    "images": {"generate": "r/g:1", "train": "r/t:1", "control": "r/c:1"},
    "pools": {
        "h100": {
            "gpu": "H100",
            "accelerators": 8,
            "node_selector": {"gpu": "h100"},
            "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
            "queue": "big",
            "priority": "high",
        },
        "mi300-spot": {
            "accelerators": 4,
            "accelerator_type": "amd.com/gpu",
            "node_selector": {"spot": "yes"},
            "tolerations": [{"key": "spot", "operator": "Equal", "value": "yes"}],
            "affinity": [{"match": [{"key": "zone", "values": ["a", "b"]}], "weight": 10}],
            "spot": True,
            "queue": "small",
        },
    },
    "steps": {
        "generate": {
            "pool": "mi300-spot",
            "cpu": "8",
            "memory": "64Gi",
            "shm": "16Gi",
            "tensor_parallel": 2,
            "retries": {"count": 6, "backoff_seconds": 60},
            "timeout_hours": 12,
        },
        "translate": {"cpu": "4"},
        "evaluate": {"pool": "h100", "accelerators": 1, "timeout_hours": 1},
        "train": {"pool": "h100", "cpu": "16", "memory": "256Gi", "shm": "32Gi"},
        "prepare": {"pool": "", "cpu": "2", "shm": ""},
        "judge": {"cpu": "500m", "timeout_hours": 4},
        "control": {"memory": "2Gi", "retries": {"count": 1, "backoff_seconds": 5}},
    },
    "training": {"launcher": "trainjob", "image": "r/nodes:1"},
    "config_maps": ["settings"],
    "secrets": {"store": ["ID", "KEY"]},
    "pod_labels": {"identity": "on"},
    "pod_annotations": {"team": "nlp"},
    "shards": 2,
}


@dataclass(frozen=True)
class Row:
    """A task's wishes; retry is count and first pause, timeout in seconds."""

    image: str
    cpu: float
    memory: str
    accelerators: str
    selector: dict[str, str]
    tolerations: list[str]
    affinity: list[str]
    shm: str
    labels: dict[str, str]
    retry: tuple[int, str]
    timeout: str
    environment: dict[str, str]


CONTROL = Row(
    image="r/c:1",
    cpu=1.0,
    memory="2Gi",
    accelerators="",
    selector={},
    tolerations=[],
    affinity=[],
    shm="",
    labels={"identity": "on", "app.kubernetes.io/part-of": "lidr"},
    retry=(1, "5s"),
    timeout="",
    environment={"LIDR_IMAGE": "r/c:1"},
)

GENERATE = Row(
    image="r/g:1",
    cpu=8.0,
    memory="64Gi",
    accelerators="4 amd.com/gpu",
    selector={"spot": "yes"},
    tolerations=["spot Equal yes"],
    affinity=["zone In a b, 10"],
    shm="Memory 16Gi",
    labels={
        "identity": "on",
        "app.kubernetes.io/part-of": "lidr",
        "kueue.x-k8s.io/queue-name": "small",
    },
    retry=(6, "60s"),
    timeout="43200",
    environment={"LIDR_IMAGE": "r/g:1", "LIDR_TENSOR_PARALLEL": "2"},
)

TABLE = {
    "prepare": Row(
        image="r/t:1",
        cpu=2.0,
        memory="256Gi",
        accelerators="",
        selector={},
        tolerations=[],
        affinity=[],
        shm="",
        labels={"identity": "on", "app.kubernetes.io/part-of": "lidr"},
        retry=(2, "30s"),
        timeout="",
        environment={"LIDR_IMAGE": "r/t:1"},
    ),
    "generate": GENERATE,
    "translate": Row(**{**vars(GENERATE), "cpu": 4.0}),
    "evaluate": Row(
        image="r/g:1",
        cpu=8.0,
        memory="64Gi",
        accelerators="1 nvidia.com/gpu",
        selector={"gpu": "h100"},
        tolerations=["nvidia.com/gpu Exists NoSchedule"],
        affinity=[],
        shm="Memory 16Gi",
        labels={
            "identity": "on",
            "app.kubernetes.io/part-of": "lidr",
            "kueue.x-k8s.io/queue-name": "big",
            "kueue.x-k8s.io/priority-class": "high",
        },
        retry=(6, "60s"),
        timeout="3600",
        environment={"LIDR_IMAGE": "r/g:1"},
    ),
    # Resources, selector and tolerations go on to the TrainJob, with the queue's labels.
    "train": Row(
        image="r/t:1",
        cpu=16.0,
        memory="256Gi",
        accelerators="8 nvidia.com/gpu",
        selector={"gpu": "h100"},
        tolerations=["nvidia.com/gpu Exists NoSchedule"],
        affinity=[],
        shm="",
        labels={"identity": "on", "app.kubernetes.io/part-of": "lidr"},
        retry=(2, "30s"),
        timeout="",
        environment={"LIDR_IMAGE": "r/nodes:1"},
    ),
    # So do those of a rollout; its own pod merges what the shards have written.
    "roll-out": Row(
        **{
            **vars(GENERATE),
            "image": "r/c:1",
            "shm": "",
            "labels": {"identity": "on", "app.kubernetes.io/part-of": "lidr"},
        }
    ),
    "judge": Row(**{**vars(CONTROL), "cpu": 0.5, "timeout": "14400"}),
    **dict.fromkeys(
        (
            "conclude",
            "finish",
            "gate",
            "check-inputs",
            "nominate",
            "pair",
            "promote",
        ),
        CONTROL,
    ),
}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    task = "{name: care, questions: 's3://b/{language}.jsonl'}"
    section = f"judge={{endpoint: {{model: j}}, tasks: [{task}]}}"
    return read_recipe("tiny_world", None, [section, "gate.max_iterations=1"])


def quickly(compile_pipeline: Callable[..., str], *args: Any, **options: Any) -> str:
    """Compile in a thread: KFP reads the whole stack, and pytest's is deep."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(compile_pipeline, *args, **options).result()


def rows(text: str) -> dict[str, Row]:
    """Return what the tasks of a compiled pipeline ask for, by their component."""
    pipeline, platform = read_documents(text)
    executors = pipeline["deploymentSpec"]["executors"]
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    found: dict[str, Row] = {}
    for body in [pipeline["root"], *pipeline["components"].values()]:
        for task in body.get("dag", {}).get("tasks", {}).values():
            component = task["componentRef"]["name"]
            label = pipeline["components"][component].get("executorLabel")
            if label is None:
                continue
            name = re.sub(r"-\d+$", "", label.removeprefix("exec-"))
            row = row_of(executors[label]["container"], settings[label], task)
            assert found.setdefault(name, row) == row, f"{name} differs among its tasks"
    return found


def row_of(container: dict[str, Any], kubernetes: dict[str, Any], task: dict[str, Any]) -> Row:
    resources = container["resources"]
    gpu = resources.get("accelerator", {})
    retry = task["retryPolicy"]
    assert retry["backoffMaxDuration"] == "2592000s"
    assert kubernetes["podMetadata"]["annotations"] == {"team": "nlp"}
    assert [each["configMapName"] for each in kubernetes["configMapAsEnv"]] == ["settings"]
    (secret,) = kubernetes["secretAsEnv"]
    assert secret["secretName"] == "store"
    assert [key["envVar"] for key in secret["keyToEnv"]] == ["ID", "KEY"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment.pop("MLFLOW_TRACKING_URI") == "http://mlflow"
    return Row(
        image=container["image"],
        cpu=float(resources["resourceCpuRequest"].replace("500m", "0.5")),
        memory=resources["resourceMemoryLimit"],
        accelerators=" ".join(gpu[key] for key in ("resourceCount", "resourceType") if key in gpu),
        selector=kubernetes.get("nodeSelector", {}).get("labels", {}),
        tolerations=[toleration_of(each) for each in kubernetes.get("tolerations", [])],
        affinity=[affinity_of(term) for term in kubernetes.get("nodeAffinity", [])],
        shm=" ".join(
            f"{mount['medium']} {mount['sizeLimit']}"
            for mount in kubernetes.get("emptyDirMounts", [])
            if mount["mountPath"] == "/dev/shm"
        ),
        labels=kubernetes["podMetadata"]["labels"],
        retry=(retry["maxRetryCount"], retry["backoffDuration"]),
        timeout=kubernetes.get("activeDeadlineSeconds", ""),
        environment=environment,
    )


def toleration_of(given: dict[str, str]) -> str:
    return " ".join(given[key] for key in ("key", "operator", "value", "effect") if key in given)


def affinity_of(term: dict[str, Any]) -> str:
    (match,) = term["matchExpressions"]
    return f"{match['key']} {match['operator']} {' '.join(match['values'])}, {term['weight']:g}"


def test_every_task_asks_for_what_the_profile_says(recipe: Recipe):
    profile = Profile.model_validate(PROFILE)
    loop = rows(quickly(compile_loop, recipe, profile, "run", 1, watching=True))
    alone = profile.model_copy(update={"shards": 1})
    loop |= rows(quickly(compile_loop, recipe, alone, "run", 1))
    promotion = rows(quickly(compile_promotion, recipe, profile))
    again = {name: promotion[name] for name in promotion if name in loop}
    assert again == {name: loop[name] for name in again}
    assert loop | promotion == TABLE


def test_place_and_science_are_apart(recipe: Recipe, tmp_path, monkeypatch):
    """Another place changes neither the recipe that steps get nor what stages are known by."""
    science = set()
    for profile in (read_profile("cluster"), read_profile("cluster", "spot")):
        text = quickly(compile_loop, recipe, profile, "run", 1)
        root = next(read_documents(text))["root"]
        science.add(root["inputDefinitions"]["parameters"]["recipe"]["defaultValue"])
    assert len(science) == 1
    world = f"{tmp_path}/stages/prepare/{'0' * 64}"
    here = generate_stage(recipe, str(tmp_path), world, world, 1).digest
    monkeypatch.setenv("LIDR_TENSOR_PARALLEL", "4")
    assert generate_stage(recipe, str(tmp_path), world, world, 1).digest == here


def test_machine_settings_reach_those_who_ask_a_model_and_no_recipe(recipe: Recipe):
    plain = Profile.model_validate(PROFILE)
    engine = {"max_num_seqs": 3, "endpoint": {"url": "http://models/v1"}}
    told = Profile.model_validate(PROFILE | {"engine": engine, "judge": {"url": "http://judge/v1"}})
    science, asking = set(), set()
    for profile in (plain, told):
        for shards in (1, profile.shards):
            sharded = profile.model_copy(update={"shards": shards})
            text = quickly(compile_loop, recipe, sharded, "run", 1)
            root = next(read_documents(text))["root"]
            science.add(root["inputDefinitions"]["parameters"]["recipe"]["defaultValue"])
            found = {name: row.environment for name, row in rows(text).items()}
            asking |= {(name, each[MACHINE]) for name, each in found.items() if MACHINE in each}
    assert len(science) == 1
    names = ("evaluate", "generate", "judge", "roll-out", "translate")
    assert asking == {(name, told.machine.text()) for name in names}
    assert Machine.model_validate_json(told.machine.text()) == told.machine
