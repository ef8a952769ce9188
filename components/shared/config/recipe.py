"""The recipe: what to learn. Science only; where it runs is the profile's business."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lidr.components.shared.config.base_model import LanguageCode, Strict, yaml_off
from lidr.components.shared.config.deduplication import Deduplication
from lidr.components.shared.config.evaluation import Evaluation, Gate
from lidr.components.shared.config.judge import Judge
from lidr.components.shared.config.load import load
from lidr.components.shared.config.machine import MOVED
from lidr.components.shared.config.pairing import Icr, Pairing
from lidr.components.shared.config.source import SourceText, SourceTexts
from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.core.names import key_fault


class Languages(Strict):
    """Which languages, and which of them the model is strong in."""

    dominant: LanguageCode = "en"
    """ISO 639-1 code of the dominant language d. Default en."""
    others: tuple[LanguageCode, ...] = Field(min_length=1)
    """ISO 639-1 codes of the languages to improve. Required."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.all)) != len(self.all):
            raise ValueError(f"languages must differ from one another: {', '.join(self.all)}")
        return self

    @property
    def all(self) -> tuple[str, ...]:
        """The dominant language, then the others in the recipe's order."""
        return (self.dominant, *self.others)


class Toy(Strict):
    """Sizes of the tiny world, a synthetic M_0 with injected weaknesses."""

    solutions: int = Field(5000, ge=10)
    """Correct dominant-language solutions M_0 is trained on. Default 5000."""
    weak_solutions: int = Field(1500, ge=10)
    """Solutions per other language, systematically flawed. Default 1500."""
    translations: int = Field(700, ge=10)
    """Answer translations per direction. Default 700."""
    passes: float = Field(1.5, gt=0.0)
    """Passes over all of these when M_0 is trained. Default 1.5."""
    evaluation_items: int = Field(300, ge=1)
    """Held-out items per language. Default 300."""


Thinking = Annotated[Literal["auto", "off", "remove", "keep"], BeforeValidator(yaml_off)]


def _iso_day(value: object) -> object:
    """YAML reads a day as one."""
    text = value.isoformat() if isinstance(value, date) else value
    if isinstance(text, str) and text:
        date.fromisoformat(text)
    return text


Day = Annotated[str, BeforeValidator(_iso_day)]

_LIDRS_OWN = ("messages", "add_generation_prompt", "tokenize", "chat_template", "strftime_now")
"""Arguments of a chat template that are not the recipe's to give."""


def _arguments(given: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
    if own := [name for name in given if name in _LIDRS_OWN]:
        raise ValueError(f"{own[0]!r} is lidr's own to give")
    return given


TemplateArguments = Annotated[dict[str, str | int | float | bool], AfterValidator(_arguments)]


class Model(Strict):
    """M_0."""

    source: str
    """A folder, `s3://bucket/prefix`, `hf://org/name@revision`, `models:/name@alias` (MLflow), or
    `toy` for the tiny world."""
    unpinned: bool = False
    """Take the newest revision of an `hf://org/name` without one; the run records which it was.
    Default false: a revision is required."""
    adapter: str = ""
    """A LoRA adapter in PEFT's form that belongs to it: a folder, `s3://` or `hf://` as above.
    Default none."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of inference. Default auto: bfloat16 on a GPU, float32 on a CPU."""
    max_length: int = Field(0, ge=0)
    """Context in tokens, prompt and response together. Default 0: the model's own."""
    thinking: Thinking = "auto"
    """What becomes of a thinking model's thoughts. `off`: its chat template's switch turns them
    off. `remove`: it thinks, and thoughts are taken out of every text. `keep`: responses are
    identified, translated and learnt with their thoughts. Default auto: off where the template has
    a switch, else remove."""
    template_arguments: TemplateArguments = Field(default_factory=dict)
    """Arguments of the model's chat template, in every step, e.g. `{reasoning_effort: low}`.
    Default none."""
    date: Day = ""
    """The day (YYYY-MM-DD) that chat templates are told where they ask for today. Default empty:
    the day on which the run begins, which is written into its recipe."""


LINE_NUMBER = "#"
"""Stands for a line's number among the names of fields."""


def _as_names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


FieldNames = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_as_names),
    Field(min_length=1),
]
"""A field's name, or a list of names of which a file has one."""


class Fields(Strict):
    """Names of the fields in prompt files that are not written by lidr.

    Of a list of names the first counts that a line has.
    """

    prompt_id: FieldNames = ("prompt_id",)
    """The id that is the same across languages; `"#"` in it is the line's number, from 0.
    Default prompt_id."""
    text: FieldNames = ("text",)
    """The instruction. Default text."""
    input: FieldNames = ("input",)
    """What the instruction is about, in files like Alpaca's: it follows the instruction on a new
    line (as in ZNLP/Language-Imbalance-Driven-Rewarding, utils/batch_inference.py). Default input.
    """
    answer: FieldNames = ("answer",)
    """The reference answer, where there is one. Default answer."""
    translation_task: str = "translation_task"
    """True where the prompt is itself about translation or a language. Default translation_task."""


def _one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    if pattern and groups != 1:
        raise ValueError(f"{pattern!r} must have one group, not {groups}")
    return pattern


IdPattern = Annotated[str, AfterValidator(_one_group)]


class Prompts(Strict):
    """The prompts to learn from: JSON Lines or Parquet files per language, same ids in each."""

    files: dict[LanguageCode, SourceTexts] = Field(default_factory=dict)
    """One source or a list of them, in order, per language: a path (relative ones start at the
    recipe's folder), `s3://`, `hf://datasets/org/name@revision/file` or `https://`, as text or as
    `{source, sha256, revision, licence}`; `https://` needs a sha256.
    Default empty: the tiny world's own prompts."""
    translation_tasks: SourceText = ""
    """JSON Lines whose ids are those of prompts about translation or a language, which are answered
    but never translated, beside those that say so themselves. Default none: they are found by
    their words, where the field translation_task does not say."""
    fields: Fields = Fields()
    """Field names in those files."""
    id_pattern: IdPattern = ""
    """Regular expression whose one group is the part of an id that the languages share, for files
    that write the language into it: `gsm8k_(\\d+)$` makes 7 of `degsm8k_7`. Default empty: the
    whole id."""
    deduplicate: Deduplication = Deduplication()
    """What becomes of prompts that say the same."""
    per_iteration: int = Field(1000, ge=1)
    """Prompt ids used in one iteration; the next iteration takes the next ones. Default 1000."""


class Sampling(Strict):
    """How the engine decodes."""

    temperature: float = Field(0.0, ge=0.0)
    """0 is greedy. Default 0."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Nucleus mass. Default 1."""
    top_k: int = Field(0, ge=0)
    """Only the k likeliest tokens are sampled from. Default 0: all."""
    repetition_penalty: float = Field(1.0, gt=0.0)
    """Above 1 discourages repetition (the paper uses 1.1). Default 1."""
    max_tokens: int = Field(1024, ge=1)
    """Longest output, in tokens. Default 1024."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Strings that end an output and are no part of it. Default none: the model's end tokens."""


class VllmOptions(Strict):
    """vLLM's own settings (https://docs.vllm.ai, engine arguments); other engines ignore them.

    Neither memory nor parallelism is among them: an engine uses its pod as the profile says.
    """

    quantization: str = Field("", pattern=r"^[a-z0-9_-]*$")
    """Quantisation method, e.g. fp8, awq or gptq. Default empty: what the model's files say."""
    kv_cache_dtype: Literal["auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"] = "auto"
    """Precision of the KV cache. Default auto: the model's."""
    speculative: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """vLLM's speculative_config, e.g. `{method: ngram, num_speculative_tokens: 4,
    prompt_lookup_max: 4}`. Default none."""

    @property
    def arguments(self) -> dict[str, object]:
        """What differs from vLLM's defaults, by the names of its engine arguments."""
        named: dict[str, object] = {
            "quantization": self.quantization,
            "speculative_config": dict(self.speculative),
        }
        return {
            "kv_cache_dtype": self.kv_cache_dtype,
            **{key: value for key, value in named.items() if value},
        }


class Endpoint(Strict):
    """What a server with OpenAI's completions API (vLLM's, for one) serves for `engine: openai`.

    Where it is and how it is asked, the profile says under `engine.endpoint`.
    """

    model: str = "lidr-{digest}"
    """Name that M_t is served under; `{digest}` stands for the first 12 characters of the digest of
    its stage, which differs from iteration to iteration. Default lidr-{digest}."""


class Generation(Sampling):
    """The generate stage."""

    engine: Literal["auto", "transformers", "vllm", "openai"] = "auto"
    """Inference engine of all stages. Default auto, which is settled when the run begins and
    written into its recipe: vllm where it is installed and there are GPUs (on a cluster: where the
    profile gives a generate step some), else transformers. `openai` asks a server, see
    endpoint."""
    samples: int = Field(1, ge=1)
    """Responses to each prompt; the i-th ones of two languages become pairs. Default 1."""
    chunk_size: int = Field(500, ge=1)
    """Prompts per chunk: the unit of work that is written, and resumed. Files are named by it.
    Default 500."""
    vllm: VllmOptions = VllmOptions()
    """Settings of the vllm engine that change what it writes."""
    endpoint: Endpoint = Endpoint()
    """The model that the openai engine asks for."""

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
    """Translations per direction that are translated back, to measure faithfulness.
    Default 100."""


class Lora(Strict):
    """Low-rank adapters (arXiv 2106.09685)."""

    rank: int = Field(0, ge=0)
    """Rank of the adapters. Default 0: none, all weights are trained."""
    alpha: int = Field(16, ge=1)
    """The adapters' output is multiplied by alpha / rank. Default 16."""
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of the adapters' input that is dropped. Default 0."""
    targets: tuple[str, ...] = ()
    """Names of the layers that get one, e.g. `[q_proj, v_proj]`. Default empty: every linear layer
    but the head."""
    merge: bool = True
    """Whether adapters are added to the weights when training ends. If not, the stage holds the
    adapter alone, whose rank grows by `rank` in each iteration. Default true."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.merge and self.rank == 0:
            raise ValueError("merge false needs a rank: without adapters all weights change")
        return self


class Training(Strict):
    """The train stage: L = dpo_weight * L_DPO(beta) + nll_weight * L_NLL(chosen)."""

    beta: float = Field(0.1, gt=0.0)
    """Strength of the pull towards the reference model. Default 0.1."""
    dpo_weight: float = Field(1.0, ge=0.0)
    """Weight of the DPO term; 0 is SFT on the chosen texts only. Default 1."""
    nll_weight: float = Field(1.0, ge=0.0)
    """Weight alpha of the NLL term; 0 is plain DPO. Default 1."""
    start: Literal["previous", "base"] = "previous"
    """Model that training starts from: M_t or M_0. Default previous."""
    reference: Literal["previous", "base"] = "previous"
    """Reference model of DPO: M_t or M_0. Default previous."""
    learning_rate: float = Field(5e-7, gt=0.0)
    """Peak learning rate of AdamW. Default 5e-7."""
    warmup_ratio: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the steps with a rising learning rate. Default 0.1."""
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    """Learning rate after the warm-up. Default cosine."""
    weight_decay: float = Field(0.0, ge=0.0)
    """AdamW's decoupled weight decay. Default 0."""
    max_grad_norm: float = Field(1.0, gt=0.0)
    """Gradients are clipped to this norm. Default 1."""
    epochs: float = Field(1.0, gt=0.0)
    """Passes over the pairs. Default 1."""
    batch_size: int = Field(128, ge=1)
    """Pairs per optimizer step, over all ranks. Default 128."""
    max_length: int = Field(2048, ge=16)
    """Tokens of prompt and response; longer responses are cut. Default 2048."""
    prompt_overflow: Literal["refuse", "drop"] = "refuse"
    """What happens to a pair whose prompt alone has max_length tokens. Default refuse: training
    does not start."""
    lora: Lora = Lora()
    """Low-rank adapters instead of full fine-tuning."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Default auto: bfloat16 on a GPU, float32 on a CPU."""
    export: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the weights that are written, from which the next iteration starts. float32: what
    training reached, to the last bit. bfloat16: half the bytes, rounded stochastically, which keeps
    updates below bfloat16's precision on average. Default auto: bfloat16 where M_0's files and
    inference (`model.dtype`) both have it, else float32."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dpo_weight == 0 and self.nll_weight == 0:
            raise ValueError("dpo_weight and nll_weight cannot both be 0: nothing would be learnt")
        return self


def _nameable(name: str) -> str:
    if name and (fault := key_fault(name)):
        raise ValueError(f"{name!r} {fault}")
    return name


class Registry(Strict):
    """Where each iteration's model is registered."""

    model_name: Annotated[str, Field(pattern=r"^[^/:'\"`%]*$"), AfterValidator(_nameable)] = ""
    """MLflow registered model, without / : % or quotes. Default: the recipe's name."""
    promote: Literal["never", "gated"] = "never"
    """Whether a version becomes the champion by itself. `gated`: when it has passed the gate
    against the champion, or there is none yet. Default never: `lidr promote` does it."""


class EngineName(StrEnum):
    """The engines that `generation.engine` resolves to."""

    TRANSFORMERS = "transformers"
    VLLM = "vllm"
    OPENAI = "openai"


class Recipe(Strict):
    """One self-improvement experiment."""

    moved: ClassVar[Mapping[str, str]] = MOVED

    name: Annotated[
        str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"), AfterValidator(_nameable)
    ]
    """Lower-case letters, digits and hyphens, at most 40. Names runs and the MLflow model."""
    seed: int = Field(0, ge=0)
    """Every random choice derives from it. Default 0."""
    languages: Languages
    """Dominant and other languages."""
    model: Model
    """M_0."""
    toy: Toy = Toy()
    """Sizes of the tiny world; read only where `model.source` is `toy`."""
    prompts: Prompts = Prompts()
    """What to learn from."""
    generation: Generation = Generation()
    """The generate stage."""
    translation: TranslationSettings = TranslationSettings()
    """The translate stage."""
    pairing: Pairing = Pairing()
    """The pair stage."""
    training: Training = Training()
    """The train stage."""
    evaluation: Evaluation
    """The evaluate stage."""
    judge: Judge | None = None
    """A judge of open-ended answers. Default none: there is no judge stage."""
    gate: Gate = Gate()
    """The gate."""
    registry: Registry = Registry()
    """The register stage."""

    @property
    def run_name(self) -> str:
        """The name that runs of equal recipes share, unless they are given one."""
        digest = digest_of(self.model_dump(mode="json"))
        return f"{self.name}-seed{self.seed}-{digest[:8]}"

    @property
    def is_judged(self) -> bool:
        """True where a judge judges every model's answers to questions."""
        return self.judge is not None and bool(self.judge.tasks)

    @property
    def is_toy(self) -> bool:
        """True where M_0, prompts and evaluation items are the tiny world's."""
        return self.model.source == "toy"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if strange := self.gate.tolerances.keys() - set(self.languages.all):
            raise ValueError(f"gate.tolerances: {', '.join(sorted(strange))} is not in languages")
        if self.is_toy:
            if self.model.adapter:
                raise ValueError("model.adapter must be absent where model.source is 'toy'")
            if self.prompts.files:
                raise ValueError("prompts.files must be absent where model.source is 'toy'")
            if self.prompts.deduplicate.mode != "off":
                raise ValueError("prompts.deduplicate is for prompts.files, which 'toy' has not")
            if outside := set(self.languages.all) - {"en", "es", "de", "fr"}:
                raise ValueError(f"the tiny world has no {', '.join(sorted(outside))}")
            if self.languages.dominant != "en":
                raise ValueError("the dominant language of the tiny world is en")
        elif missing := [code for code in self.languages.all if code not in self.prompts.files]:
            raise ValueError(f"prompts.files has no file for {', '.join(missing)}")
        if self.judge:
            self.judge.require_languages(self.languages.all)
            if not self.judge.tasks and self.pairing.rewarder != "judge":
                raise ValueError("judge.tasks is empty: name what is judged")
        self._require_rewardable()
        for name, codes in self.evaluation.languages.items():
            if foreign := set(codes) - set(self.languages.all):
                raise ValueError(
                    f"evaluation.languages: {name!r} names {', '.join(sorted(foreign))}, "
                    "which the recipe's languages lack"
                )
        return self

    def _require_rewardable(self) -> None:
        """Refuse a rewarder that lacks what it chooses among, or by."""
        name = self.pairing.rewarder
        if name != "lidr" and self.generation.samples < 2:
            raise ValueError(
                f"pairing.rewarder {name} chooses among samples: generation.samples must be 2 or "
                f"more, not {self.generation.samples}"
            )
        if name == "judge" and self.judge is None:
            raise ValueError("pairing.rewarder judge needs a judge section with its endpoint")


def load_recipe(path: Path, overrides: dict[str, object] | None = None) -> Recipe:
    """Load a recipe; relative paths in it are resolved against its folder.

    Args:
        path: the YAML file.
        overrides: dotted keys and their values, e.g. `{"training.nll_weight": 0}`.

    Raises:
        BadInput: with file, line, key and the allowed values.
    """
    recipe = load(path, Recipe, overrides or {})
    base = path.resolve().parent
    prompts = {
        "files": {
            code: tuple(_resolve(base, each) for each in sources)
            for code, sources in recipe.prompts.files.items()
        },
        "translation_tasks": _resolve(base, recipe.prompts.translation_tasks),
    }
    return recipe.model_copy(
        update={
            "model": recipe.model.model_copy(
                update={
                    "source": _resolve_model(base, recipe),
                    "adapter": _resolve(base, recipe.model.adapter),
                }
            ),
            "prompts": recipe.prompts.model_copy(update=prompts),
            "pairing": recipe.pairing.model_copy(update={"icr": _resolve_icr(base, recipe)}),
            "evaluation": recipe.evaluation.model_copy(
                update={
                    "include_path": _resolve(base, recipe.evaluation.include_path),
                    "data": {k: _resolve(base, v) for k, v in recipe.evaluation.data.items()},
                }
            ),
            "judge": recipe.judge and recipe.judge.resolved(partial(_resolve, base)),
        }
    )


def _resolve_model(base: Path, recipe: Recipe) -> str:
    return "toy" if recipe.is_toy else _resolve(base, recipe.model.source)


def _resolve_icr(base: Path, recipe: Recipe) -> Icr:
    icr = recipe.pairing.icr
    named = {key: _resolve(base, getattr(icr, key)) for key in ("policy", "reference")}
    return icr.model_copy(update=named)


def _resolve(base: Path, name: str) -> str:
    return name if not name or "://" in name or name.startswith("models:/") else str(base / name)
