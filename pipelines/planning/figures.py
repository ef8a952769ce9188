"""The shipped figures that plans use (figures.yaml), each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml
from pydantic import Field

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.budget import DEFAULT_GPU
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import nearest


class FigureSource(Strict):
    """Where a figure was published."""

    title: str
    """What it is."""
    url: str
    """Where it is."""


class Gpu(Strict):
    """A type of GPU."""

    memory_gb: float = Field(gt=0)
    """Gigabytes (10^9) of memory."""
    tflops: float = Field(gt=0)
    """Dense bfloat16 TFLOP/s."""
    bandwidth_gbs: float = Field(gt=0)
    """Gigabytes a second of memory bandwidth."""
    training_mfu: float = Field(gt=0, le=1)
    """Share of `tflops` that training reaches."""
    sequences: int = Field(ge=1)
    """Requests that vLLM decodes at once by default."""
    sources: tuple[str, ...] = ()
    """Names of sources."""
    derived: str = ""
    """Which figures no source gives, and how they were derived."""


class Roofline(Strict):
    """Shares of a GPU's peaks that generation reaches."""

    bandwidth: float = Field(gt=0, le=1)
    """Of the memory bandwidth, when decoding."""
    arithmetic: float = Field(gt=0, le=1)
    """Of the arithmetic, for prompts and large batches."""
    tensor_parallel: float = Field(gt=0, le=1)
    """Share of decoding's speed that remains when a model is split over several GPUs."""
    engine: float = Field(gt=0, le=1)
    """Share that vLLM reaches of the speed that the shares above give."""
    sources: tuple[str, ...]
    """Names of sources."""


class AssumedLengths(Strict):
    """How long texts are assumed to be where no run has measured them."""

    prompt_characters: float
    """Of an English prompt, if there are no prompt files."""
    answer_characters: float
    """Of an English answer."""
    template_tokens: float
    """What a chat template adds to a prompt."""
    instruction_tokens: float
    """What a translation request adds to its text."""
    evaluation_prompt_tokens: float
    """Of an evaluation item's request."""
    evaluation_items: int
    """Of a task that `items` lacks, per language."""
    expansion: Mapping[str, float]
    """Characters of a text against its English original, by language."""
    other_expansion: float
    """The same for all other languages."""
    tokens_per_character: Mapping[str, float]
    """By language."""
    other_tokens_per_character: float
    """For all other languages."""
    items: Mapping[str, int]
    """Items per language, by the start of a task's name."""

    def tokens(self, language: str, characters: float) -> float:
        """Return how many tokens `characters` of a language (ISO 639-1 code) are."""
        rate = self.tokens_per_character.get(language, self.other_tokens_per_character)
        return characters * rate

    def translated(self, language: str, english: float) -> float:
        """Return how many tokens a text with `english` characters in English is in a language."""
        return self.tokens(language, english * self.expansion.get(language, self.other_expansion))


class Times(Strict):
    """Times that a step needs besides its work, in seconds.

    `load_gbs` is in GB/s, `checkpoint_bytes` in bytes per parameter.
    """

    pod_seconds: float
    """Until a pod's program runs."""
    engine_seconds: float
    """From the weights on the node to an engine that answers."""
    load_gbs: float
    """Gigabytes a second from the store to a node."""
    control_seconds: float
    """Of a step on CPUs, its pod included."""
    checkpoint_bytes: float
    """Of a training checkpoint, per parameter."""


class Figures(Strict):
    """All of figures.yaml."""

    sources: Mapping[str, FigureSource]
    """By name."""
    gpus: Mapping[str, Gpu]
    """By type."""
    cpu_core: Gpu
    """A CPU core, roughly; its memory is given as unlimited."""
    roofline: Roofline
    """Of generation."""
    lengths: AssumedLengths
    """Of texts."""
    times: Times
    """Of everything else."""

    def gpu(self, name: str) -> Gpu:
        """Return a type of GPU.

        Raises:
            BadInput: figures.yaml does not have it.
        """
        if name not in self.gpus:
            raise BadInput(
                f"no figures for GPU {name!r}{nearest(name, self.gpus)}; "
                f"known are {', '.join(self.gpus)}",
                remedy="Set gpu of the pool in the profile to one of them, or leave it empty: "
                f"plans then assume an {DEFAULT_GPU}.",
            )
        return self.gpus[name]


@cache
def figures() -> Figures:
    """Return the shipped figures."""
    text = (Path(__file__).parent / "figures.yaml").read_text("utf-8")
    return Figures.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))
