"""The profile's settings of how work is done, which are not in a recipe: no digest depends on them.

None changes a result beyond rounding, but for the limits on requests to the judge's server. What it
has not judged after `retries`, each within `request_seconds`, is asked once more at the end of the
step, then left out; more than the recipe's `judge.max_failed_share` ends the step.

Those of engines and of the judge's server reach the steps in one environment variable, those of
training in the train step's `launch`.
"""

from __future__ import annotations

from pydantic import Field

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.from_environment import FromEnvironment
from lidr.components.shared.config.patterns import URL

MACHINE = "LIDR_MACHINE"
"""Environment variable: a profile's `engine` and `judge` as JSON; without it defaults are used."""


class EngineServer(Strict):
    """The server of `generation.engine: openai`, and how it is used.

    Its key is read from the environment variable OPENAI_API_KEY. It must accept prompts as token
    ids, so that text inside a prompt cannot become a control token.
    """

    url: str = Field("", pattern=URL)
    """Address up to and with the version, e.g. https://models.example.org/v1. Required where the
    recipe's engine is openai."""
    concurrency: int = Field(64, ge=1)
    """Requests under way at once. Default 64."""
    retries: int = Field(8, ge=0)
    """How often a request is repeated after 429, 5xx or a broken connection, with exponential
    backoff and jitter. Default 8."""
    request_seconds: float = Field(600.0, gt=0.0)
    """Longest wait for one attempt at an answer, in seconds. Default 600."""
    wait_minutes: float = Field(30.0, ge=0.0)
    """Longest wait for the model to be served, in minutes. Default 30."""


class EngineSettings(Strict):
    """How engines use their machine."""

    fused: bool = False
    """Translate each response as soon as it is written, in the same engine. Default false."""
    restarts: int = Field(2, ge=0)
    """How often an engine that died is started again within a stage. Default 2."""
    batch_tokens: int = Field(32768, ge=256)
    """Tokens (prompt and output) of one transformers batch. Default 32768."""
    gpu_memory_utilization: float = Field(0.9, gt=0.0, le=1.0)
    """vLLM: share of a GPU's memory for weights and KV cache. Default 0.9."""
    max_num_seqs: int = Field(0, ge=0)
    """vLLM: requests that are decoded at once. Default 0: vLLM's choice."""
    max_num_batched_tokens: int = Field(0, ge=0)
    """vLLM: tokens of one step, prompts included. Default 0: vLLM's choice."""
    endpoint: EngineServer = EngineServer()
    """Server of the openai engine."""

    @property
    def vllm_arguments(self) -> dict[str, object]:
        """vLLM's engine arguments that are set, by name."""
        names = ("gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens")
        return {name: value for name in names if (value := getattr(self, name))}


class JudgeServer(Strict):
    """The server of the recipe's judge, with OpenAI's chat completions API.

    Its key is read from the environment variable LIDR_JUDGE_API_KEY, else from OPENAI_API_KEY.
    """

    url: str = Field("", pattern=URL)
    """Address up to and with the version, e.g. https://api.openai.com/v1. Required where the recipe
    has a judge."""
    concurrency: int = Field(16, ge=1)
    """Requests under way at once. Default 16."""
    retries: int = Field(6, ge=0)
    """How often a request is repeated after 429, 5xx, a timeout or a broken connection, with
    exponential backoff and jitter. Default 6."""
    request_seconds: float = Field(120.0, gt=0.0)
    """Longest wait for one attempt at a judgement, in seconds. Default 120."""


class TrainingSettings(Strict):
    """How a training run uses its machines."""

    micro_batch_tokens: int = Field(0, ge=0)
    """Tokens per forward pass on one rank; a longer pair is a batch by itself. Default 0: those of
    the longest pair, at least 2048."""
    micro_batch_size: int = Field(0, ge=0)
    """Pairs per forward pass at most. Default 0: as many as micro_batch_tokens hold."""
    gradient_checkpointing: bool = False
    """Recompute activations to save memory. Default false."""
    checkpoint_steps: int = Field(50, ge=1)
    """Optimizer steps between checkpoints. Default 50."""
    shard_gigabytes: float = Field(4.0, gt=0.0)
    """Largest size of the trained model's weight files; a larger tensor gets a file by itself. A
    rank holds one file in memory at a time. Default 4."""


class Machine(FromEnvironment):
    """The machine settings of a step that uses a model or a judge."""

    variable = MACHINE
    sections = "engine and judge"

    engine: EngineSettings = EngineSettings()
    """The profile's `engine`."""
    judge: JudgeServer = JudgeServer()
    """The profile's `judge`."""


MOVED = {
    "generation.fused": "engine.fused",
    "generation.restarts": "engine.restarts",
    "generation.batch_tokens": "engine.batch_tokens",
    **{
        f"generation.vllm.{name}": f"engine.{name}"
        for name in ("gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens")
    },
    **{
        f"generation.endpoint.{name}": f"engine.endpoint.{name}"
        for name in EngineServer.model_fields
    },
    **{f"judge.endpoint.{name}": f"judge.{name}" for name in JudgeServer.model_fields},
    **{f"training.{name}": f"training.{name}" for name in TrainingSettings.model_fields},
}
"""Keys that recipes used to have, and where profiles have them now."""
