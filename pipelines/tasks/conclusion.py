"""The end of an iteration: its gate, its registration and the run's state, in one task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lidr.components.gate.run import gate
from lidr.components.pair.stage import TRAIN, after_pairs
from lidr.components.register.run import register
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.records.counts import Log, ignore
from lidr.components.shared.steps import STATE_KEYS
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.recipes import resolve_recipe
from lidr.components.shared.store.runs import read_stages
from lidr.components.shared.store.stage import open_stage
from lidr.components.shared.tracking.stage_metrics import decision_of
from lidr.components.state.budget import stopped_by_budget, used_so_far
from lidr.components.state.run import CONTINUE, State, next_state, write_state

_UP_TO_PAIRS = ("generate", "translate", "score", "grade", "pair")
"""Steps before training; an iteration runs only one of translate, score and grade."""

_EMPTY_IF_STOPPED = ("model", "evaluation", "judgements", "decision", "version")
"""Keys of a state that are "" if the reward check has stopped the loop."""


def conclude(
    recipe: str,
    store: str,
    run: str,
    iteration: int,
    max_iterations: int,
    inputs: str,
    model: str,
    evaluation: str,
    judgements: str,
    version: str,
    verdict: str,
    log: Log = ignore,
) -> State:
    """Decide on an iteration's model, register it and write the run's state.

    The iteration's stages are found on the store, where its steps noted them: a task after a
    `dsl.If` cannot read outputs from inside it.

    Args:
        recipe: the resolved recipe as JSON, or its reference on the store.
        store: URI of the store.
        run: name of the run.
        iteration: 0 for the start, t + 1 for the iteration that made M_{t+1}.
        max_iterations: the loop stops after this many iterations.
        inputs: URI of the stage `prepare`, which holds M_0.
        model: URI of the stage that holds M_t; "" at the start.
        evaluation: URI of the evaluate stage of M_t; "" at the start.
        judgements: URI of the judge stage of M_t; "" without a judge.
        version: registered version of M_t; "" at the start.
        verdict: anything but `continue` means that the iteration was skipped.
        log: called with the gate's decision as numbers, for Kubeflow's page.

    Returns:
        What the next iteration starts from: M_{t+1} if it was promoted, else M_t. If the reward
        check has stopped the loop, there is no M_{t+1}, and nothing is decided or registered. If
        another iteration would exceed the budget, the returned verdict is `stop`, but the run's
        state on the store says `continue`, so that a run with a larger budget can go on.

    Raises:
        BadInput: a step of the iteration has not noted its stage.
        TrackingFailed: MLflow was unavailable for longer than a registration waits.
    """
    before = State(model, evaluation, judgements, version, verdict)
    if verdict != CONTINUE:
        return before
    home = open_store(store)
    made = read_stages(home, run, iteration)
    if not iteration:
        made["train"] = inputs  # M_0 is in the stage of `prepare`
    resolved = resolve_recipe(store, recipe)  # once, for gate, register and write_state
    settings = Recipe.model_validate_json(resolved)
    needed = ("generate", settings.pairing.reward_step, "pair")
    _require(made, needed if iteration else (), run, iteration)
    common: dict[str, Any] = {
        "recipe": resolved,
        "store": store,
        "run": run,
        "iteration": iteration,
    }
    known = {**common, **_stages_to_pairs(made), "inputs": inputs, "used": used_so_far(home, run)}
    if iteration and (reason := _stopped(settings, made["pair"])):
        write_state(**known | dict.fromkeys(_EMPTY_IF_STOPPED, ""), stopped=reason)
        return next_state(store=store, run=run, iteration=iteration, **before._asdict())
    _require(made, ("train", "evaluate"), run, iteration)
    decision = ""
    if iteration:
        decision = gate(
            **common,
            before=evaluation,
            after=made["evaluate"],
            max_iterations=max_iterations,
            judged_before=judgements if "judge" in made else "",
            judged_after=made.get("judge", ""),
        )
        for name, value in decision_of(open_stage(decision).counts()).items():
            log(name, value)
    registered = register(
        **common,
        inputs=inputs,
        model=made["train"],
        evaluation=made["evaluate"],
        decision=decision,
        parent=version,
        judgements=made.get("judge", ""),
    )
    write_state(
        **known,
        model=made["train"],
        evaluation=made["evaluate"],
        judgements=made.get("judge", ""),
        decision=decision,
        version=registered,
    )
    state = next_state(store=store, run=run, iteration=iteration, **before._asdict())
    if state.verdict == CONTINUE and stopped_by_budget(home, run, iteration + 1):
        return state._replace(verdict="stop")
    return state


def _stages_to_pairs(made: Mapping[str, str]) -> dict[str, Any]:
    """Return the stages up to pair by their keys in a state; "" for missing ones."""
    return {STATE_KEYS[step]: made.get(step, "") for step in _UP_TO_PAIRS}


def _stopped(settings: Recipe, pairs: str) -> str:
    """Return why the reward check has stopped the loop; "" if it has not."""
    counts = open_stage(pairs).counts()
    if after_pairs(settings, counts) == TRAIN:
        return ""
    return f"the reward check stopped the loop before training: {counts['reward']['reason']}"


def _require(made: Mapping[str, str], steps: Iterable[str], run: str, iteration: int) -> None:
    missing = [step for step in steps if step not in made]
    if missing:
        raise BadInput(
            f"iteration {iteration} of run {run!r} has no stage of {', '.join(missing)}",
            remedy="Run the same command again.",
        )
