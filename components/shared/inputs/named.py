"""The inputs that a recipe names (models, prompt files, evaluation items), and replacing them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lidr.components.shared.config.recipe import Recipe

Key = tuple[str | int, ...]


class InputKind(StrEnum):
    """What an input is for."""

    MODEL = "model"
    """A model or an adapter: a folder."""
    PROMPTS = "prompts"
    """Prompts to train on, and the list of those whose answers are never translated."""
    QUESTIONS = "questions"
    """The questions of the judge's tasks, reference answers, and the judge's own prompts."""
    ITEMS = "items"
    """The data of an evaluation task."""


@dataclass(frozen=True)
class NamedInput:
    """One input of a recipe.

    Attributes:
        key: path of the recipe's field, e.g. `("prompts", "files", "en", 0)`.
        source: the field's value: a path or URI.
        kind: what it is for.
        languages: the codes that replace `{language}` in the source.
    """

    key: Key
    source: str
    kind: InputKind
    languages: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The key in dotted form, e.g. `prompts.files.en.0`."""
        return ".".join(map(str, self.key))


def named_inputs(recipe: Recipe) -> list[NamedInput]:
    """Return every input that a recipe names.

    Not included: the toy's model, which prepare makes; models in MLflow's registry (`models:/`);
    the folder of tasks under `evaluation.include_path`; and data that lm-evaluation-harness loads
    itself.
    """
    return [each for each in _every_input(recipe) if each.source]


def _every_input(recipe: Recipe) -> Iterator[NamedInput]:
    codes = recipe.languages.all
    if not recipe.is_toy:
        for key in ("source", "adapter"):
            source = str(getattr(recipe.model, key))
            if not source.startswith("models:/"):
                yield NamedInput(("model", key), source, InputKind.MODEL)
    for key in ("policy", "reference"):
        source = str(getattr(recipe.pairing.icr, key))
        if not source.startswith("models:/"):
            yield NamedInput(("pairing", "icr", key), source, InputKind.MODEL)
    for code, sources in recipe.prompts.files.items():
        for index, source in enumerate(sources):
            yield NamedInput(("prompts", "files", code, index), source, InputKind.PROMPTS)
    yield NamedInput(
        ("prompts", "translation_tasks"), recipe.prompts.translation_tasks, InputKind.PROMPTS
    )
    for family, source in recipe.evaluation.data.items():
        yield NamedInput(("evaluation", "data", family), source, InputKind.ITEMS, codes)
    if recipe.judge:
        for index, task in enumerate(recipe.judge.tasks):
            asked = recipe.judge.languages_of(task, codes)
            for key in ("questions", "references"):
                source = str(getattr(task, key))
                yield NamedInput(("judge", "tasks", index, key), source, InputKind.QUESTIONS, asked)
        yield NamedInput(("judge", "prompts"), recipe.judge.prompts, InputKind.QUESTIONS)


def with_sources(recipe: Recipe, sources: Mapping[Key, str]) -> Recipe:
    """Return a copy of a recipe with other sources for some of its inputs.

    Args:
        recipe: the original.
        sources: the new ones by key. For evaluation data, this also drops the revision.
    """
    if not sources:
        return recipe
    data = recipe.model_dump(mode="json")
    for key, source in sources.items():
        _put(data, key, source)
        if key[:2] == ("evaluation", "data"):
            data["evaluation"]["revisions"].pop(key[2], None)
    return Recipe.model_validate(data)


def _put(data: Any, key: Key, source: str) -> None:
    for part in key[:-1]:
        data = data[part]
    data[key[-1]] = source
