"""lidr check against real HTTP APIs: each requirement in turn is missing, and is the one named."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from components.shared.errors import BadInput
from pipelines.checks.finding import Finding, ok
from pipelines.checks.images import Reference
from pipelines.checks.platform import PARTS
from pipelines.checks.rights import OF_LAUNCHER, OF_PIPELINE
from pipelines.checks.runner import run
from tests.json_server import serving
from tests.kubernetes_api import CORE
from tests.manifests.rendering import ROOT
from tests.manifests.rights import TABLE
from tests.services import checked
from tests.services.checked import Checked, Services, active, node, resource_quota
from tests.services.faulty import FaultyProxy
from tests.services.kubeflow import TOKEN, Cluster

Breaks = Callable[[Checked], None]


@pytest.fixture
def world(cluster: Cluster, bucket: str, tmp_path: Path, monkeypatch) -> Iterator[Checked]:
    """A cluster, a recipe and a profile with everything in its place."""
    services = Services()
    with serving(services.answer) as services.url:
        for name, value in {
            "MLFLOW_TRACKING_USERNAME": "pipeline",
            "MLFLOW_TRACKING_PASSWORD": "hush-hush",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "LIDR_CACHE": str(tmp_path / "cache"),
            "DOCKER_CONFIG": str(tmp_path / "docker"),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        made = Checked(cluster, services, bucket, tmp_path / "recipe.yaml")
        made.fill()
        yield made
        for proxy in made.proxies:
            proxy.close()


def test_where_all_is_there_nothing_is_missing_and_nothing_is_left(world: Checked):
    before = world.keys()
    code, found, err = world.check()
    assert {name: each for name, each in found.items() if each["state"] != "ok"} == {}
    assert (code, err) == (0, "")
    assert len(found) > 40
    assert world.keys() == before
    assert world.cluster.kubeflow.changes == []
    written = [path for method, path in world.cluster.kubernetes.requests if method != "GET"]
    assert all(path.endswith("accessreviews") for path in written)
    assert found["prompts es"]["detail"].startswith("3 in s3://")
    assert found["questions mt_bench"]["detail"] == "en 1, es 1, de 1"
    told = json.dumps(found)
    assert "hush-hush" not in told and "aHVzaC1odXNo" not in told and TOKEN not in told
    assert list(dict.fromkeys(each["subject"] for each in found.values())) == [
        *("kubeflow", "cluster", "objects", "rights", "capacity"),
        *("store", "tracking", "model", "prompts", "images", "endpoints"),
    ]


def configure(**sections: object) -> Breaks:
    return lambda world: world.cluster.configure(**sections)


def without(*paths: str) -> Breaks:
    return lambda world: [world.objects.pop(path) for path in paths] and None


def put(path: str, **content: object) -> Breaks:
    return lambda world: world.objects.update({path: world.objects.get(path, {}) | content})


def without_keys(*keys: str) -> Breaks:
    return lambda world: world.remove(*keys)


def serves(**changes: object) -> Breaks:
    return lambda world: [setattr(world.services, *each) for each in changes.items()] and None


def set_env(name: str, value: str) -> Breaks:
    return lambda world: world.cluster.monkeypatch.setenv(name, value)


def runs_as(*images: str) -> Breaks:
    items = [checked._deployment(image) for image in images]
    return put(checked.DEPLOYMENTS, items=items)


def denies(who: str, verb: str, resource: str) -> Breaks:
    def allows(spec: dict) -> bool:
        asked = spec["resourceAttributes"]
        theirs = "user" in spec
        return (theirs == (who == "account"), asked["verb"], asked["resource"]) != (
            True,
            verb,
            resource,
        )

    return lambda world: setattr(world.cluster.kubernetes, "allows", allows)


def kubeflow(**changes: object) -> Breaks:
    return lambda world: (
        [setattr(world.cluster.kubeflow, *each) for each in changes.items()] and None
    )


def has_nodes(*nodes: dict) -> Breaks:
    return put(checked.NODES, items=[node("cpu", 16), *nodes])


def store_that(**changes: object) -> Breaks:
    def place(world: Checked) -> None:
        proxy = FaultyProxy(os.environ["AWS_ENDPOINT_URL"], rate=0.0)
        for name, value in changes.items():
            setattr(proxy, name, value)
        world.cluster.monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        world.proxies.append(proxy)

    return place


def intolerant(world: Checked) -> None:
    steps = yaml.safe_load(world.cluster.file.read_text())["steps"]
    world.cluster.configure(steps=steps | {"train": steps["train"] | {"tolerations": []}})


def without_runtime(world: Checked) -> None:
    world.cluster.kubernetes.runtimes.clear()


def bad_prompt(world: Checked) -> None:
    world.put("prompts/de.jsonl", {"prompt_id": "0", "text": "ja"}, "{")


def other_ids(world: Checked) -> None:
    rows = [{"prompt_id": str(n), "text": "nein"} for n in (0, 1, 9)]
    world.put("prompts/de.jsonl", *rows)


def pickled(world: Checked) -> None:
    world.remove(*(f"model/{name}" for name in checked._model_files() if "safetensors" in name))
    world.put_bytes("model/pytorch_model.bin", b"code")


def deaf_template(world: Checked) -> None:
    world.put_bytes("model/chat_template.jinja", b"{{ 'hello' }}")


def broken_template(world: Checked) -> None:
    world.put_bytes("model/chat_template.jinja", b"{{ raise_exception('no user here') }}")


def strange_config(world: Checked) -> None:
    world.put_bytes("model/config.json", b'{"model_type": "novel", "auto_map": {}}')


GONE = "http://127.0.0.1:9"
JUDGED = "http://127.0.0.1:9/v1"

MISSING: dict[str, tuple[Breaks, str, str]] = {
    "token": (set_env("LIDR_KFP_TOKEN", "old"), "Kubeflow Pipelines API", "Log in anew"),
    "host": (configure(kubeflow={"host": GONE}), "Kubeflow Pipelines API", "port-forward"),
    "login page": (kubeflow(login=True), "Kubeflow Pipelines API", "valid token"),
    "user namespace": (
        kubeflow(multi_user=True, namespaces=()),
        "Kubeflow Pipelines API",
        "role kubeflow-edit",
    ),
    "KFP version": (kubeflow(version="2.4.1"), "Kubeflow Pipelines version", "kubectl apply -k"),
    "Kubernetes version": (
        put("/version", gitVersion="v1.30.9-gke.1"),
        "Kubernetes version",
        "Upgrade",
    ),
    "JobSet": (
        without("/apis/jobset.x-k8s.io", "/apis/jobset.x-k8s.io/v1alpha2"),
        "JobSet API",
        "kubeflow/trainer.git",
    ),
    "Trainer version": (
        runs_as("jobset:v0.12.0", "trainer-controller-manager:v2.1.0", "kueue:v0.18.4"),
        "Kubeflow Trainer version",
        "ref=v2.3.0",
    ),
    "Kueue version": (
        runs_as("jobset:v0.12.0", "trainer-controller-manager:v2.3.0", "kueue:v0.9.1"),
        "Kueue version",
        "releases/download/v0.18.4",
    ),
    "namespace": (
        without("/api/v1/namespaces/lidr"),
        "Namespace lidr",
        "kubectl create namespace lidr",
    ),
    "service account": (
        without(f"{CORE}/serviceaccounts/lidr-pipeline"),
        "ServiceAccount lidr-pipeline",
        "kubectl apply -k",
    ),
    "account of ranks": (
        without(f"{CORE}/serviceaccounts/lidr-training"),
        "ServiceAccount lidr-training",
        "kubectl apply -k",
    ),
    "secret": (
        without(f"{CORE}/secrets/lidr-hub"),
        "Secret lidr-hub",
        "kubectl create secret generic lidr-hub -n lidr --from-literal=HF_TOKEN=",
    ),
    "key of a secret": (
        put(f"{CORE}/secrets/lidr-mlflow", data={"MLFLOW_TRACKING_USERNAME": "dXNlcg=="}),
        "Secret lidr-mlflow",
        "kubectl edit secret lidr-mlflow -n lidr",
    ),
    "config map": (
        without(f"{CORE}/configmaps/lidr-environment"),
        "ConfigMap lidr-environment",
        "kubectl apply -k",
    ),
    "runtime": (without_runtime, "TrainingRuntime lidr-training", "set training.runtime"),
    "priority": (without(checked.PRIORITY), "PriorityClass lidr-training", "kubectl apply -k"),
    "storage class": (
        without(checked.STORAGE_CLASS),
        "StorageClass lidr-cache",
        "kubectl get storageclass",
    ),
    "local queue": (
        without(checked.LOCAL_QUEUE),
        "LocalQueue lidr",
        "leave queue out of the pools",
    ),
    "held queue": (
        put(checked.LOCAL_QUEUE, status=active(False, "LocalQueue is stopped")),
        "LocalQueue lidr",
        "kubectl describe localqueue lidr -n lidr",
    ),
    "cluster queue": (without(checked.CLUSTER_QUEUE), "ClusterQueue lidr", "kubectl apply -k"),
    "flavor of the queue": (
        put(checked.CLUSTER_QUEUE, status=active(False, "FlavorNotFound")),
        "ClusterQueue lidr",
        "kubectl describe clusterqueue lidr",
    ),
    "quota of the queue": (
        put(checked.CLUSTER_QUEUE, spec={"resourceGroups": [checked._quota(4)]}),
        "quota of queue lidr",
        "kubectl edit clusterqueue lidr",
    ),
    "own right": (
        denies("user", "delete", "trainjobs"),
        "your rights: delete trainjobs.trainer.kubeflow.org",
        "role kubeflow-edit",
    ),
    "right of the pipeline": (
        denies("account", "create", "trainjobs"),
        "rights of lidr-pipeline: create trainjobs.trainer.kubeflow.org",
        "kubectl apply -k",
    ),
    "quota": (
        put(checked.QUOTAS, items=[resource_quota() | {"status": {"used": {"pods": "512"}}}]),
        "ResourceQuota lidr",
        "kubectl edit resourcequota lidr -n lidr",
    ),
    "tolerance": (
        intolerant,
        "nodes for train",
        "{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}",
    ),
    "room": (
        has_nodes(node("gpu", 128, gpus=4)),
        "nodes for train",
        "kubectl get nodes --show-labels",
    ),
    "bucket": (configure(store="s3://no-such-bucket/store"), "store", "Check the bucket's name"),
    "store of this machine": (configure(store="lidr-store"), "store", "s3://bucket/prefix"),
    "right to write": (
        store_that(refuses=lambda method, path: method == "PUT"),
        "store write and read",
        "the bucket's policy",
    ),
    "right to delete": (
        store_that(refuses=lambda method, path: method == "DELETE"),
        "store delete",
        "the bucket's policy",
    ),
    "multipart": (
        store_that(refuses=lambda method, path: method == "POST"),
        "store multipart upload",
        "the bucket's policy",
    ),
    "conditional writes": (
        store_that(ignores=("if-none-match",)),
        "store conditional write",
        "If-None-Match",
    ),
    "MLflow": (configure(tracking_uri=GONE), "MLflow", "whether the server"),
    "MLflow's password": (serves(password="other"), "MLflow", "MLFLOW_TRACKING_PASSWORD"),
    "MLflow's database": (
        serves(failing=("/api/2.0/mlflow/registered-models",)),
        "MLflow registry",
        "its database",
    ),
    "MLflow's artifacts": (
        serves(artifacts="/mlflow/1"),
        "MLflow artifacts",
        "--artifacts-destination",
    ),
    "model": (without_keys("model/config.json"), "model files", "save_pretrained"),
    "safe weights": (pickled, "model files", "safetensors"),
    "tokenizer": (without_keys("model/tokenizer.json"), "model files", "save_pretrained"),
    "template": (without_keys("model/chat_template.jinja"), "model files", "chat_template.jinja"),
    "part of the weights": (
        without_keys("model/model-00002-of-00002.safetensors"),
        "model weights",
        "Copy the model anew",
    ),
    "architecture": (strange_config, "model config", "transformers"),
    "template that renders": (broken_template, "chat template", "chat_template.jinja"),
    "template that hears": (deaf_template, "chat template", "chat_template.jinja"),
    "prompts": (without_keys("prompts/es.jsonl"), "prompts es", "prompts.files"),
    "valid prompts": (bad_prompt, "prompts de", "one JSON object a line"),
    "equal ids": (other_ids, "prompts de", "the same ids"),
    "questions": (without_keys("questions/de.jsonl"), "questions mt_bench", "judge.tasks"),
    "image": (
        lambda world: world.services.images.discard("lidr/train:0.1.0"),
        "image {host}/lidr/train:0.1.0",
        "make images",
    ),
    "judge": (serves(served=["other"]), "judge.endpoint", "Serve it under that name"),
    "judge's answer": (serves(failing=("/v1",)), "judge.endpoint", "ends with the version"),
    "judge's key": (serves(key="k"), "judge.endpoint", "export LIDR_JUDGE_API_KEY="),
}


@pytest.mark.parametrize("requirement", MISSING)
def test_what_is_missing_is_named_and_nothing_else(world: Checked, requirement: str):
    breaks, name, remedy = MISSING[requirement]
    breaks(world)
    code, found, _ = world.check()
    lacking = {each: row for each, row in found.items() if row["state"] == "missing"}
    assert list(lacking) == [name.format(host=world.services.host)]
    (row,) = lacking.values()
    assert remedy in row["remedy"]
    assert row["detail"]
    assert code == 2


def unknown(found: dict) -> dict[str, str]:
    """Return what cannot be told, with its reasons; nothing may be missing."""
    assert [name for name, row in found.items() if row["state"] == "missing"] == []
    return {name: row["detail"] for name, row in found.items() if row["state"] == "unknown"}


UNSEEN: dict[str, tuple[str, list[str]]] = {
    "secrets": (f"{CORE}/secrets/lidr-hub", ["Secret lidr-hub"]),
    "nodes": (
        checked.NODES,
        ["nodes for generate", "nodes for train", "nodes for world", "nodes for control"],
    ),
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
def test_what_may_not_be_seen_is_unknown_and_fails_nothing(world: Checked, kind: str):
    path, names = UNSEEN[kind]
    world.cluster.kubernetes.forbidden.add(path)
    code, found, _ = world.check(*ON_CLUSTER)
    assert sorted(unknown(found)) == sorted(names)
    assert all(found[name]["remedy"] or found[name]["detail"] for name in names)
    assert code == 0


ON_CLUSTER = [
    word for name in ("cluster", "objects", "rights", "capacity") for word in ("--only", name)
]


def test_without_an_answer_of_the_cluster_one_thing_is_missing(world: Checked):
    config = world.cluster.file.with_name("kubeconfig")
    config.write_text(config.read_text().replace(world.cluster.kubernetes.url, GONE))
    code, found, _ = world.check(*ON_CLUSTER)
    assert [name for name, row in found.items() if row["state"] == "missing"] == ["Kubernetes API"]
    assert sorted(found) == ["Kubernetes API", "capacity", "objects", "rights"]
    assert code == 2


def test_without_a_kubeconfig_it_says_so(world: Checked):
    world.cluster.file.with_name("kubeconfig").unlink()
    _, found, _ = world.check(*ON_CLUSTER)
    assert found["Kubernetes API"]["remedy"] == "Set $KUBECONFIG."


@pytest.fixture
def silence() -> Iterator[int]:
    """A port whose connections wait for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_who_hangs_is_one_finding_and_holds_nothing_up(world: Checked, silence: int, monkeypatch):
    world.check(*ON_CLUSTER, "--only", "kubeflow", "--only", "tracking")  # imports take their time
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    address = f"http://127.0.0.1:{silence}"
    host = address.removeprefix("http://")
    world.cluster.configure(
        kubeflow={"host": address}, tracking_uri=address, images={"train": f"{host}/train:1"}
    )
    world.write_recipe(judge=None)
    config = world.cluster.file.with_name("kubeconfig")
    config.write_text(config.read_text().replace(world.cluster.kubernetes.url, address))
    begun = time.monotonic()
    only = [*ON_CLUSTER, "--only", "kubeflow", "--only", "tracking", "--only", "images"]
    code, found, _ = world.check(*only, "--timeout", "9")
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

    found = run({"slow": slow, "fails": fails}, 0.5)
    assert [each.state for each in found["slow"]] == ["ok", "missing"]
    assert found["slow"][1].detail == "no answer within 0.5 s"
    assert found["fails"] == [Finding("fails", "missing", "it is broken", "Mend it.")]
    never.set()


def test_a_check_that_breaks_is_a_finding(world: Checked):
    world.objects[checked.NODES] = {"items": [{"spec": {"taints": [{}]}}]}
    _, found, err = world.check(*ON_CLUSTER)
    assert unknown(found)["capacity"].startswith("the check itself failed: KeyError")
    assert found["ResourceQuota lidr"]["state"] == "ok"
    assert err == ""


def test_what_only_pods_can_reach_is_unknown(world: Checked):
    world.cluster.configure(tracking_uri="http://lidr-mlflow.lidr:5000")
    endpoint = {"url": "http://judge.models.svc:8000/v1", "model": "j"}
    questions = f"s3://{world.bucket}/questions/{{language}}.jsonl"
    tasks = [{"name": "mt_bench", "questions": questions}]
    world.write_recipe(judge={"endpoint": endpoint, "tasks": tasks})
    _, found, _ = world.check("--only", "tracking", "--only", "endpoints")
    assert sorted(unknown(found)) == ["MLflow", "judge.endpoint"]
    assert "kubectl -n lidr port-forward svc/lidr-mlflow 5000" in found["MLflow"]["remedy"]

    world.cluster.monkeypatch.setenv("MLFLOW_TRACKING_URI", world.services.url)
    _, found, _ = world.check("--only", "tracking")
    assert unknown(found) == {}


def test_a_pool_that_may_grow_is_not_missing(world: Checked):
    world.objects[checked.NODES] = {"items": [node("cpu", 16)]}
    _, found, _ = world.check("--only", "capacity")
    assert found["nodes for train"]["state"] == "missing"
    world.objects["/apis/karpenter.sh/v1"] = {"resources": [{"name": "nodepools"}]}
    _, found, _ = world.check("--only", "capacity")
    assert set(unknown(found)) == {"nodes for generate", "nodes for train"}
    assert "Karpenter may add some" in found["nodes for train"]["detail"]


def test_a_selector_finds_the_pool_and_a_cordon_closes_it(world: Checked):
    asked = world.cluster.kubernetes.requests
    steps = yaml.safe_load(world.cluster.file.read_text())["steps"]
    steps["train"]["node_selector"] = {"pool": "h100"}
    world.cluster.configure(steps=steps)
    world.objects[checked.NODES] = {"items": [node("gpu", 128, gpus=8, unschedulable=True)]}
    _, found, _ = world.check("--only", "capacity")
    assert "1 nodes labelled pool=h100 is ready" in found["nodes for train"]["detail"]
    assert "uncordon" in found["nodes for train"]["remedy"]
    assert ("GET", checked.NODES) in asked


@pytest.mark.parametrize(
    ("operator", "values", "state"),
    [
        ("In", ["h100", "h200"], "ok"),
        ("NotIn", ["h100"], "missing"),
        ("Exists", [], "ok"),
        ("DoesNotExist", [], "missing"),
        ("Gt", ["1"], "missing"),
    ],
)
def test_affinity_chooses_nodes(world: Checked, operator: str, values: list[str], state: str):
    steps = yaml.safe_load(world.cluster.file.read_text())["steps"]
    needed = {"key": "pool", "operator": operator, "values": values}
    steps["train"]["affinity"] = [{"match": [needed]}]
    world.cluster.configure(steps=steps)
    gpus = node("gpu", 128, gpus=8)
    gpus["metadata"].setdefault("labels", {})["pool"] = "h100"
    world.objects[checked.NODES] = {"items": [gpus]}
    _, found, _ = world.check("--only", "capacity")
    assert found["nodes for train"]["state"] == state
    assert ("affinity allows" in found["nodes for train"]["detail"]) or state == "missing"


def test_every_kind_s_queue_is_looked_at(world: Checked):
    steps = yaml.safe_load(world.cluster.file.read_text())["steps"]
    world.cluster.configure(steps=steps | {"evaluate": {"pool": "", "queue": "small"}})
    _, found, _ = world.check("--only", "objects")
    assert found["LocalQueue lidr"]["state"] == "ok"
    assert found["LocalQueue small"]["state"] == "missing"


def test_images_are_asked_for_with_dockers_login(world: Checked):
    login = base64.b64encode(b"me:mine").decode()
    world.services.credentials = login
    _, found, _ = world.check("--only", "images")
    assert len(unknown(found)) == 3
    folder = world.cluster.file.with_name("docker")
    folder.mkdir()
    auths = {"auths": {world.services.host: {"auth": login}}}
    (folder / "config.json").write_text(json.dumps(auths))
    _, found, _ = world.check("--only", "images")
    assert unknown(found) == {}
    assert login not in json.dumps(found)


@pytest.mark.parametrize(
    ("image", "url"),
    [
        ("busybox", "https://registry-1.docker.io/v2/library/busybox/manifests/latest"),
        ("lidr/train:1", "https://registry-1.docker.io/v2/lidr/train/manifests/1"),
        ("docker.io/lidr/train", "https://registry-1.docker.io/v2/lidr/train/manifests/latest"),
        ("ghcr.io/a/b/c:0.1", "https://ghcr.io/v2/a/b/c/manifests/0.1"),
        ("localhost:5000/a:1", "http://localhost:5000/v2/a/manifests/1"),
        ("r.example.org:443/a:1@sha256:ab", "https://r.example.org:443/v2/a/manifests/sha256:ab"),
    ],
)
def test_an_image_is_where_docker_would_look(image: str, url: str):
    assert Reference.parse(image).url == url


def test_a_table_says_what_to_mend(world: Checked):
    world.remove("prompts/es.jsonl")
    world.services.credentials = "nobody's"
    only = ("--only", "prompts", "--only", "images")
    code, out, err = world.cluster.lidr("check", str(world.recipe), *only)
    assert (code, err) == (2, "")
    assert "Correct prompts.files in the recipe" in out
    assert out.splitlines()[-1] == "1 missing: prompts es; 3 could not be told from here."


def test_a_subject_that_there_is_not_is_refused(world: Checked):
    code, _, err = world.check("--only", "weather")
    assert code == 2
    assert "Choose from kubeflow, cluster, objects, rights" in err


@pytest.fixture
def hub(world: Checked, monkeypatch, tmp_path: Path) -> Iterator[dict[str, bytes]]:
    """A model hub with the model's files, which a token opens."""
    files = dict(checked._model_files())
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
        world.write_recipe(model={"source": f"hf://org/tiny@{commit}"})
        yield files


def test_a_gated_model_is_read_with_a_token_or_unknown(world: Checked, hub, monkeypatch):
    _, found, _ = world.check("--only", "model")
    assert "pods have HF_TOKEN, which is not set here" in unknown(found)["model files"]
    world.cluster.configure(secrets={})
    code, found, _ = world.check("--only", "model")
    assert (code, found["model files"]["state"]) == (2, "missing")
    assert "must its terms be accepted? Then set HF_TOKEN" in found["model files"]["remedy"]
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    code, found, _ = world.check("--only", "model")
    assert (code, unknown(found)) == (0, {})
    assert found["chat template"]["state"] == "ok"


def test_a_registered_model_is_followed(world: Checked):
    world.write_recipe(model={"source": "models:/tiny@champion"})
    _, found, _ = world.check("--only", "model")
    told = unknown(found)["model"]
    assert "$MLFLOW_TRACKING_URI, which is not set here" in told
    world.cluster.monkeypatch.setenv("MLFLOW_TRACKING_URI", world.services.url)
    code, found, _ = world.check("--only", "model")
    assert (code, list(found)) == (2, ["model"])
    assert "not in MLflow" in found["model"]["detail"]


def test_a_machine_is_looked_at_and_left_as_it_was(world: Checked, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    profile = tmp_path / "here.yaml"
    profile.write_text("name: here\nrunner: local\nstore: deep/down/store\n")
    world.cluster.file = profile
    before = sorted(tmp_path.rglob("*"))
    code, found, _ = world.check("--set", "model.source=world", "--set", "prompts.files={}", *HERE)
    assert (code, unknown(found)) == (0, {}), found
    assert found["store conditional write"]["detail"] == "the second of two writers is refused"
    assert "will be made" in found["MLflow"]["detail"]
    assert sorted(tmp_path.rglob("*")) == before

    profile.write_text("name: here\nrunner: local\nstore: recipe.yaml\n")
    code, found, _ = world.check("--set", "model.source=world", "--set", "prompts.files={}", *HERE)
    assert (code, found["store"]["state"]) == (2, "missing")


HERE = [word for name in ("machine", "store", "tracking") for word in ("--only", name)]


def test_the_rights_are_those_that_the_manifests_give():
    assert {str(right) for right in (*OF_PIPELINE, *OF_LAUNCHER)} == set(
        TABLE["lidr-pipeline"]["may"]
    )


def test_the_commands_are_those_of_the_manifests():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert all(part.install in readme for part in PARTS)
    assert all(part.install for part in PARTS if part.required)
