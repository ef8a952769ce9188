"""The cluster profile: where and how a recipe runs.

It does not change the result beyond rounding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.budget import Budget, Prices, gpus_without_price, prices_of
from lidr.components.shared.config.load import LocatedError, load_layers
from lidr.components.shared.config.machine import (
    EngineSettings,
    JudgeServer,
    Machine,
    TrainingSettings,
)
from lidr.components.shared.config.notify import Notify
from lidr.components.shared.config.patterns import (
    ENVIRONMENT_NAME,
    IMAGE,
    KUBERNETES_NAME,
    KUBERNETES_OBJECT,
    OBJECT_CHARS,
    SHORT_NAME,
    TOKEN_URL,
    URL,
    or_empty,
)
from lidr.components.shared.config.pools import (
    ENGINE_KINDS,
    Pool,
    Resources,
    StepKind,
    Steps,
    require_consistent,
)

MAX_NODES, MAX_SHARDS = 1024, 256

EnvironmentName = Annotated[str, Field(pattern=ENVIRONMENT_NAME)]


class Images(Strict):
    """Container images, best by digest (`name@sha256:...`)."""

    generate: str = Field("lidr/generate:latest", pattern=IMAGE)
    """vLLM: generate, translate and evaluate, and the nodes of a rollout."""
    train: str = Field("lidr/train:latest", pattern=IMAGE)
    """torch, transformers and peft: prepare, score and train."""
    control: str = Field("lidr/control:latest", pattern=IMAGE)
    """CPU only: all other steps."""

    def of(self, kind: StepKind) -> str:
        """Return the image of a kind of step."""
        if kind in ENGINE_KINDS:
            return self.generate
        return self.train if kind in ("train", "prepare", "score") else self.control


Offload = Literal["none", "optimizer", "all"]


class Zero(Strict):
    """What ZeRO (DeepSpeed, arXiv 1910.02054) shards over ranks, and keeps off the GPUs."""

    stage: Literal[0, 1, 2, 3] = 0
    """1: optimizer state; 2: and gradients; 3: and weights. Default 0: one process shards nothing,
    and needs no DeepSpeed; several processes use stage 1."""
    offload: Offload = "none"
    """What is kept in CPU memory: `optimizer` (state), or at stage 3 `all` (weights too). Default
    none."""

    def effective_stage(self, world_size: int) -> int:
        """Return the stage in force: several ranks always shard the optimizer state."""
        return max(self.stage, 1) if world_size > 1 else self.stage

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.offload != "none" and self.stage == 0:
            raise ValueError(f"offload {self.offload} needs stage 1, 2 or 3")
        if self.offload == "all" and self.stage != 3:
            raise ValueError("offload all needs stage 3")
        return self


class TrainingPlacement(TrainingSettings):
    """How and where the processes of a training run are started, and what they may use."""

    launcher: Literal["local", "trainjob"] = "local"
    """`local` starts the processes where the train step runs; `trainjob` asks Kubeflow Trainer for
    a TrainJob. Default local."""
    nodes: int = Field(1, ge=1, le=MAX_NODES)
    """Nodes of the TrainJob, each with the resources of a train step. Default 1."""
    processes: int = Field(0, ge=0, le=64)
    """Ranks per node. Default 0: one per accelerator of a train step, at least 1."""
    image: str = Field("", pattern=or_empty(IMAGE))
    """Container image of the nodes. Default empty: images.train."""
    runtime: str = Field("lidr-training", pattern=KUBERNETES_OBJECT, max_length=OBJECT_CHARS)
    """TrainingRuntime in the namespace (manifests/base/training-runtime.yaml).
    Default lidr-training."""
    rollout_runtime: str = Field("lidr-rollout", pattern=KUBERNETES_OBJECT, max_length=OBJECT_CHARS)
    """TrainingRuntime whose pods are the shards of a rollout (manifests/base/rollout-runtime.yaml).
    Default lidr-rollout."""
    service_account: str = Field("", pattern=or_empty(KUBERNETES_OBJECT), max_length=OBJECT_CHARS)
    """Service account of the nodes. Default empty: the runtime's."""
    nccl: dict[EnvironmentName, str] = Field(default_factory=dict)
    """Environment variables of the ranks for NCCL and its network plugins, e.g.
    `{NCCL_SOCKET_IFNAME: eth0}`. No secrets. Default none."""
    admission_minutes: float = Field(60.0, gt=0.0)
    """Minutes for which a training may lack nodes, or a rollout all of its shards; then the
    TrainJob is deleted, and the step fails. Default 60."""
    deadline_hours: float = Field(0.0, ge=0.0)
    """Hours after which a training's TrainJob is ended, even if the step that watches it is gone; a
    rollout's is steps.generate.timeout_hours. Default 0: never."""
    gpu_memory_gib: float = Field(0.0, ge=0.0)
    """Memory of one accelerator, in GiB: a plan that does not fit is refused before anything
    starts. Default 0: not checked."""
    zero: Zero = Zero()
    """What the ranks shard. It changes no result beyond rounding."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.nodes > 1 and self.launcher == "local":
            raise ValueError(f"{self.nodes} nodes need launcher trainjob; local has one")
        return self

    @property
    def settings(self) -> TrainingSettings:
        """The settings that the ranks need."""
        return TrainingSettings(
            **{key: getattr(self, key) for key in TrainingSettings.model_fields}
        )


class Oidc(Strict):
    """How a token for an ingress is fetched: OAuth 2.0 client credentials (RFC 6749, 4.4)."""

    token_url: str = Field(pattern=TOKEN_URL)
    """The identity provider's token endpoint, with https; http only on this
    machine, for tests, with OAUTHLIB_INSECURE_TRANSPORT=1."""
    client_id: str = Field(min_length=1)
    """Name of the client."""
    client_secret_env: EnvironmentName = "LIDR_KFP_CLIENT_SECRET"  # noqa: S105
    """Environment variable that holds its secret. Default LIDR_KFP_CLIENT_SECRET."""
    scope: str = ""
    """Scopes, separated by spaces. Default empty: the provider's."""
    audience: str = ""
    """Audience, where the provider wants one. Default empty."""

    @field_validator("token_url")
    @classmethod
    def _secure(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("the client's secret is sent there: write https://")
        return url


class Kubeflow(Strict):
    """How the Kubeflow Pipelines API is reached. Secrets are named here, and read when needed."""

    host: str = Field("", pattern=URL)
    """Address of the API, e.g. http://localhost:8888 behind `kubectl port-forward`, or an ingress.
    Default empty: KF_PIPELINES_ENDPOINT, or inside a pod the cluster's own service."""
    namespace: str = Field("", pattern=or_empty(KUBERNETES_NAME))
    """Namespace of experiments and runs in a multi-user installation.
    Default empty: the profile's."""
    experiment: str = Field("lidr", min_length=1)
    """Experiment of the runs; created if it does not exist. Default lidr."""
    token_env: EnvironmentName = "LIDR_KFP_TOKEN"  # noqa: S105
    """Environment variable with a bearer token. Default LIDR_KFP_TOKEN."""
    token_file: str = ""
    """File with a bearer token, read again for every request. Default empty: inside a pod, the
    token that Kubernetes projects for Kubeflow Pipelines; elsewhere none."""
    oidc: Oidc | None = None
    """Where a token is fetched if neither variable nor file gives one. Default none."""
    ca_file: str = ""
    """File with the CA certificates of the API. Default empty: the public ones."""
    ui: str = Field("", pattern=URL)
    """Address of the user interface, for links. Default empty: the API's."""


class Profile(Strict):
    """Where a recipe runs."""

    name: str = Field(pattern=SHORT_NAME)
    """Lower-case letters, digits and hyphens."""
    runner: Literal["local", "kubeflow"] = "local"
    """`local` runs each step as a process here, `kubeflow` as pods of a pipeline. Default local."""
    store: str = "lidr-store"
    """Folder or `s3://bucket/prefix` for all results. Default ./lidr-store."""
    tracking_uri: str = ""
    """MLflow tracking server. Default empty: MLFLOW_TRACKING_URI, or mlflow.db in a local store."""
    namespace: str = Field("", pattern=or_empty(KUBERNETES_NAME))
    """Kubernetes namespace; only on a cluster. Default empty: the kubeconfig's, or in a pod its
    own."""
    service_account: str = Field(
        "lidr-pipeline", pattern=KUBERNETES_OBJECT, max_length=OBJECT_CHARS
    )
    """Service account of the pipeline's pods. Default lidr-pipeline."""
    kubeflow: Kubeflow = Kubeflow()
    """How the Kubeflow Pipelines API is reached."""
    images: Images = Images()
    """Container images."""
    pools: dict[Annotated[str, Field(pattern=KUBERNETES_NAME)], Pool] = Field(default_factory=dict)
    """Kinds of nodes, by names that steps refer to. Default none."""
    steps: Steps = Steps()
    """Resources by kind of step."""
    training: TrainingPlacement = TrainingPlacement()
    """How the processes of a training run are started, and how they use their machines."""
    engine: EngineSettings = EngineSettings()
    """How engines use their machines, and the server of the openai engine."""
    judge: JudgeServer = JudgeServer()
    """The server of the recipe's judge."""
    shards: int = Field(1, ge=1, le=MAX_SHARDS)
    """Workers that generate and translate side by side, each with the resources of a generate step:
    pods of one TrainJob, or processes of this machine. Results do not depend on it. Default 1."""
    prices: Prices = Prices()
    """What GPUs cost, for plans, budgets and reports."""
    budget: Budget = Budget()
    """How much one run may use. Default: no bound."""
    notify: Notify | None = None
    """The chat that is told when a run ends, waits or makes no progress. Default none."""
    config_maps: tuple[str, ...] = ()
    """ConfigMaps; the keys that docs/cluster.md lists become environment variables of every step.
    Default none."""
    secrets: dict[str, tuple[EnvironmentName, ...]] = Field(default_factory=dict)
    """Secret name and those of its keys that become environment variables. Default none."""
    pod_labels: dict[str, str] = Field(default_factory=dict)
    """Labels of every pod, e.g. `{azure.workload.identity/use: "true"}`. Default none."""
    pod_annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of every pod. Default none."""

    def resources_of(self, kind: StepKind) -> Resources:
        """Return what a pod of a kind of step gets, its pool's and inherited settings included."""
        return self.steps.resolve(kind, self.pools)

    @property
    def machine(self) -> Machine:
        """The settings of steps that use a model or a judge."""
        return Machine(engine=self.engine, judge=self.judge)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require_consistent(self.steps, self.pools)
        if self.runner == "kubeflow" and self.shards > 1 and self.training.launcher == "local":
            raise LocatedError(
                f"{self.shards} shards are pods of a TrainJob: set training.launcher to trainjob",
                "shards",
            )
        if self.budget.cost and (fault := _unpriced(self)):
            raise LocatedError(fault, "budget", "cost")
        return self


def _unpriced(profile: Profile) -> str:
    """Return why a bound of the cost would have no effect, or ""."""
    prices = prices_of(profile)
    if not prices:
        return "no step has accelerators, so nothing has a cost"
    if bare := gpus_without_price(profile):
        return f"GPUs without a price in prices.gpus: {bare}"
    return "" if any(prices.values()) else "every GPU has the price 0, so nothing has a cost"


VARIABLES = (
    "LIDR_STORE",
    "LIDR_NAMESPACE",
    "LIDR_KFP_HOST",
    "LIDR_TRACKING_URI",
    "LIDR_REGISTRY",
    "LIDR_QUEUE",
)
"""Environment variables that a profile may name as `${NAME}`; docs/cluster.md says what for. None
of them is a secret: a profile's values are written into pipelines."""


def load_profile(*layers: Path) -> Profile:
    """Load a profile from one file, or from several of which later ones win.

    Args:
        *layers: files. Their mappings are merged key by key, lists and values are replaced, and a
            later null removes a key. `${NAME}` and `${NAME:-default}` stand for the environment
            variables of `VARIABLES`.

    Raises:
        BadInput: a file is wrong; the message names its line, the key and the allowed values.
    """
    return load_layers(layers, Profile, variables=VARIABLES)
