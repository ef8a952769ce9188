"""A calibration file: text lengths and speeds for a plan, as one run measured them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.load import load
from lidr.components.shared.config.recipe import Recipe
from lidr.pipelines.planning.requests import Lengths


class Rate(Strict):
    """How fast one worker is."""

    fixed_seconds: float = Field(ge=0)
    """Seconds for any work: loading libraries and weights, the engine's start, the marker."""
    per_second: float = Field(gt=0)
    """Output tokens, pairs, examples or FLOPs, depending on the step."""

    def seconds(self, work: float) -> float:
        """Return how long one worker works, without `fixed_seconds`."""
        return work / self.per_second


class MeasuredLengths(Strict):
    """Tokens per request, and the share of the pairs that is kept."""

    prompt: Mapping[str, float]
    """Of a request for an answer, by language."""
    answer: Mapping[str, float]
    """By language."""
    translation: Mapping[str, float]
    """By direction, e.g. en-es."""
    evaluation: Mapping[str, float]
    """Of an answer to an evaluation item, by language."""
    kept: float = Field(ge=0, le=1)
    """Share of the candidate pairs that the filters kept."""

    def lengths(self) -> Lengths:
        """Return the lengths as `Requests` takes them."""
        return Lengths(self.prompt, self.answer, self.translation, self.evaluation, self.kept)


class Calibration(Strict):
    """A calibration file: what one finished run measured."""

    source: str
    """The run that was measured."""
    parameters: int = Field(ge=1)
    """Of the model."""
    gpus: int = Field(ge=0)
    """GPUs of one worker; 0 on CPUs."""
    lengths: MeasuredLengths
    """Of its texts."""
    generate: Rate
    """Output tokens a second."""
    translate: Rate
    """Output tokens a second."""
    evaluate: Rate
    """Output tokens a second."""
    train: Rate
    """FLOPs a second of one rank."""
    pair: Rate
    """Candidates a second."""
    toy: Rate | None = None
    """Examples of M_0's training a second; only of the tiny world."""
    seconds: Mapping[str, float]
    """Seconds of the steps whose work is small: gate, register."""
    between: float = Field(0.0, ge=0)
    """Seconds around each step: its pod or process, imports, the pipeline's bookkeeping."""

    def fits(self, parameters: int, gpus: int) -> bool:
        """Return whether the speeds hold for a model of this size and workers with so many GPUs.

        The file does not name the type of GPU, so speeds of another type pass; a plan notes this.
        """
        return abs(self.parameters / parameters - 1) < 0.2 and self.gpus == gpus


def load_calibration(path: Path) -> Calibration:
    """Read a calibration file, which is JSON.

    Raises:
        BadInput: the file is wrong; the error names file, line, key and the allowed values.
    """
    return load(path, Calibration, {})


def toy_examples(recipe: Recipe) -> float:
    """Return how many examples the tiny world's M_0 is trained on, over all passes."""
    others, toy = len(recipe.languages.others), recipe.toy
    kinds = toy.solutions + toy.weak_solutions * others + toy.translations * 2 * others
    return kinds * toy.passes


def dump(calibration: Calibration) -> str:
    """Return the text of a calibration file."""
    return json.dumps(calibration.model_dump(mode="json"), indent=2) + "\n"
