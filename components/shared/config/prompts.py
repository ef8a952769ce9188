"""The recipe's `prompts`: their files, and which of their fields are read."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from lidr.components.shared.config.base_model import LanguageCode, Strict
from lidr.components.shared.config.deduplication import Deduplication
from lidr.components.shared.config.source import OneSource, SourceTexts

LINE_NUMBER = "#"
"""Stands for the number of a line in place of a field's name."""


def _as_names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


FieldNames = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_as_names),
    Field(min_length=1),
]
"""A field's name, or a list of names: in each line, the first with a value is read."""


class Fields(Strict):
    """Names of the fields in prompt files that are not written by lidr.

    Where there is a list of names, the first with a value in a line is read.
    """

    prompt_id: FieldNames = ("prompt_id",)
    """The id that is the same across languages; `"#"` is the line's number, from 0, where each
    language has one file. Default prompt_id."""
    text: FieldNames = ("text",)
    """The instruction. Default text."""
    input: FieldNames = ("input",)
    """What the instruction is about, in files like Alpaca's: appended to the instruction on a new
    line (as in ZNLP/Language-Imbalance-Driven-Rewarding, utils/batch_inference.py). Default input.
    """
    answer: FieldNames = ("answer",)
    """The reference answer, where there is one; a number as English writes it, in any language.
    Default answer."""
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
    """The prompts to learn from: JSON Lines or Parquet files per language, with the same ids."""

    files: dict[LanguageCode, SourceTexts] = Field(default_factory=dict)
    """One source or a list of them, in order, per language: a path (relative ones start at the
    recipe's folder), `s3://`, `hf://datasets/org/name@<commit>/file` or `https://`, as text or as
    `{source, sha256, revision, licence}`; `https://` needs a sha256.
    Default empty: the tiny world's own prompts."""
    translation_tasks: OneSource = ""
    """JSON Lines with the ids of prompts about translation or a language, which are answered but
    never translated, in addition to those whose field translation_task says so. Default none: they
    are recognised by their words, where that field is missing."""
    fields: Fields = Fields()
    """Field names in those files."""
    id_pattern: IdPattern = ""
    """Regular expression whose one group is the part of an id that the languages share, for files
    that write the language into it: `gsm8k_(\\d+)$` makes 7 of `degsm8k_7`. Default empty: the
    whole id."""
    deduplicate: Deduplication = Deduplication()
    """What happens to duplicate prompts."""
    per_iteration: int = Field(1000, ge=1)
    """Prompt ids used in one iteration; the next iteration takes the next ones. Default 1000."""
