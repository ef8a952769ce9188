"""lidr check against real HTTP APIs: each requirement in turn is missing, and is the one named."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lidr.components.shared.core.errors import BadInput, Unavailable
from lidr.pipelines.checks.cluster import NamespaceFinder
from lidr.pipelines.checks.endpoints import _model_names
from lidr.pipelines.checks.finding import CheckInputs, Finding, ok, run_subjects
from lidr.pipelines.checks.images import (
    ImageReference,
    _in_registry,
    _on_nodes,
    registry_digest,
)
from lidr.pipelines.checks.rights import OF_LAUNCHER, OF_PIPELINE, OF_PODS, OF_TRAINING
from lidr.pipelines.cli.inputs import read_profile, read_recipe
from lidr.pipelines.cluster.api import Denied
from lidr.pipelines.cluster.platform import (
    JOBSET,
    KUBEFLOW,
    KUEUE,
    PARTS,
    TRAINER,
    running_version,
)
from tests.json_server import serving
from tests.kubernetes_api import CORE
from tests.manifests.rendering import ROOT
from tests.manifests.rights import TABLE
from tests.services import checked
from tests.services.checked import Checked, node
from tests.services.kubeflow import TOKEN
from tests.services.requirements import GONE, MISSING
from tests.yaml_text import read_yaml


@pytest.fixture
def world(bare: Checked) -> Checked:
    """All of it, the recipe's model, prompts and questions included."""
    bare.fill_bucket()
    return bare


def test_where_all_is_there_nothing_is_missing_and_nothing_is_left(world: Checked):
    before = world.keys()
    code, found, err = world.check()
    assert {name: each for name, each in found.items() if each["state"] != "ok"} == {}
    assert (code, err) == (0, "")
    assert len(found) > 40
    assert world.keys() == before
    assert world.cluster.kubeflow.changes == []
    written = [path for method, path in world.cluster.kubernetes.requests if method != "GET"]
    assert all(path.endswith("reviews") for path in written), "questions that leave nothing"
    assert found["prompts es"]["detail"].startswith("3 in s3://")
    assert found["questions mt_bench"]["detail"] == "en 1, es 1, de 1"
    told = json.dumps(found)
    assert "hush-hush" not in told and "aHVzaC1odXNo" not in told and TOKEN not in told
    assert list(dict.fromkeys(each["subject"] for each in found.values())) == [
        *("kubeflow", "cluster", "objects", "rights", "capacity"),
        *("store", "tracking", "model", "prompts", "images", "endpoints"),
    ]


CLUSTER = ("kubeflow", "cluster", "objects", "rights", "capacity")
OTHERS = ("store", "tracking", "model", "prompts", "images", "endpoints")
LAST_OF_CLUSTER = "room"
EVERYWHERE = {
    "token",
    "JobSet",
    "secret",
    "own right",
    "room",
    "bucket",
    "MLflow",
    "model",
    "image",
}
"""Requirements with which everything is looked at; for others, what shares a server with them."""


@pytest.mark.parametrize("requirement", MISSING)
def test_what_is_missing_is_named_and_nothing_else(bare: Checked, requirement: str):
    world, (breaks, name, remedy) = bare, MISSING[requirement]
    place = list(MISSING).index
    near = CLUSTER if place(requirement) <= place(LAST_OF_CLUSTER) else OTHERS
    if near is OTHERS or requirement in EVERYWHERE:
        world.fill_bucket()
    breaks(world)
    only = [word for each in near for word in ("--only", each)]
    code, found, _ = world.check(*([] if requirement in EVERYWHERE else only))
    lacking = {each: row for each, row in found.items() if row["state"] == "missing"}
    assert list(lacking) == [name.format(host=world.services.host)]
    (row,) = lacking.values()
    assert remedy in row["remedy"]
    assert row["detail"]
    assert code == 2


def test_prompts_that_say_the_same_are_counted(world: Checked):
    files = {code: f"s3://{world.bucket}/prompts/{code}.jsonl" for code in checked.LANGUAGES}
    for code in checked.LANGUAGES:
        texts = (f"{code} one", f"{code} ONE", f"{code} two")
        rows = [{"prompt_id": str(n), "text": text} for n, text in enumerate(texts)]
        world.put(f"prompts/{code}.jsonl", *rows)
    world.write_recipe(prompts={"files": files, "deduplicate": {"mode": "exact"}})
    code, found, _ = world.check("--only", "prompts")
    assert code == 0
    assert found["duplicate prompts"]["detail"].startswith("1 of 3 prompts are left out")


def unknown(found: dict) -> dict[str, str]:
    """Return what cannot be told, with its reasons; nothing may be missing."""
    assert [name for name, row in found.items() if row["state"] == "missing"] == []
    return {name: row["detail"] for name, row in found.items() if row["state"] == "unknown"}


ENGINES = "nodes for generate, translate, evaluate"
OTHER_KINDS = ("train", "prepare", "control, judge")
UNSEEN: dict[str, tuple[str, list[str]]] = {
    "secrets": (f"{CORE}/secrets/lidr-hub", ["Secret lidr-hub"]),
    "nodes": (checked.NODES, [ENGINES, *(f"nodes for {kind}" for kind in OTHER_KINDS)]),
    "quotas": (checked.QUOTAS, ["ResourceQuota"]),
    "others' deployments": (
        checked.DEPLOYMENTS,
        ["JobSet version", "Kubeflow Trainer version", "Kueue version"],
    ),
    "others' rights": (
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        ["rights of lidr-pipeline"],
    ),
    "priorities": (checked.PRIORITY, ["PriorityClass lidr-training"]),
    "cluster queues": (checked.CLUSTER_QUEUE, ["ClusterQueue lidr", "quota of queue lidr"]),
    "the namespace itself": ("/api/v1/namespaces/lidr", ["Namespace lidr"]),
}


@pytest.mark.parametrize("kind", UNSEEN)
def test_what_may_not_be_seen_is_unknown_and_fails_nothing(bare: Checked, kind: str):
    path, names = UNSEEN[kind]
    bare.cluster.kubernetes.forbidden.add(path)
    code, found, _ = bare.check(*ON_CLUSTER)
    assert sorted(unknown(found)) == sorted(names)
    assert all(found[name]["remedy"] or found[name]["detail"] for name in names)
    assert code == 0


ON_CLUSTER = [
    word for name in ("cluster", "objects", "rights", "capacity") for word in ("--only", name)
]


AVAILABLE = {"type": "Available", "status": "True"}


@pytest.mark.parametrize(
    ("status", "lacking"),
    [
        ({"conditions": [AVAILABLE]}, ["Kueue version"]),  # of 0 replicas
        ({"conditions": [AVAILABLE | {"status": "False"}]}, ["Kueue version"]),
        ({"conditions": [AVAILABLE | {"status": "False"}], "availableReplicas": 1}, []),  # of 2
    ],
)
def test_a_controller_without_a_ready_pod_is_missing(
    bare: Checked, status: dict, lacking: list[str]
):
    for item in bare.cluster.kubernetes.objects[checked.DEPLOYMENTS]["items"]:
        if "kueue" in item["spec"]["template"]["spec"]["containers"][0]["image"]:
            item["metadata"] = {"name": "kueue-controller-manager", "namespace": "kueue-system"}
            item["status"] = status
    code, found, _ = bare.check("--only", "cluster")
    assert [name for name, row in found.items() if row["state"] == "missing"] == lacking
    for name in lacking:
        assert "kueue-controller-manager -n kueue-system" in found[name]["remedy"]
    assert code == (2 if lacking else 0)


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("registry.k8s.io/jobset/jobset:v0.12.0", (0, 12, 0)),
        ("10.0.0.5:5000/jobset:v0.12.0@sha256:ab", (0, 12, 0)),
        ("10.0.0.5:5000/jobset@sha256:ab", ()),
        ("10.0.0.5/v1.2/jobset@sha256:ab", ()),
    ],
)
def test_version_of_a_controller_is_in_the_tag_of_its_image(image: str, version: tuple[int, ...]):
    assert running_version(JOBSET, ["kueue:v0.18.4", image]) == (image, version)


def test_without_an_answer_of_the_cluster_one_thing_is_missing(bare: Checked):
    config = bare.cluster.file.with_name("kubeconfig")
    config.write_text(config.read_text().replace(bare.cluster.kubernetes.url, GONE))
    code, found, _ = bare.check(*ON_CLUSTER)
    assert [name for name, row in found.items() if row["state"] == "missing"] == ["Kubernetes API"]
    assert sorted(found) == ["Kubernetes API", "capacity", "objects", "rights"]
    assert code == 2


def test_without_a_kubeconfig_it_says_so(bare: Checked):
    bare.cluster.file.with_name("kubeconfig").unlink()
    _, found, _ = bare.check(*ON_CLUSTER)
    assert found["Kubernetes API"]["remedy"].startswith("Set $KUBECONFIG, or run this in a pod")


@pytest.fixture
def silence() -> Iterator[int]:
    """A port whose connections wait for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_who_hangs_is_one_finding_and_holds_nothing_up(bare: Checked, silence: int, monkeypatch):
    bare.check(*ON_CLUSTER, "--only", "kubeflow", "--only", "tracking")  # imports take their time
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    address = f"http://127.0.0.1:{silence}"
    host = address.removeprefix("http://")
    bare.cluster.configure(
        kubeflow={"host": address}, tracking_uri=address, images={"train": f"{host}/train:1"}
    )
    bare.write_recipe(judge=None)
    config = bare.cluster.file.with_name("kubeconfig")
    config.write_text(config.read_text().replace(bare.cluster.kubernetes.url, address))
    begun = time.monotonic()
    only = [*ON_CLUSTER, "--only", "kubeflow", "--only", "tracking", "--only", "images"]
    code, found, _ = bare.check(*only, "--timeout", "9")
    assert time.monotonic() - begun < 15
    lacking = [name for name, row in found.items() if row["state"] == "missing"]
    assert lacking[0] in ("Kubeflow Pipelines API", "kubeflow")  # it repeats its request
    assert lacking[1:] == ["Kubernetes API", "MLflow"]
    assert found[f"image {host}/train:1"]["state"] == "unknown"
    assert code == 2


def test_a_subject_that_never_ends_is_left_behind():
    never = threading.Event()

    def slow() -> Iterator[Finding]:
        yield ok("quick", "so far")
        never.wait()

    def fails() -> Iterator[Finding]:
        raise BadInput("it is broken", remedy="Mend it.")

    found = run_subjects({"slow": slow, "fails": fails}, 0.5)
    assert [each.state for each in found["slow"]] == ["ok", "missing"]
    assert found["slow"][1].detail == "no answer within 0.5 s"
    assert found["fails"] == [Finding("fails", "missing", "it is broken", "Mend it.")]
    never.set()


def test_a_check_that_breaks_is_a_finding(bare: Checked):
    bare.objects[checked.NODES] = {"items": [{"spec": {"taints": [{}]}}]}
    _, found, err = bare.check(*ON_CLUSTER)
    assert unknown(found)["capacity"].startswith("the check itself failed: KeyError")
    assert found["ResourceQuota lidr"]["state"] == "ok"
    assert err == ""


def test_what_only_pods_can_reach_is_unknown(bare: Checked):
    judge = {"url": "http://judge.models.svc:8000/v1"}
    bare.cluster.configure(tracking_uri="http://lidr-mlflow.lidr:5000", judge=judge)
    questions = f"s3://{bare.bucket}/questions/{{language}}.jsonl"
    tasks = [{"name": "mt_bench", "questions": questions}]
    bare.write_recipe(judge={"endpoint": {"model": "j"}, "tasks": tasks})
    _, found, _ = bare.check("--only", "tracking", "--only", "endpoints")
    assert sorted(unknown(found)) == ["MLflow", "judge.endpoint"]
    assert "kubectl -n lidr port-forward svc/lidr-mlflow 5000" in found["MLflow"]["remedy"]

    bare.cluster.monkeypatch.setenv("MLFLOW_TRACKING_URI", bare.services.url)
    _, found, _ = bare.check("--only", "tracking")
    assert unknown(found) == {}


def test_a_pool_that_may_grow_is_not_missing(bare: Checked):
    bare.objects[checked.NODES] = {"items": [node("cpu", 16)]}
    _, found, _ = bare.check("--only", "capacity")
    assert found["nodes for train"]["state"] == "missing"
    bare.objects[checked.KARPENTER] = {"resources": [{"name": "nodepools"}]}
    _, found, _ = bare.check("--only", "capacity")
    assert set(unknown(found)) == {ENGINES, "nodes for train"}
    assert found["nodes for train"]["detail"].endswith("; Karpenter may add nodes")


def test_a_selector_finds_the_pool_and_a_cordon_closes_it(bare: Checked):
    asked = bare.cluster.kubernetes.requests
    steps = read_yaml(bare.cluster.file.read_text())["steps"]
    steps["train"]["node_selector"] = {"pool": "h100"}
    bare.cluster.configure(steps=steps)
    bare.objects[checked.NODES] = {"items": [node("gpu", 128, gpus=8, unschedulable=True)]}
    _, found, _ = bare.check("--only", "capacity")
    assert "1 nodes labelled pool=h100 is ready" in found["nodes for train"]["detail"]
    assert "uncordon" in found["nodes for train"]["remedy"]
    assert ("GET", checked.NODES) in asked


def test_images_are_asked_for_with_dockers_login(bare: Checked):
    login = base64.b64encode(b"me:mine").decode()
    bare.services.credentials = login
    _, found, _ = bare.check("--only", "images")
    assert len(unknown(found)) == 3
    assert all("or does not exist" in detail for detail in unknown(found).values())
    folder = bare.cluster.file.with_name("docker")
    folder.mkdir()
    auths = {"auths": {bare.services.host: {"auth": login}}}
    (folder / "config.json").write_text(json.dumps(auths))
    _, found, _ = bare.check("--only", "images")
    assert unknown(found) == {}
    assert login not in json.dumps(found)


@pytest.mark.parametrize(
    ("image", "url"),
    [
        ("busybox", "https://registry-1.docker.io/v2/library/busybox/manifests/latest"),
        ("lidr/train:1", "https://registry-1.docker.io/v2/lidr/train/manifests/1"),
        ("docker.io/busybox", "https://registry-1.docker.io/v2/library/busybox/manifests/latest"),
        ("docker.io/lidr/train", "https://registry-1.docker.io/v2/lidr/train/manifests/latest"),
        ("ghcr.io/a/b/c:0.1", "https://ghcr.io/v2/a/b/c/manifests/0.1"),
        ("localhost:5000/a:1", "http://localhost:5000/v2/a/manifests/1"),
        ("localhost/a:1", "http://localhost/v2/a/manifests/1"),
        ("[::1]:5000/a:1", "http://[::1]:5000/v2/a/manifests/1"),
        ("localhost.example.org/a:1", "https://localhost.example.org/v2/a/manifests/1"),
        ("r.example.org:443/a:1@sha256:ab", "https://r.example.org:443/v2/a/manifests/sha256:ab"),
    ],
)
def test_an_image_is_where_docker_would_look(image: str, url: str):
    assert ImageReference.parse(image).url == url


def test_a_table_says_what_to_mend(world: Checked):
    world.remove("prompts/es.jsonl")
    world.services.credentials = "nobody's"
    only = ("--only", "prompts", "--only", "images")
    code, out, err = world.cluster.lidr("check", str(world.recipe), *only)
    assert (code, err) == (2, "")
    assert "Correct prompts.files in the recipe" in out
    assert out.splitlines()[-1] == "1 missing: prompts es; 3 could not be checked from here."


def test_a_subject_that_there_is_not_is_refused(bare: Checked):
    code, _, err = bare.check("--only", "weather")
    assert code == 2
    assert "Choose from kubeflow, cluster, objects, rights" in err


@pytest.fixture
def hub(bare: Checked, monkeypatch, tmp_path: Path) -> Iterator[dict[str, bytes]]:
    """A model hub with the model's files, which a token opens."""
    files = dict(checked.model_files())
    commit = "a" * 40

    def answer(request, body: bytes) -> tuple:
        if request.headers.get("authorization") != "Bearer hf_token":
            return 401, {"error": "gated"}, {"X-Error-Code": "GatedRepo"}
        if request.path.startswith("/api/models/org/tiny/revision/"):
            siblings = [{"rfilename": name} for name in files]
            return 200, {"id": "org/tiny", "sha": commit, "siblings": siblings}
        if request.path.startswith("/api/models/org/tiny/tree/"):
            sizes = {name: len(data) for name, data in files.items()}
            entries = [
                {"type": "file", "path": name, "size": size, "oid": name}
                for name, size in sizes.items()
            ]
            return 200, entries
        name = request.path.rpartition("/")[2]
        assert "safetensors" not in name or name.endswith(".json"), "weights are not fetched"
        tag = {"X-Repo-Commit": commit, "ETag": f'"{name}"', "Accept-Ranges": "bytes"}
        return 200, files[name].decode(), tag

    with serving(answer) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        bare.write_recipe(model={"source": f"hf://org/tiny@{commit}"})
        yield files


def test_a_gated_model_is_read_with_a_token_or_unknown(bare: Checked, hub, monkeypatch):
    _, found, _ = bare.check("--only", "model")
    assert "pods have HF_TOKEN, which is not set here" in unknown(found)["model files"]
    bare.cluster.configure(secrets={})
    code, found, _ = bare.check("--only", "model")
    assert (code, found["model files"]["state"]) == (2, "missing")
    assert "must be accepted, accept them and set HF_TOKEN" in found["model files"]["remedy"]
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    code, found, _ = bare.check("--only", "model")
    assert (code, unknown(found)) == (0, {})
    assert found["chat template"]["state"] == "ok"


def test_a_registered_model_is_followed(bare: Checked):
    bare.write_recipe(model={"source": "models:/tiny@champion"})
    _, found, _ = bare.check("--only", "model")
    told = unknown(found)["model"]
    assert "$MLFLOW_TRACKING_URI, which is not set here" in told
    bare.cluster.monkeypatch.setenv("MLFLOW_TRACKING_URI", bare.services.url)
    code, found, _ = bare.check("--only", "model")
    assert (code, list(found)) == (2, ["model"])
    assert "not in MLflow" in found["model"]["detail"]


def test_a_machine_is_looked_at_and_left_as_it_was(bare: Checked, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    profile = tmp_path / "here.yaml"
    profile.write_text("name: here\nrunner: local\nstore: deep/down/store\n")
    bare.cluster.file = profile
    before = sorted(tmp_path.rglob("*"))
    code, found, _ = bare.check("--set", "model.source=toy", "--set", "prompts.files={}", *HERE)
    assert (code, unknown(found)) == (0, {}), found
    assert found["store conditional write"]["detail"] == "the second of two writers is refused"
    assert "will be made" in found["MLflow"]["detail"]
    assert sorted(tmp_path.rglob("*")) == before

    profile.write_text("name: here\nrunner: local\nstore: recipe.yaml\n")
    code, found, _ = bare.check("--set", "model.source=toy", "--set", "prompts.files={}", *HERE)
    assert (code, found["store"]["state"]) == (2, "missing")


def test_pods_of_a_kubeflow_for_one_user_are_looked_for_where_it_runs(bare: Checked):
    bare.objects[checked.SERVICES] = {"items": [checked.service("ml-pipeline", "kubeflow")]}
    bare.objects["/api/v1/namespaces/kubeflow"] = {"metadata": {"name": "kubeflow"}}
    code, found, _ = bare.check("--only", "objects")
    place = found["namespace of pods"]
    assert code == 2 and place["state"] == "missing"
    assert "in its own namespace, kubeflow; the profile says lidr" in place["detail"]
    assert "Set namespace to kubeflow" in place["remedy"]
    assert found["ServiceAccount lidr-pipeline"]["state"] == "missing", "it is in another namespace"

    bare.cluster.configure(namespace="kubeflow")
    _, found, _ = bare.check("--only", "objects")
    assert found["namespace of pods"]["state"] == "ok"
    assert found["namespace of pods"]["detail"].startswith(
        "kubeflow; Kubeflow Pipelines is for one"
    )


def test_pods_of_a_kubeflow_for_several_users_are_in_the_profile_s_namespace(bare: Checked):
    bare.objects[checked.SERVICES] = {"items": [checked.service("ml-pipeline", "kubeflow")]}
    bare.cluster.kubeflow.multi_user = True
    _, found, _ = bare.check("--only", "objects")
    assert found["namespace of pods"]["detail"] == "lidr; Kubeflow Pipelines is for several users"
    assert found["ServiceAccount lidr-pipeline"]["state"] == "ok"


def test_pods_of_open_data_hub_are_in_the_project_of_its_pipeline_server(bare: Checked):
    project = checked.service("ds-pipeline-dspa", "project")
    bare.objects[checked.SERVICES] = {"items": [project]}
    _, found, _ = bare.check("--only", "objects")
    assert "in its own namespace, project" in found["namespace of pods"]["detail"]


def test_where_kubeflow_is_cannot_always_be_told(bare: Checked):
    two = [checked.service("ml-pipeline", name) for name in ("one", "another")]
    bare.objects[checked.SERVICES] = {"items": two}
    code, found, _ = bare.check("--only", "objects")
    assert (code, found["namespace of pods"]["state"]) == (0, "unknown")
    assert found["ServiceAccount lidr-pipeline"]["state"] == "ok", "the profile's is looked at"


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        (checked.OF_KUBEFLOW, "OnError, 2 times: a pod that is deleted, evicted or lost"),
        ({}, "OnFailure, 2 times: a step that ends with an error is tried again"),
        ({"retryPolicy": "New"}, "New, 2 times: lidr does not know this policy; see Argo's"),
        ({"retryPolicy": "Always"}, "Always, 2 times: a step that ends with an error is tried"),
    ],
)
def test_what_argo_retries_is_said(bare: Checked, strategy: dict, told: str):
    bare.objects[checked.ARGO] = checked.argo(strategy)
    _, found, _ = bare.check("--only", "kubeflow")
    assert found["retries by Argo"]["state"] == "ok"
    assert found["retries by Argo"]["detail"].startswith(told)


def test_every_kind_s_number_of_retries_is_said(bare: Checked):
    bare.cluster.configure(steps={"evaluate": {"retries": {"count": 8}}})
    bare.objects[checked.ARGO] = checked.argo({})
    _, found, _ = bare.check("--only", "kubeflow")
    assert found["retries by Argo"]["detail"].startswith("OnFailure, 2/8 times: ")


def test_what_argo_retries_may_be_hidden(bare: Checked):
    del bare.objects[checked.ARGO]
    _, found, _ = bare.check("--only", "kubeflow")
    assert found["retries by Argo"]["state"] == "unknown"
    assert (
        "get configmap workflow-controller-configmap -n lidr" in found["retries by Argo"]["remedy"]
    )


def test_key_of_a_config_map_that_no_step_gets_is_named(bare: Checked):
    bare.objects[f"{CORE}/configmaps/lidr-environment"]["data"]["TEAM"] = "nlp"
    _, found, _ = bare.check("--only", "objects")
    finding = found["ConfigMap lidr-environment"]
    assert finding["state"] == "ok"
    assert finding["detail"].startswith(
        "AWS_REGION, TEAM; a step's own pod does not get TEAM (docs/cluster.md"
    )


@pytest.mark.parametrize(
    ("selector", "state"),
    [
        ({"matchLabels": {"kubernetes.io/metadata.name": "lidr"}}, "ok"),
        ({"matchLabels": {"kubernetes.io/metadata.name": "kubeflow"}}, "missing"),
        (
            {
                "matchExpressions": [
                    {
                        "key": "kubernetes.io/metadata.name",
                        "operator": "In",
                        "values": ["kubeflow", "lidr"],
                    }
                ]
            },
            "ok",
        ),
        (None, "missing"),
    ],
)
def test_a_cluster_queue_for_other_namespaces_is_told(bare: Checked, selector, state: str):
    bare.objects[checked.CLUSTER_QUEUE] = checked.cluster_queue(selector)
    _, found, _ = bare.check("--only", "objects")
    assert found["ClusterQueue lidr"]["state"] == state
    if state == "missing":
        assert "admits nothing of namespace lidr" in found["ClusterQueue lidr"]["detail"]


@pytest.mark.parametrize("key", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_a_store_that_only_pods_reach_is_told(bare: Checked, monkeypatch, key: str):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    settings = bare.objects[f"{CORE}/configmaps/lidr-environment"]["data"]
    settings[key] = "http://lidr-object-store:8333"
    code, found, _ = bare.check("--only", "store")
    assert (code, found["store"]["state"]) == (0, "unknown")
    assert f"port-forward svc/lidr-object-store 8333, and set ${key} " in (found["store"]["remedy"])


def test_a_folder_is_no_store_of_pods_whatever_their_endpoint(bare: Checked, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    settings = bare.objects[f"{CORE}/configmaps/lidr-environment"]["data"]
    settings["AWS_ENDPOINT_URL"] = "http://lidr-object-store:8333"
    for folder in (str(tmp_path), f"file://{tmp_path}"):
        bare.cluster.configure(store=folder)
        _, found, _ = bare.check("--only", "store")
        assert found["store"]["state"] == "missing"
        assert "which pods cannot reach" in found["store"]["detail"]


def test_images_that_are_on_every_node_need_no_registry(bare: Checked):
    bare.services.images.clear()
    image = f"{bare.services.host}/lidr/train:0.1.0"
    nodes = bare.objects[checked.NODES]["items"]
    nodes[0]["status"]["images"] = [{"names": [image, f"{image}@sha256:{'0' * 64}"]}]
    _, found, _ = bare.check("--only", "images")
    assert found[f"image {image}"]["detail"].startswith("on 1 of 2 nodes; ")
    assert found[f"image {image}"]["state"] == "missing"
    nodes[1]["status"]["images"] = [{"names": [image]}]
    _, found, _ = bare.check("--only", "images")
    assert found[f"image {image}"]["state"] == "unknown"
    assert found[f"image {image}"]["detail"] == (
        "on all 2 nodes now, but not in its registry: new nodes cannot pull it"
    )
    for change in ({"credentials": "nobody's"}, {"failing": ("/v2/",)}):
        for name, value in change.items():
            setattr(bare.services, name, value)
        _, found, _ = bare.check("--only", "images")
        assert found[f"image {image}"]["state"] == "ok", "e.g. loaded into kind, under any name"
        assert found[f"image {image}"]["detail"] == "on all 2 nodes"


def test_registry_that_asks_for_hours_of_patience_is_not_waited_for():
    def answer(request, body: bytes) -> tuple:
        return 429, {}, {"Retry-After": "3600"}

    with serving(answer) as url:
        begun = time.monotonic()
        assert registry_digest(f"{url.removeprefix('http://')}/lidr/train:1", 5.0) == ""
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "config",
    ['{"auths": null}', "[]", "{", '{"auths": [1]}', pytest.param("[" * 100_000, id="nested")],
)
def test_token_and_login_that_are_none_are_none(tmp_path: Path, monkeypatch, config: str):
    (tmp_path / "config.json").write_text(config)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    def answer(request, body: bytes) -> tuple:
        if request.path.startswith("/token"):
            return 200, ["no token"]
        return 401, {}, {"WWW-Authenticate": f'Bearer realm="{url}/token"'}

    with serving(answer) as url:
        assert registry_digest(f"{url.removeprefix('http://')}/lidr/train:1", 5.0) == ""


@pytest.mark.parametrize("helper", ["credsStore", "credHelpers"])
def test_a_login_in_a_credential_helper_is_said_to_be_there(bare: Checked, helper: str):
    bare.services.credentials = base64.b64encode(b"me:mine").decode()
    (folder := bare.cluster.file.with_name("docker")).mkdir()
    host = bare.services.host
    config = {"auths": {host: {}}, helper: {host: "pass"} if helper == "credHelpers" else "pass"}
    (folder / "config.json").write_text(json.dumps(config))
    image = f"{host}/lidr/train:0.1.0"
    row = bare.check("--only", "images")[1][f"image {image}"]
    assert row["state"] == "unknown"
    assert "which is in a credential helper that is not started here" in row["detail"]
    assert row["remedy"] == f"docker manifest inspect {image}"
    if helper == "credsStore":  # set for all registries, whether there is a login or not
        (folder / "config.json").write_text(json.dumps({"auths": {}, helper: "pass"}))
        row = bare.check("--only", "images")[1][f"image {image}"]
        assert "the image is private, or does not exist" in row["detail"]


def test_registry_is_asked_through_the_proxy_but_not_one_on_this_machine(monkeypatch):
    digest, asked = "sha256:" + "a" * 64, []

    def answer(request, body: bytes) -> tuple:
        asked.append(request.path)
        return 200, {}, {"Docker-Content-Digest": digest}

    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with serving(answer) as proxy, serving(answer) as registry:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("https_proxy", proxy)
        assert registry_digest(f"{registry.removeprefix('http://')}/lidr/train:1", 5.0) == digest
        assert asked == ["/v2/lidr/train/manifests/1"]
        row = _in_registry("", "r.example.org/a:1", ImageReference.parse("r.example.org/a:1"), 5.0)
    assert "(ProxyError)" in row.detail, "this proxy refuses CONNECT"


def test_registry_that_is_not_reached_is_named_with_the_reason(bare: Checked):
    bare.cluster.configure(images={"train": "127.0.0.1:9/train:1"})
    _, found, _ = bare.check("--only", "images")
    detail = found["image 127.0.0.1:9/train:1"]["detail"]
    assert "is not reached from here (NewConnectionError)" in detail


def test_nodes_that_cannot_be_listed_now_do_not_end_the_subject():
    class Busy:
        def is_reached(self) -> bool:
            return True

        def items(self, path: str) -> Iterator[dict]:
            raise Unavailable("HTTP 503")

    assert _on_nodes(Busy()) == []  # type: ignore[arg-type]


def test_endpoint_is_asked_through_the_proxy_of_the_environment(bare: Checked, monkeypatch):
    asked: list[tuple[str, str]] = []

    def proxy(request, body: bytes) -> tuple:
        asked.append((request.path, request.headers.get("Authorization", "")))
        return 200, {"data": [{"id": checked.JUDGE}]}

    bare.cluster.configure(judge={"url": "http://judge.example.org/v1"})
    netrc = bare.cluster.file.with_name("netrc")
    netrc.write_text("machine judge.example.org login me password mine\n")
    with serving(proxy) as url:
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "127.0.0.1,localhost")
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("LIDR_JUDGE_API_KEY", "k")
        code, found, _ = bare.check("--only", "endpoints")
    assert (code, found["judge.endpoint"]["state"]) == (0, "ok")
    assert asked == [("http://judge.example.org/v1/models", "Bearer k")]


def test_key_that_no_header_can_hold_is_not_a_dead_server(bare: Checked, monkeypatch):
    monkeypatch.setenv("LIDR_JUDGE_API_KEY", "k\n")
    code, found, _ = bare.check("--only", "endpoints")
    assert (code, found["judge.endpoint"]["state"]) == (2, "missing")
    assert "the key in LIDR_JUDGE_API_KEY holds a line break" in found["judge.endpoint"]["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"data": [1]}', pytest.param(b"[" * 100_000, id="nested")]
)
def test_an_answer_that_lists_no_models_lists_none(body: bytes):
    assert _model_names(body) is None


class Listed:
    """A cluster's Services by namespace; `whole` is whether they may be listed in all."""

    def __init__(self, services: dict[str, list[str]], *, whole: bool) -> None:
        self.services, self.whole = services, whole

    def namespaces(self, profile) -> tuple[str, str]:
        return "lidr", "lidr"

    def items(self, path: str) -> Iterator[dict]:
        if path == "/api/v1/services" and not self.whole:
            raise Denied("may not GET")
        only = path.split("/")[4] if path.startswith("/api/v1/namespaces/") else ""
        for namespace, names in self.services.items():
            for name in names if only in ("", namespace) else []:
                yield checked.service(name, namespace)


HUB = ["ds-pipeline-metadata-grpc-dspa", "ds-pipeline-dspa", "ds-pipeline-ui-dspa"]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("host", "services", "found"),
    [
        ("http://ml-pipeline.kubeflow:8888", {}, ("kubeflow", "ml-pipeline")),
        ("http://ml-pipeline.kubeflow.svc.cluster.local", {}, ("kubeflow", "ml-pipeline")),
        ("https://ds-pipeline-dspa.project.svc:8443", {}, ("project", "ds-pipeline-dspa")),
        ("https://ml-pipeline.example.com", {}, ("", "ml-pipeline")),
        (
            "https://ds-pipeline-dspa-lidr.apps.c.example.com",
            {"lidr": HUB},
            ("lidr", "ds-pipeline-dspa"),
        ),
        (
            "https://kfp.example.com",
            {"kubeflow": ["ml-pipeline", "x"]},
            ("kubeflow", "ml-pipeline"),
        ),
    ],
)
def test_kubeflow_is_where_its_service_is(host: str, services, found, whole: bool):
    profile = read_profile("cluster")
    kubeflow = profile.kubeflow.model_copy(update={"host": host})
    profile = profile.model_copy(update={"kubeflow": kubeflow})
    inputs = CheckInputs(read_recipe("tiny_world", None, None), profile, 1.0)
    api = Listed(services, whole=whole)
    assert NamespaceFinder(inputs, api)._kubeflow("lidr") == found  # type: ignore[arg-type]


def test_kind_that_a_served_version_lacks_is_named(bare: Checked):
    group = "/apis/trainer.kubeflow.org"
    bare.objects[f"{group}/v1alpha1"] = {"resources": [{"name": "trainjobs"}]}
    _, found, _ = bare.check("--only", "cluster")
    detail = found["Kubeflow Trainer API"]["detail"]
    assert detail == "trainer.kubeflow.org/v1alpha1 has no trainingruntimes"
    del bare.objects[f"{group}/v1alpha1"]
    bare.objects[group] = {"versions": [{"version": "v2"}]}
    _, found, _ = bare.check("--only", "cluster")
    detail = found["Kubeflow Trainer API"]["detail"]
    assert detail == "trainer.kubeflow.org/v1alpha1 is not served, only v2"


HERE = [word for name in ("machine", "store", "tracking") for word in ("--only", name)]


def test_the_rights_are_those_that_the_manifests_give():
    assert {str(right) for right in (*OF_PIPELINE, *OF_LAUNCHER)} == set(
        TABLE["lidr-pipeline"]["may"]
    )
    pods = {str(right) for right in OF_PIPELINE}
    assert {"list pods", "list workflows.argoproj.io"} <= pods, "the lease asks where pods run"
    asked = {str(right) for right in (*OF_PODS, *OF_TRAINING)}
    assert "get pods" not in asked, "status, logs and cancel list pods"


def test_the_commands_are_those_of_the_manifests():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert all(part.install in readme for part in PARTS)
    assert all(part.install for part in (KUBEFLOW, JOBSET, TRAINER, KUEUE))
