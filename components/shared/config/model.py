"""The recipe's `model`: M_0 and how its chats are rendered."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from lidr.components.shared.config.base_model import Strict, yaml_off
from lidr.components.shared.config.source import ModelSource

Thinking = Annotated[Literal["auto", "off", "remove", "keep"], BeforeValidator(yaml_off)]


def _iso_day(value: object) -> object:
    """Return a date as text: YAML reads an unquoted day as a date."""
    text = value.isoformat() if isinstance(value, date) else value
    if isinstance(text, str) and text:
        date.fromisoformat(text)
    return text


Day = Annotated[str, BeforeValidator(_iso_day)]

Arguments = dict[str, str | int | float | bool]

_RESERVED = (
    *("messages", "conversation", "add_generation_prompt", "continue_final_message"),
    *("tokenize", "chat_template", "strftime_now"),
)
"""Arguments of a chat template that lidr sets itself."""


def _refuse_reserved(given: Arguments) -> Arguments:
    if reserved := [name for name in given if name in _RESERVED]:
        raise ValueError(f"{reserved[0]!r} is set by lidr itself")
    return given


TemplateArguments = Annotated[Arguments, AfterValidator(_refuse_reserved)]


class Model(Strict):
    """M_0."""

    source: ModelSource
    """A folder, `s3://bucket/prefix`, `hf://org/name@<commit>`, `models:/name@alias` (MLflow), or
    `toy` for the tiny world."""
    unpinned: bool = False
    """Take the newest revision of an `hf://org/name` without one; the run records which it was.
    Default false: a commit is required."""
    adapter: ModelSource = ""
    """A LoRA adapter of the source, in PEFT's format: a folder, `s3://` or `hf://` as above.
    Default none."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of inference. Default auto: bfloat16 on a GPU, float32 on a CPU."""
    max_length: int = Field(0, ge=0)
    """Context in tokens, prompt and response together. Default 0: the model's own."""
    thinking: Thinking = "auto"
    """What happens to a thinking model's thoughts. `off`: its chat template's switch turns them
    off. `remove`: it thinks, and its thoughts are removed from every text. `keep`: responses are
    identified, translated and trained on with their thoughts. Default auto: off where the template
    has a switch, else remove."""
    template_arguments: TemplateArguments = Field(default_factory=dict)
    """Arguments of the model's chat template, in every step, e.g. `{reasoning_effort: low}`.
    Default none."""
    date: Day = ""
    """The day (YYYY-MM-DD) that chat templates get as today's date. Default empty: the day on which
    the run begins, which is written into its recipe."""
