"""The recipe's sections on how models are measured, and when one is better than another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from lidr.components.shared.config.base_model import LanguageCode, Share, Strict
from lidr.components.shared.config.patterns import COMMIT
from lidr.components.shared.config.source import SourceText, parse_source
from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.core.text import nearest


def _allowing_only(*placeholders: str) -> Callable[[str], str]:
    def check(name: str) -> str:
        rest = name
        for placeholder in placeholders:
            rest = rest.replace(f"{{{placeholder}}}", "")
        if set("{}") & set(rest):
            allowed = " and ".join(f"{{{each}}}" for each in placeholders)
            raise ValueError(f"{name!r} may hold {allowed}, and no other braces")
        return name

    return check


TaskLanguages = Annotated[tuple[LanguageCode, ...], Field(min_length=1)]
TaskName = Annotated[str, AfterValidator(_allowing_only("language", "language_name"))]
Commit = Annotated[str, Field(pattern=COMMIT)]
_check_path = _allowing_only("language", "language_name", "config")


def _data_path(source: str) -> str:
    if not _check_path(parse_source(source).address):
        raise ValueError("a source needs its address")
    return source


DataPath = Annotated[SourceText, AfterValidator(_data_path)]

MAX_ITERATIONS = 5
"""Iterations of a loop that one pipeline can hold (`pipelines/workflow_size.py`)."""


class Evaluation(Strict):
    """The evaluate stage: lm-evaluation-harness tasks, one per language."""

    tasks: tuple[TaskName, ...] = Field(min_length=1)
    """Task names in which `{language}` stands for the code and `{language_name}` for the English
    name in lower case (include_base_44_{language_name}). `lidr evaluate --list-tasks` names them.
    Required."""
    languages: dict[TaskName, TaskLanguages] = Field(default_factory=dict)
    """For a task that does not exist in all of the recipe's languages: the languages to run it in,
    e.g. `{"math500_{language}": [en]}`. Keys are names as written in `tasks`. A name without a
    place for the language needs one entry here, of one language. Default: all of the recipe's."""
    data: dict[str, DataPath] = Field(default_factory=dict)
    """Where items are read from, by the task's family (mgsm, mmath, math500) or by the harness's
    dataset_path (juletxara/mgsm): a file or folder, relative to the recipe's folder, or another
    source, as in `prompts.files`; `{language}`, `{language_name}` and, for the harness's
    tasks, `{config}` (their dataset_name) may appear in it. Default none: from where they are
    published."""
    revisions: dict[str, Commit] = Field(default_factory=dict)
    """Commits of data sets on the Hugging Face hub, by the harness's dataset_path, e.g.
    `{CohereLabs/Global-MMLU-Lite: <40 hex digits>}`. Default none: their newest revision, with a
    warning; what is under data is not downloaded."""
    include_path: str = ""
    """Folder with YAML tasks of your own, relative to the recipe's folder. Default none."""
    limit: int = Field(0, ge=0)
    """Items per task and language. Default 0: all."""
    max_tokens: int = Field(0, ge=0)
    """Longest answer, in tokens, whatever the task says. Default 0: the task's own limit, and 512
    where it has none."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if unknown := set(self.languages) - set(self.tasks):
            name = min(unknown)
            raise ValueError(
                f"languages names {name!r}, which is not among tasks{nearest(name, self.tasks)}"
            )
        if both := set(self.data) & set(self.revisions):
            raise ValueError(f"{min(both)!r} is under data and under revisions; drop one of them")
        for name in self.tasks:
            if "{language" not in name and len(self.languages.get(name, ())) != 1:
                raise ValueError(
                    f"{name!r} holds no {{language}}; say under languages which one it is in"
                )
        return self

    def tasks_in(self, languages: Sequence[str]) -> dict[str, str]:
        """Return the language of every task to run, by task name, given the recipe's languages."""
        return {
            name.format(language=code, language_name=NAMES[code].lower()): code
            for name in self.tasks
            for code in self.languages.get(name, tuple(languages))
        }


class Gate(Strict):
    """When M_{t+1} is better than M_t, and when the loop ends."""

    max_iterations: int = Field(2, ge=1, le=MAX_ITERATIONS)
    """Iterations of the loop at most. Default 2, at most 5."""
    min_gain: float = Field(0.0, ge=0.0, lt=1.0)
    """The bar: mean gain over the other languages that a promotion must exceed, as a fraction.
    Default 0."""
    alpha: float = Field(0.05, gt=0.0, lt=0.5)
    """Largest probability of promoting a model that is no better, and of stopping, for a fall or a
    broken bar, a model that is no worse; over all languages together. Default 0.05."""
    tolerance: Share = 0.02
    """Largest allowed fall of the accuracy in any language, as a fraction (0.02 is two points).
    Default 0.02."""
    tolerances: dict[LanguageCode, Share] = Field(default_factory=dict)
    """Largest allowed fall of the accuracy in single languages, where it differs from tolerance.
    Default none."""
    max_off_target: Share = 0.1
    """Largest share of off-target answers in any language. The model fails the gate if a test on
    the same items shows that its share is above this and above its predecessor's. Default 0.1; 1
    switches it off."""
    max_truncated: Share = 0.1
    """Largest share of truncated answers in any language, tested likewise. Default 0.1; 1 switches
    it off."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    """Level of the languages' intervals; that of the mean gain is 1 - 2 alpha. Default 0.95."""
    resamples: int = Field(10_000, ge=100)
    """Paired bootstrap resamples. Default 10000."""

    @property
    def bars(self) -> dict[str, float]:
        """Largest allowed share of off-target and of truncated answers."""
        return {"off_target": self.max_off_target, "truncated": self.max_truncated}

    def tolerance_of(self, code: str) -> float:
        """Return the largest allowed fall of the accuracy in one language, as a fraction."""
        return self.tolerances.get(code, self.tolerance)
