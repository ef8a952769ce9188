"""A recipe and a profile with everything that they need, each part of it easy to take away."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import yaml

from lidr.pipelines.cluster.platform import JOBSET, KUEUE, TRAINER
from tests.kubernetes_api import CORE, NAMESPACE, Object
from tests.models import tiny_tokenizer
from tests.services.faulty import FaultyProxy
from tests.services.kubeflow import Cluster

LANGUAGES = ("en", "es", "de")
JUDGE = "a-judge"
QUEUES = "/apis/kueue.x-k8s.io/v1beta2"
NODES = "/api/v1/nodes"
SERVICES = "/api/v1/services"
ARGO = f"{CORE}/configmaps/workflow-controller-configmap"
OF_KUBEFLOW = {"limit": "2", "retryPolicy": "OnError"}
"""What Kubeflow Pipelines 2.17 tells Argo to give every template."""
QUOTAS = f"{CORE}/resourcequotas"
LIMITS = f"{CORE}/limitranges"
DEPLOYMENTS = "/apis/apps/v1/deployments"
LOCAL_QUEUE = f"{QUEUES}/namespaces/{NAMESPACE}/localqueues/lidr"
CLUSTER_QUEUE = f"{QUEUES}/clusterqueues/lidr"
FLAVOR = f"{QUEUES}/resourceflavors/gpu"
KARPENTER = "/apis/karpenter.sh/v1"
AUTOSCALER = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
STORAGE_CLASS = "/apis/storage.k8s.io/v1/storageclasses/lidr-cache"
PRIORITY = "/apis/scheduling.k8s.io/v1/priorityclasses/lidr-training"
MODEL = "tiny"


@dataclass
class Services:
    """MLflow, an image registry and a judge, as far as they are asked, at one address.

    Attributes:
        url: where they listen.
        password: that MLflow wants of the user `pipeline`.
        permission: of MLflow's user on what exists.
        artifacts: where MLflow's experiment keeps them.
        images: repository and tag of those that the registry has.
        credentials: that the registry wants for a token; "" where anybody gets one.
        served: models of the judge.
        key: that the judge wants; "" for none.
        failing: first parts of paths that are answered with 500.
    """

    url: str = ""
    password: str = "hush-hush"
    permission: str = "EDIT"
    artifacts: str = "mlflow-artifacts:/1"
    images: set[str] = field(default_factory=set)
    credentials: str = ""
    served: list[str] = field(default_factory=lambda: [JUDGE])
    key: str = ""
    failing: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[Any, ...]:
        path = urlsplit(request.path).path
        if path.startswith(self.failing or ("/no",)):
            return 500, {"error_code": "INTERNAL_ERROR", "message": "the database is down"}
        if path.startswith(("/v2/", "/token")):
            return self._registry(request, path)
        if path == "/v1/models":
            if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
                return 401, {"error": {"message": "no key"}}
            return 200, {"object": "list", "data": [{"id": name} for name in self.served]}
        return self._mlflow(request, path)

    def _registry(self, request: BaseHTTPRequestHandler, path: str) -> tuple[Any, ...]:
        given = request.headers.get("Authorization", "")
        if path == "/token":
            known = given == f"Basic {self.credentials}" if self.credentials else not given
            return 200, {"token": "a-token"} if known else {}
        if given != "Bearer a-token":
            realm = f'realm="{self.url}/token",service="here",scope="repository:x:pull"'
            return 401, {}, {"WWW-Authenticate": f"Bearer {realm}"}
        repository, _, tag = path.removeprefix("/v2/").partition("/manifests/")
        assert "oci.image.index" in request.headers["Accept"]
        return (200 if f"{repository}:{tag}" in self.images else 404), {}

    def _mlflow(self, request: BaseHTTPRequestHandler, path: str) -> tuple[Any, ...]:
        login = base64.b64encode(f"pipeline:{self.password}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {login}":
            return 401, {"error_code": "UNAUTHENTICATED", "message": "not logged in"}
        experiment = {
            "experiment_id": "1",
            "name": f"lidr/{MODEL}",
            "artifact_location": self.artifacts,
            "lifecycle_stage": "active",
        }
        known: dict[str, Any] = {
            "experiments/search": {"experiments": [experiment]},
            "experiments/get-by-name": {"experiment": experiment},
            "registered-models/search": {"registered_models": [{"name": MODEL}]},
            "users/permissions/get": {"allowed": True, "permission": self.permission},
        }
        asked = path.partition("/mlflow/")[2]
        if asked == "users/permissions/get":
            query = parse_qs(urlsplit(request.path).query)
            assert query["username"] == ["pipeline"]
        if asked in known:
            return 200, known[asked]
        return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": path}


@dataclass
class Checked:
    """A cluster, its services, and a recipe in a bucket, all of it complete."""

    cluster: Cluster
    services: Services
    bucket: str
    recipe: Path
    proxies: list[FaultyProxy] = field(default_factory=list)

    @cached_property
    def _s3(self) -> Any:
        return boto3.client("s3")

    @property
    def objects(self) -> dict[str, Object]:
        return self.cluster.kubernetes.objects

    def fill(self) -> None:
        """Put everything in its place, but for what is in the bucket."""
        self.cluster.kubernetes.objects = _objects()
        runtime = self.cluster.kubernetes.runtimes["lidr-training"]
        self.cluster.kubernetes.runtimes["lidr-training"] = _with_cache(runtime)
        host = self.services.host
        names = ("generate", "train", "control")
        self.services.images = {f"lidr/{name}:0.1.0" for name in names}
        images = {name: f"{host}/lidr/{name}:0.1.0" for name in names}
        judge = {"url": f"{self.services.url}/v1"}
        self.cluster.configure(images=images, tracking_uri=self.services.url, judge=judge)
        self.write_recipe()

    def fill_bucket(self) -> None:
        """Put model, prompts and questions into the bucket."""
        for name, data in model_files().items():
            self.put_bytes(f"model/{name}", data)
        for code in LANGUAGES:
            rows = [{"prompt_id": str(n), "text": f"{code} question {n}"} for n in range(3)]
            self.put(f"prompts/{code}.jsonl", *rows)
            self.put(f"questions/{code}.jsonl", {"id": "1", "instruction": f"{code}?"})

    def write_recipe(self, **sections: Any) -> None:
        """Write the recipe, with sections of its own replaced."""
        place = f"s3://{self.bucket}"
        judge = {
            "endpoint": {"model": JUDGE},
            "tasks": [{"name": "mt_bench", "questions": f"{place}/questions/{{language}}.jsonl"}],
        }
        content = {
            "name": MODEL,
            "languages": {"dominant": "en", "others": list(LANGUAGES[1:])},
            "model": {"source": f"{place}/model"},
            "prompts": {"files": {code: f"{place}/prompts/{code}.jsonl" for code in LANGUAGES}},
            "evaluation": {"tasks": ["tiny_world_{language}"]},
            "judge": judge,
        }
        self.recipe.write_text(yaml.safe_dump(content | sections))

    def put(self, key: str, *rows: object) -> None:
        """Put JSON Lines into the bucket; text as it is."""
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        self.put_bytes(key, "\n".join(lines).encode())

    def put_bytes(self, key: str, data: bytes) -> None:
        """Put an object into the bucket."""
        self._s3.put_object(Bucket=self.bucket, Key=key, Body=data)

    def remove(self, *keys: str) -> None:
        """Remove objects of the bucket."""
        for key in keys:
            self._s3.delete_object(Bucket=self.bucket, Key=key)

    def keys(self) -> list[str]:
        """Return what is in the bucket, half-written uploads included."""
        client = self._s3
        found = [each["Key"] for each in client.list_objects_v2(Bucket=self.bucket)["Contents"]]
        uploads = client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return [*found, *(each["Key"] for each in uploads)]

    def check(self, *arguments: str) -> tuple[int, dict[str, dict[str, Any]], str]:
        """Run `lidr check`; return its code, the findings by name, and what it said else."""
        words = ("--timeout", "300", str(self.recipe), *arguments, "--output", "json")
        code, out, err = self.cluster.lidr("check", *words)
        rows = json.loads(out)["findings"] if out else []
        assert len({row["name"] for row in rows}) == len(rows), rows
        return code, {row["name"]: row for row in rows}, err


_FILES: dict[str, bytes] = {}


def model_files() -> dict[str, bytes]:
    """Return the files of a model in two parts, whose weights nobody reads."""
    if not _FILES:
        tokenizer = tiny_tokenizer()
        parts = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
        index = {"metadata": {}, "weight_map": dict(zip(("a", "b"), parts, strict=True))}
        config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
        special = {"eos_token": str(tokenizer.eos_token), "pad_token": str(tokenizer.pad_token)}
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
        _FILES.update(dict.fromkeys(parts, b"not read"))
        _FILES["model.safetensors.index.json"] = json.dumps(index).encode()
        _FILES["config.json"] = json.dumps(config).encode()
        _FILES["tokenizer.json"] = tokenizer.backend_tokenizer.to_str().encode()
        _FILES["tokenizer_config.json"] = json.dumps(settings).encode()
        _FILES["chat_template.jinja"] = tokenizer.chat_template.encode()
    return _FILES


def _with_cache(runtime: Object) -> Object:
    """Return the runtime with scratch space of a StorageClass, as components/node-cache has it."""
    changed: Object = json.loads(json.dumps(runtime))
    (job,) = changed["spec"]["template"]["spec"]["replicatedJobs"]
    claim = {"spec": {"storageClassName": "lidr-cache"}}
    volumes = job["template"]["spec"]["template"]["spec"]["volumes"]
    volumes[1] = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": claim}}
    return changed


def _objects() -> dict[str, Object]:
    secrets = {
        "lidr-object-store": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        "lidr-hub": ("HF_TOKEN",),
        "lidr-mlflow": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
    }
    images = ("jobset/jobset:v0.12.0", "trainer-controller-manager:v2.3.0", "kueue/kueue:v0.18.4")
    return {
        "/version": {"gitVersion": "v1.34.1"},
        **{path: found for part in (JOBSET, TRAINER, KUEUE) for path, found in _groups(part)},
        f"/api/v1/namespaces/{NAMESPACE}": {"metadata": {"name": NAMESPACE}},
        **{
            f"{CORE}/serviceaccounts/{name}": {"metadata": {"name": name}}
            for name in ("lidr-pipeline", "lidr-training")
        },
        **{
            f"{CORE}/secrets/{name}": {"data": dict.fromkeys(keys, "aHVzaC1odXNo")}
            for name, keys in secrets.items()
        },
        f"{CORE}/configmaps/lidr-environment": {
            "metadata": {"name": "lidr-environment"},
            "data": {"AWS_REGION": "us-east-1"},
        },
        DEPLOYMENTS: {"items": [_deployment(image) for image in images]},
        PRIORITY: {"value": 1},
        STORAGE_CLASS: {"provisioner": "local"},
        LOCAL_QUEUE: {"spec": {"clusterQueue": "lidr"}, "status": active(True)},
        CLUSTER_QUEUE: cluster_queue({}),
        SERVICES: {"items": [service("ml-pipeline", NAMESPACE)]},
        ARGO: argo(OF_KUBEFLOW),
        QUOTAS: {"items": [resource_quota()]},
        NODES: {"items": [node("cpu", 16), node("gpu", 128, gpus=8)]},
    }


def _groups(part: Any) -> list[tuple[str, Object]]:
    found: dict[str, Object] = {}
    for crd, version in part.crds.items():
        plural, _, group = crd.partition(".")
        found[f"/apis/{group}"] = {"versions": [{"version": version}]}
        served = found.setdefault(f"/apis/{group}/{version}", {"resources": []})
        served["resources"].append({"name": plural})
    return list(found.items())


def _deployment(image: str) -> Object:
    spec = {"template": {"spec": {"containers": [{"image": image}]}}}
    return {"spec": spec, "status": {"availableReplicas": 1}}


def active(yes: bool, message: str = "") -> Object:
    """Return the status of a queue."""
    condition = {"type": "Active", "status": str(yes), "message": message}
    return {"conditions": [condition]}


def cluster_queue(selector: Object) -> Object:
    """Return a ClusterQueue for the namespaces that a selector chooses."""
    return {
        "metadata": {"name": "lidr"},
        "spec": {"resourceGroups": [_quota(8)], "namespaceSelector": selector},
        "status": active(True),
    }


def _quota(gpus: int) -> Object:
    amounts = {"cpu": "128", "memory": "1Ti", "nvidia.com/gpu": str(gpus)}
    resources = [{"name": name, "nominalQuota": amount} for name, amount in amounts.items()]
    return {"flavors": [{"name": "gpu", "resources": resources}]}


def service(name: str, namespace: str) -> Object:
    """Return a Service."""
    return {"metadata": {"name": name, "namespace": namespace}}


def argo(strategy: Object) -> Object:
    """Return Argo's ConfigMap with a retryStrategy for every template."""
    defaults = {"spec": {"templateDefaults": {"retryStrategy": strategy}}}
    return {"data": {"workflowDefaults": yaml.safe_dump(defaults)}}


def resource_quota(**used: str) -> Object:
    """Return the namespace's, of which something is used."""
    hard = {"requests.cpu": "640", "requests.memory": "8Ti", "requests.nvidia.com/gpu": "32"}
    taken = {name.replace("_", "."): amount for name, amount in used.items()}
    return {
        "metadata": {"name": "lidr"},
        "spec": {"hard": {**hard, "pods": "512"}},
        "status": {"used": taken},
    }


def node(name: str, cpu: int, gpus: int = 0, **spec: Any) -> Object:
    """Return a node; those with GPUs keep other pods off."""
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    amounts = {"cpu": str(cpu), "memory": f"{4 * cpu}Gi", "nvidia.com/gpu": str(gpus)}
    return {
        "metadata": {"name": name},
        "spec": {"taints": [taint] if gpus else [], **spec},
        "status": {
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
