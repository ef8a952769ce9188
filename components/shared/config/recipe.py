"""The recipe: what to learn. Science only; the profile says where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from lidr.components.shared.config.base_model import LanguageCode, Strict
from lidr.components.shared.config.evaluation import Evaluation, Gate
from lidr.components.shared.config.generation import Generation, TranslationSettings
from lidr.components.shared.config.judge import Judge
from lidr.components.shared.config.load import load
from lidr.components.shared.config.machine import MOVED
from lidr.components.shared.config.model import Model
from lidr.components.shared.config.pairing import Pairing
from lidr.components.shared.config.patterns import MODEL_NAME, SHORT_NAME
from lidr.components.shared.config.prompts import Prompts
from lidr.components.shared.config.training import Training
from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.names import key_fault

_MAX_TOY_PROBLEMS = 160_000
"""Problems that `toy.problems` can draw for M_0, each once."""


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
    evaluation_items: int = Field(300, ge=1, le=20_000)
    """Held-out items per language. Default 300."""

    @model_validator(mode="after")
    def _drawable(self) -> Self:
        drawn = self.solutions + 3 * (self.weak_solutions + 2 * self.translations)
        if drawn > _MAX_TOY_PROBLEMS:
            raise ValueError(f"the tiny world has {_MAX_TOY_PROBLEMS:,} problems, not {drawn:,}")
        return self


def _check_name(name: str) -> str:
    if name and (fault := key_fault(name)):
        raise ValueError(f"{name!r} {fault}")
    return name


class Registry(Strict):
    """Where each iteration's model is registered."""

    model_name: Annotated[str, Field(pattern=MODEL_NAME), AfterValidator(_check_name)] = ""
    """MLflow registered model, without / : % or quotes. Default: the recipe's name."""
    promote: Literal["never", "gated"] = "never"
    """Whether a version becomes the champion by itself. `gated`: when it has passed the gate
    against the champion, or there is none yet. Default never: `lidr promote` does it."""


class Recipe(Strict):
    """One self-improvement experiment."""

    moved: ClassVar[Mapping[str, str]] = MOVED

    name: Annotated[str, Field(pattern=SHORT_NAME), AfterValidator(_check_name)]
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
        """A run's default name: the same for equal recipes."""
        digest = digest_of(self.model_dump(mode="json"))
        return f"{self.name}-seed{self.seed}-{digest[:8]}"

    @property
    def registered_model(self) -> str:
        """Name of the registered model."""
        return self.registry.model_name or self.name

    @property
    def is_judged(self) -> bool:
        """Whether a judge judges every model's answers to questions."""
        return self.judge is not None and bool(self.judge.tasks)

    @property
    def items_per_task(self) -> int | None:
        """Most evaluation items per task and language; None if neither limit nor toy sets it."""
        limits = (self.evaluation.limit, self.toy.evaluation_items if self.is_toy else 0)
        return min(filter(None, limits), default=None)

    @property
    def is_toy(self) -> bool:
        """Whether M_0, prompts and evaluation items are the tiny world's."""
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
                raise ValueError("prompts.deduplicate is for prompts.files, which 'toy' lacks")
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

    def require_judge(self) -> Judge:
        """Return the judge.

        Raises:
            BadInput: the recipe has none.
        """
        if self.judge is None:
            raise BadInput("the recipe has no judge", remedy="Add a judge section.")
        return self.judge

    def require_measured(self) -> None:
        """Refuse to begin a loop whose gain could not be seen.

        Raises:
            BadInput: no task measures the dominant language, or none measures another one.
        """
        measured = set(self.evaluation.tasks_in(self.languages.all).values())
        if self.languages.dominant not in measured:
            raise BadInput(
                f"evaluation.tasks: none measures {self.languages.dominant}, the dominant language",
                remedy="Add one, or name the language under evaluation.languages.",
            )
        if not measured & set(self.languages.others):
            raise BadInput(
                "evaluation.tasks: none measures a language but the dominant one",
                remedy="Add one, or name another language under evaluation.languages.",
            )

    def _require_rewardable(self) -> None:
        """Refuse a rewarder without the samples that it chooses among, or without its judge."""
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
        overrides: dotted keys and their values, e.g. `{"training.nll_weight": 0}`.

    Raises:
        BadInput: with file, line, key and the allowed values.
    """
    recipe = load(path, Recipe, overrides or {})
    resolve = partial(_resolve, path.resolve().parent)
    model, prompts, icr = recipe.model, recipe.prompts, recipe.pairing.icr
    updates = {
        "model": {
            "source": "toy" if recipe.is_toy else resolve(model.source),
            "adapter": resolve(model.adapter),
        },
        "prompts": {
            "files": {code: tuple(map(resolve, files)) for code, files in prompts.files.items()},
            "translation_tasks": resolve(prompts.translation_tasks),
        },
        "pairing": {
            "icr": icr.model_copy(
                update={"policy": resolve(icr.policy), "reference": resolve(icr.reference)}
            )
        },
        "evaluation": {
            "include_path": resolve(recipe.evaluation.include_path),
            "data": {name: resolve(each) for name, each in recipe.evaluation.data.items()},
        },
    }
    resolved = {key: getattr(recipe, key).model_copy(update=new) for key, new in updates.items()}
    return recipe.model_copy(
        update={**resolved, "judge": recipe.judge and recipe.judge.resolved(resolve)}
    )


def _resolve(base: Path, name: str) -> str:
    return name if not name or "://" in name or name.startswith("models:/") else str(base / name)
