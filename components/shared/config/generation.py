"""The recipe's `generation` and `translation`: how texts are sampled, and by what engine."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.patterns import QUANTIZATION

_MIN_TEMPERATURE = 0.01


class Sampling(Strict):
    """How the engine decodes."""

    temperature: float = Field(0.0, ge=0.0, le=2.0)
    """0 is greedy; else from 0.01 to 2, as vLLM allows. Default 0."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Nucleus mass. Default 1."""
    top_k: int = Field(0, ge=0)
    """Only the k likeliest tokens are sampled from. Default 0: all."""
    repetition_penalty: float = Field(1.0, gt=0.0)
    """Above 1 discourages repetition (the paper uses 1.1). Default 1."""
    max_tokens: int = Field(1024, ge=1)
    """Longest output, in tokens. Default 1024."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Strings that end an output, besides the model's end tokens; they are left out of its text. A
    translation that one of them ends before its closing tag has failed. Default none."""

    @field_validator("temperature")
    @classmethod
    def _no_tiny_temperature(cls, value: float) -> float:
        """Refuse what vLLM would silently raise to 0.01."""
        if 0 < value < _MIN_TEMPERATURE:
            raise ValueError(f"should be 0 (greedy) or at least {_MIN_TEMPERATURE}, not {value}")
        return value


class VllmOptions(Strict):
    """vLLM's own settings (https://docs.vllm.ai, engine arguments); other engines ignore them.

    Memory and parallelism are not among them: the profile sets those.
    """

    quantization: str = Field("", pattern=QUANTIZATION)
    """Quantisation method, e.g. fp8, awq or gptq. Default empty: what the model's files say."""
    kv_cache_dtype: Literal["auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"] = "auto"
    """Precision of the KV cache. Default auto: the model's."""
    speculative: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """vLLM's speculative_config, e.g. `{method: ngram, num_speculative_tokens: 4,
    prompt_lookup_max: 4}`. Default none."""

    @property
    def arguments(self) -> dict[str, object]:
        """vLLM's engine arguments that have a value, by name."""
        named: dict[str, object] = {
            "kv_cache_dtype": self.kv_cache_dtype,
            "quantization": self.quantization,
            "speculative_config": dict(self.speculative),
        }
        return {key: value for key, value in named.items() if value}


class Endpoint(Strict):
    """Which model `engine: openai` asks a server for.

    The profile's `engine.endpoint` says where the server is, and how it is used. It has OpenAI's
    completions API, as vLLM's server has.
    """

    model: str = "lidr-{digest}"
    """Name that M_t is served under; `{digest}` stands for the first 12 characters of the digest of
    its stage, which differs from iteration to iteration. Default lidr-{digest}."""


class Generation(Sampling):
    """The generate stage."""

    engine: Literal["auto", "transformers", "vllm", "openai"] = "auto"
    """The engine that generates, translates and evaluates. Default auto: vllm where it is installed
    and there are GPUs (on a cluster: where the profile gives the generate step some), else
    transformers. That is decided when the run begins, and written into its recipe. `openai` asks a
    server (`endpoint`)."""
    samples: int = Field(1, ge=1)
    """Responses to each prompt; the i-th ones of two languages become pairs. Default 1."""
    chunk_size: int = Field(500, ge=1)
    """Prompts per chunk. A chunk is one file, and the unit in which a run resumes. Default 500."""
    vllm: VllmOptions = VllmOptions()
    """Settings of the vllm engine that change its output."""
    endpoint: Endpoint = Endpoint()
    """Which model `engine: openai` asks a server for."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"samples is {self.samples}, but at temperature 0 all of them would be the same"
            )
        return self


class TranslationSettings(Sampling):
    """The translate stage."""

    round_trip_sample: int = Field(100, ge=0)
    """Prompts per direction of which one translation is translated back, to measure faithfulness.
    Default 100."""


class EngineName(StrEnum):
    """The engines that `generation.engine` resolves to."""

    TRANSFORMERS = "transformers"
    VLLM = "vllm"
    OPENAI = "openai"
