"""A run's iterations, read from its states and the markers of the stages they point to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lidr.components.report import words
from lidr.components.shared.core.errors import BadInput, DamagedObject, StoreError
from lidr.components.shared.core.json_files import is_finite
from lidr.components.shared.models.sources import model_uri
from lidr.components.shared.steps import STATE_KEYS
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import read_states
from lidr.components.shared.store.stage import open_stage

Counts = dict[str, Any]


@dataclass(frozen=True)
class Round:
    """One iteration of a run, or its start: its state and what its stages counted.

    Not to be confused with the `rounds` of a lineage graph, which count trainings across runs.

    Attributes:
        state: the content of `state.json`.
        model: URI of the model's folder, or of the base model's for a stage that holds only an
            adapter; "" without a model.
        stages: the stage's marker by step (`prepare` at the start, then the iteration's steps);
            steps without a stage, or whose stage was removed, are absent.
        curves: the training metrics, one row per optimizer step.
        source: the t of the model it was trained from, which is the last one promoted before.
        label: prefix of its name on a page with several runs, else "".
    """

    state: Counts
    model: str
    stages: dict[str, Counts] = field(default_factory=dict)
    curves: list[dict[str, float]] = field(default_factory=list)
    source: int = 0
    label: str = ""

    @property
    def iteration(self) -> int:
        """The t of M_t."""
        return int(self.state["iteration"])

    @property
    def name(self) -> str:
        """The model's name on the page."""
        return f"{self.label} {words.model(self.iteration)}".strip()

    @property
    def predecessor(self) -> str:
        """Name of the model that made this iteration's pairs."""
        return f"{self.label} {words.model(self.source)}".strip()

    @property
    def promoted(self) -> bool:
        """Whether the gate let the model through; the start always counts as promoted."""
        return bool(self.state["promoted"])

    @property
    def measured(self) -> bool:
        """Whether the iteration has an evaluated model; False if the reward check ended it."""
        return bool(self.state["evaluation"])

    @property
    def decision(self) -> str:
        """The gate's decision: promote, keep (lack of evidence) or stop; "start" for M_0."""
        if not self.iteration:
            return "start"
        if self.promoted:
            return "promote"
        known = self.counts("gate").get("decision")
        return str(known or ("keep" if self.state["verdict"] == "continue" else "stop"))

    @property
    def accuracy(self) -> Counts:
        """The accuracy's interval by language."""
        return {code: row["accuracy"] for code, row in self.scores.items()}

    @property
    def scores(self) -> Counts:
        """The evaluation's counts by language."""
        scores: Counts = self.counts("evaluate")["languages"]
        return scores

    @property
    def average(self) -> Counts:
        """The interval of the average over the other languages."""
        average: Counts = self.counts("evaluate")["average"]
        return average

    def counts(self, step: str) -> Counts:
        """Return the counts of a step's stage; empty without one."""
        counts: Counts = self.stages.get(step, {}).get("counts", {})
        return counts


def read_history(store: Store, run: str) -> list[Round]:
    """Return a run's iterations, from M_0 to the last one that ended.

    Raises:
        BadInput: the run has not evaluated M_0, or an evaluation was removed.
        StoreError: a file cannot be read.
        DamagedObject: a file arrived with other bytes than were written.
        CorruptStage: the bytes of a stage's marker or training metrics have changed.
    """
    rounds: list[Round] = []
    for state in read_states(store, run):
        source = final_round(rounds).iteration if rounds else 0
        rounds.append(_round(state, source))
    if not rounds:
        raise BadInput(
            f"run {run!r} in {store.uri} has no evaluated model",
            remedy="Check --store and the run's name, or run the recipe again.",
        )
    return rounds


def models_of(rounds: Iterable[Round]) -> list[Round]:
    """Return the iterations that ended with a model."""
    return [item for item in rounds if item.measured]


def final_round(rounds: list[Round]) -> Round:
    """Return the iteration of the run's final model, the last promoted one."""
    return next(item for item in reversed(rounds) if item.promoted)


def _round(state: Counts, source: int) -> Round:
    markers = {step: _marker(str(state.get(key, ""))) for step, key in STATE_KEYS.items()}
    markers["prepare" if state["iteration"] else "train"] = {}  # the start was not trained
    if state["evaluation"] and not markers["evaluate"]:
        raise BadInput(
            f"the evaluation {state['evaluation']} is gone", remedy="Run the recipe again."
        )
    return Round(
        state=state,
        model=_model(state["model"]) if state["model"] else "",
        stages={step: marker for step, marker in markers.items() if marker},
        curves=_curves(state["model"]) if markers["train"] else [],
        source=source,
    )


def _model(stage: str) -> str:
    return model_uri(stage) if _marker(stage) else f"{stage}/model"


def _marker(uri: str) -> Counts:
    """Return a stage's marker; empty if there is no such stage, or it was removed."""
    if not uri:
        return {}
    try:
        return open_stage(uri).marker()
    except (StoreError, DamagedObject):
        raise
    except BadInput:
        return {}


def _curves(uri: str) -> list[dict[str, float]]:
    stage = open_stage(uri)
    if not stage.files(prefix="metrics.jsonl"):
        return []
    rows = [json.loads(row) for row in stage.read("metrics.jsonl").decode().splitlines() if row]
    return [{key: float(value) for key, value in row.items() if is_finite(value)} for row in rows]
