"""What a run needs, and what takes each part of it away."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.kubernetes_api import CORE
from tests.services import checked
from tests.services.checked import Checked, active, node, resource_quota
from tests.services.faulty import FaultyProxy
from tests.yaml_text import read_yaml

Breaks = Callable[[Checked], None]


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
    steps = read_yaml(world.cluster.file.read_text())["steps"]
    world.cluster.configure(steps=steps | {"train": steps["train"] | {"tolerations": []}})


def apart(world: Checked) -> None:
    match = [{"key": "zone", "values": ["b"]}, {"key": "gpu-memory", "operator": "Exists"}]
    steps = read_yaml(world.cluster.file.read_text())["steps"]
    train = steps["train"] | {"affinity": [{"match": match}, {"match": match[:1], "weight": 5}]}
    world.cluster.configure(steps=steps | {"train": train})


def prioritised(world: Checked) -> None:
    steps = read_yaml(world.cluster.file.read_text())["steps"]
    world.cluster.configure(steps=steps | {"train": steps["train"] | {"priority": "urgent"}})


def without_runtime(world: Checked) -> None:
    world.cluster.kubernetes.runtimes.clear()


def bad_prompt(world: Checked) -> None:
    world.put("prompts/de.jsonl", {"prompt_id": "0", "text": "ja"}, "{")


def other_ids(world: Checked) -> None:
    rows = [{"prompt_id": str(n), "text": "nein"} for n in (0, 1, 9)]
    world.put("prompts/de.jsonl", *rows)


def pickled(world: Checked) -> None:
    world.remove(*(f"model/{name}" for name in checked.model_files() if "safetensors" in name))
    world.put_bytes("model/pytorch_model.bin", b"code")


def deaf_template(world: Checked) -> None:
    world.put_bytes("model/chat_template.jinja", b"{{ 'hello' }}")


def broken_template(world: Checked) -> None:
    world.put_bytes("model/chat_template.jinja", b"{{ raise_exception('no user here') }}")


def strange_config(world: Checked) -> None:
    world.put_bytes("model/config.json", b'{"model_type": "novel", "auto_map": {}}')


GONE = "http://127.0.0.1:9"

MISSING: dict[str, tuple[Breaks, str, str]] = {
    "token": (set_env("LIDR_KFP_TOKEN", "old"), "Kubeflow Pipelines API", "Log in again"),
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
    "local queue": (without(checked.LOCAL_QUEUE), "LocalQueue lidr", "leave queue empty"),
    "held queue": (
        put(checked.LOCAL_QUEUE, status=active(False, "LocalQueue is stopped")),
        "LocalQueue lidr",
        "kubectl describe localqueue lidr -n lidr",
    ),
    "priority in the queue": (
        prioritised,
        "WorkloadPriorityClass urgent",
        "kubectl get workloadpriorityclass",
    ),
    "cluster queue": (without(checked.CLUSTER_QUEUE), "ClusterQueue lidr", "kubectl apply -k"),
    "flavor of the queue": (
        put(checked.CLUSTER_QUEUE, status=active(False, "FlavorNotFound")),
        "ClusterQueue lidr",
        "kubectl describe clusterqueue lidr",
    ),
    "quota of the queue": (
        put(
            checked.CLUSTER_QUEUE,
            spec={"resourceGroups": [checked._quota(4)], "namespaceSelector": {}},
        ),
        "quota of queue lidr",
        "kubectl edit clusterqueue lidr",
    ),
    "own right": (
        denies("user", "delete", "trainjobs"),
        "your rights: delete trainjobs.trainer.kubeflow.org",
        "role kubeflow-edit",
    ),
    "own right in a queue": (
        denies("user", "list", "workloads"),
        "your rights: list workloads.kueue.x-k8s.io",
        "role kueue-batch-user-role",
    ),
    "right of a run that waits for a lease": (
        denies("account", "list", "workflows"),
        "rights of lidr-pipeline: list workflows.argoproj.io",
        "its roles must be in namespace lidr",
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
    "affinity": (
        apart,
        "nodes for train",
        "correct pools.h100 in the profile",
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
    "MLflow": (configure(tracking_uri=GONE), "MLflow", "that the server is running"),
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
        "model files",
        "Fetch the model's files again",
    ),
    "architecture": (strange_config, "architecture", "transformers"),
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
    "judge's answer": (serves(failing=("/v1",)), "judge.endpoint", "Look at the server's log"),
    "judge's key": (serves(key="k"), "judge.endpoint", "export LIDR_JUDGE_API_KEY="),
}
"""Requirement to what takes it away, the finding that must name it, and words of its remedy."""
