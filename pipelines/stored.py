"""A run as the store has it: finished stages, and the progress of unfinished ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lidr.components.pair.stage import pair_stage
from lidr.components.rollout.stages import generate_stage, translate_stage
from lidr.components.shared.config.evaluation import MAX_ITERATIONS
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.steps import STATE_KEYS
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.marker import MARKER, PRUNED_MARKER
from lidr.components.shared.store.runs import (
    read_result,
    read_run_recipe,
    read_stages,
    read_states,
    run_key,
)
from lidr.components.shared.store.stage import Stage, locate_stage
from lidr.components.shared.store.usage import read_budget_stop
from lidr.components.state.run import CONTINUE, Resumed, fold
from lidr.components.train.stage import train_stage
from lidr.pipelines.status import END, StepRow

_CHUNK_FOLDERS = {"generate": "responses/", "translate": "translations/"}


@dataclass(frozen=True)
class StoredRun:
    """A run's folder on the store.

    Attributes:
        store: where it is.
        run: its name.
        recipe: the recipe it was started with.
        states: of its iterations, the start first.
    """

    store: Store
    run: str
    recipe: Recipe
    states: tuple[dict[str, Any], ...]

    @classmethod
    def read(cls, store: Store, run: str) -> StoredRun | None:
        """Read a run; return None if it has no state yet.

        Raises:
            BadInput: one of its files is damaged.
        """
        recipe = read_run_recipe(store, run)
        if recipe is None:
            return None
        states = read_states(store, run)
        return cls(store, run, recipe, tuple(states)) if states else None

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """The run's result, or None if it has not ended."""
        return read_result(self.store, self.run)

    @cached_property
    def result_written(self) -> float:
        """When the result was written, in seconds since 1970; 0 if there is none."""
        key = run_key(self.run, "result.json")
        entries = self.store.list(key.removesuffix("/result.json"))
        return next((entry.modified for entry in entries if entry.key == key), 0.0)

    @cached_property
    def budget_stop(self) -> dict[str, Any] | None:
        """Why the budget has stopped the run, and before which iteration; None if it has not."""
        return read_budget_stop(self.store, self.run)

    @property
    def stop_reason(self) -> str:
        """Why the budget or the reward check ended the loop before another training; or ""."""
        if self.budget_stop:
            return str(self.budget_stop["reason"])
        last = self.states[-1]
        return "" if last["evaluation"] or last["promoted"] else str(last["reason"])

    @property
    def complete(self) -> bool:
        """Whether the loop has ended and the result includes its last model."""
        last = self.states[-1]
        bound = last["iteration"] >= self.recipe.gate.max_iterations
        ended = last["verdict"] != CONTINUE or bound or self.budget_stop is not None
        result = self.result if ended else None
        models = sum(bool(state["evaluation"]) for state in self.states)
        return result is not None and len(result["iterations"]) >= models

    @property
    def next_iteration(self) -> int:
        """The iteration under way; 0 if the loop has stopped."""
        goes_on = self.states[-1]["verdict"] == CONTINUE and self.budget_stop is None
        return len(self.states) if goes_on and len(self.states) <= MAX_ITERATIONS else 0

    def rows(self) -> Iterator[StepRow]:
        """Yield a row for each finished stage, and for each unfinished one that has files."""
        for state in self.states:
            for step, name in STATE_KEYS.items():
                own = name != "inputs" or state["iteration"] == 0
                if state.get(name) and own and (step != "train" or state["iteration"]):
                    yield from _finished(state["iteration"], step, locate_stage(state[name]))
        if number := self.next_iteration:
            for step, stage in self.under_way().items():
                yield from self._row(number, step, stage)
        if self.result:
            yield StepRow(END, "report", "done")

    def under_way(self) -> dict[str, Stage]:
        """Return the stages of the iteration under way up to `train`, by step, complete or not."""
        number = self.next_iteration
        if not number:
            return {}
        settings, store, start = self.recipe, self.store.uri, fold(self.states)
        responses = generate_stage(settings, store, start.inputs, start.model, number)
        rewards = self._rewards(start, responses.uri, number)
        if rewards is None:
            return {"generate": responses}
        pairs = pair_stage(
            settings, store, start.inputs, responses.uri, rewards.uri, start.model, number
        )
        trained = train_stage(settings, store, start.inputs, pairs.uri, start.model, number)
        return {
            "generate": responses,
            settings.pairing.reward_step: rewards,
            "pair": pairs,
            "train": trained,
        }

    def _rewards(self, start: Resumed, responses: str, number: int) -> Stage | None:
        """Return the stage that the rewarder needs; None for scores and grades that are unfinished.

        Their addresses depend on models and prompts that may be unreachable from here.
        """
        step = self.recipe.pairing.reward_step
        if step == "translate":
            return translate_stage(self.recipe, self.store.uri, responses, start.model, number)
        noted = read_stages(self.store, self.run, number).get(step)
        return locate_stage(noted) if noted else None

    def unfinished(self) -> dict[str, tuple[Stage, list[str]]]:
        """Return the unfinished stages by step, each with the keys of its files."""
        found = {}
        for step, stage in self.under_way().items():
            keys = _written(stage)
            if keys and stage.key(MARKER) not in keys:
                found[step] = (stage, keys)
        return found

    def _row(self, number: int, step: str, stage: Stage) -> Iterator[StepRow]:
        if stage.done():
            yield from _finished(number, step, stage)
            return
        written = _written(stage)
        if not written:
            return
        folder = _CHUNK_FOLDERS.get(step)
        chunks = sum(key.startswith(stage.key(folder)) for key in written) if folder else 0
        total = self._chunks(step)
        yield StepRow(number, step, done=chunks, total=total, unit="chunks" if total else "")

    def _chunks(self, step: str) -> int:
        """Return how many chunks a step writes in all; 0 if it writes none."""
        codes = self.recipe.languages
        width = {"generate": len(codes.all), "translate": 2 * len(codes.others)}.get(step, 0)
        if not width:
            return 0
        prompts = locate_stage(self.states[0]["inputs"]).counts().get("prompts", 0)
        size = min(self.recipe.prompts.per_iteration, int(prompts))
        return width * -(-size // self.recipe.generation.chunk_size)


def uris_under_way(store: Store, run: str) -> set[str]:
    """Return the URIs of the stages that a run makes next or is making; see `under_way`."""
    stored = StoredRun.read(store, run) if run else None
    return {stage.uri for stage in stored.under_way().values()} if stored else set()


def _written(stage: Stage) -> list[str]:
    """Return the keys of a stage's files, without the marker that stays when it is pruned."""
    record = stage.key(PRUNED_MARKER)
    return [entry.key for entry in stage.store.list(stage.prefix) if entry.key != record]


def known_runs(store: Store) -> list[str]:
    """Return the names of the runs in a store."""
    files = [entry.key.split("/") for entry in store.list("runs")]
    return sorted({parts[1] for parts in files if parts[2:] in (["recipe.json"], ["events.jsonl"])})


def _finished(iteration: int, step: str, stage: Stage) -> Iterator[StepRow]:
    if not stage.done():
        return
    marker = stage.marker()
    rate, unit = _rate(step, marker["counts"])
    yield StepRow(iteration, step, "done", float(marker["seconds"]), rate=rate, rate_unit=unit)


def _rate(step: str, counts: dict[str, Any]) -> tuple[float, str]:
    if step in ("generate", "translate", "evaluate") and "tokens_per_second" in counts:
        return float(counts["tokens_per_second"]), "tokens"
    if step == "train" and counts.get("train_seconds"):
        return counts["pairs"] / counts["train_seconds"], "pairs"
    return 0.0, ""
