"""state: the loop's memory, one small JSON file per iteration that points to its stages.

The steps here import little: each is a task of its own, and should take half a second.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from lidr.components.shared.config.budget import NOTHING_USED, Used
from lidr.components.shared.config.evaluation import MAX_ITERATIONS
from lidr.components.shared.core.digest import canonical_json, digest_of
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.json_files import read_object
from lidr.components.shared.step import step
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.recipes import put_recipe
from lidr.components.shared.store.runs import read_state, read_states, recipe_key, state_key
from lidr.components.shared.store.stage import open_stage
from lidr.components.state.budget import stopped_by_budget

CONTINUE = "continue"


class State(NamedTuple):
    """What an iteration starts from."""

    model: str
    evaluation: str
    judgements: str
    version: str
    verdict: str


class Resumed(NamedTuple):
    """A `State`, with the stage that holds the prompts."""

    inputs: str
    model: str
    evaluation: str
    judgements: str
    version: str
    verdict: str


@step("state")
def write_state(
    recipe: str,
    store: str,
    run: str,
    iteration: int,
    inputs: str,
    responses: str,
    translations: str,
    pairs: str,
    model: str,
    evaluation: str,
    judgements: str,
    decision: str,
    version: str,
    scores: str = "",
    grades: str = "",
    stopped: str = "",
    used: Used = NOTHING_USED,
) -> str:
    """Write `runs/<run>/iteration-<t>/state.json`; at the start also the run's recipe.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run.
        iteration: 0 for the start, t + 1 for the iteration that made M_{t+1}.
        inputs: URI of the stage `prepare`.
        responses: URI of the generate stage; empty at the start.
        translations: URI of the translate stage; empty at the start, and if the rewarder needs
            none.
        pairs: URI of the pair stage; empty at the start.
        model: URI of the stage that holds the iteration's model, promoted or not; empty if the
            loop stopped before there was one.
        evaluation: URI of its evaluate stage; empty in the same case.
        judgements: URI of its judge stage; empty without a judge.
        decision: URI of the gate stage; empty at the start, and if the loop stopped before it.
        version: the registered version.
        scores: URI of the score stage, if the rewarder needs one.
        grades: URI of the grade stage, if the rewarder needs one.
        stopped: why the loop stops before the gate of this iteration; "" if it does not.
        used: what the run has used so far, with the account that `lidr report` counts by.

    Returns:
        The verdict: `continue` or `stop`.

    Raises:
        BadInput: the run was started with another recipe.
    """
    home = open_store(store)
    if iteration == 0:
        _write_recipe(home, run, recipe)
    outcome = _outcome(decision, stopped)
    state = {
        "iteration": iteration,
        "inputs": inputs,
        "responses": responses,
        "translations": translations,
        "scores": scores,
        "grades": grades,
        "pairs": pairs,
        "model": model,
        "evaluation": evaluation,
        "judgements": judgements,
        "decision": decision,
        "version": version,
        **outcome,
    }
    key = state_key(run, iteration)
    state |= _end_facts(home, key, state, used)
    home.write(key, json.dumps(state, indent=2).encode())
    if outcome["verdict"] != CONTINUE:
        _delete_later_states(home, run, iteration)
    return str(outcome["verdict"])


@step("state")
def next_state(
    store: str,
    run: str,
    iteration: int,
    model: str,
    evaluation: str,
    judgements: str,
    version: str,
    verdict: str,
) -> State:
    """Read what the next iteration starts from; after a stop, return the given state unchanged.

    Args:
        store: URI of the store.
        run: name of the run.
        iteration: t + 1, the iteration that has just ended or was skipped.
        model: URI of the stage that holds M_t.
        evaluation: URI of the evaluate stage of M_t.
        judgements: URI of the judge stage of M_t; empty without a judge.
        version: registered version of M_t.
        verdict: the verdict before this iteration; unless `continue`, the iteration was skipped.

    Returns:
        The state after the iteration. If its model was not promoted, M_t stays the model.
    """
    before = State(model, evaluation, judgements, version, verdict)
    if verdict != CONTINUE:
        return before
    return _after(before, read_state(open_store(store), run, iteration))


def _after(before: State, reached: Mapping[str, Any]) -> State:
    """Return the state after an iteration: only a promoted model takes M_t's place."""
    if not reached["promoted"]:
        return before._replace(verdict=str(reached["verdict"]))
    return State(**{name: reached[name] for name in State._fields})


@step("state")
def resume_state(recipe: str, store: str, run: str, iteration: int) -> Resumed:
    """Return what the iteration after the given one starts from, read from the run's states.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run.
        iteration: t, the last one that is kept; 0 is the start.

    Returns:
        The state after iteration t; its verdict is `stop` if the budget allows no further one.

    Raises:
        BadInput: an iteration up to t has not ended, or the run was started with another recipe.
    """
    home = open_store(store)
    put_recipe(home, recipe)
    require_same_recipe(home, run, recipe)
    reached = state_after(home, run, iteration)
    if reached.verdict == CONTINUE and stopped_by_budget(home, run, iteration + 1):
        return reached._replace(verdict="stop")
    return reached


def state_after(store: Store, run: str, iteration: int) -> Resumed:
    """Fold a run's states from the start through `iteration` into one; see `resume_state`."""
    return fold(read_state(store, run, number) for number in range(iteration + 1))


def fold(states: Iterable[Mapping[str, Any]]) -> Resumed:
    """Return the state after iterations, from their states in order, the start's first.

    What follows a stop is not read.
    """
    later = iter(states)
    start = next(later)
    state = State(**{name: start[name] for name in State._fields})
    while state.verdict == CONTINUE and (reached := next(later, None)):
        state = _after(state, reached)
    return Resumed(start["inputs"], *state)


def require_not_stopped(store: Store, run: str, iteration: int) -> None:
    """Refuse to resume after `iteration` if the run stopped there or earlier.

    Raises:
        BadInput: the run stopped, or an iteration up to this one has not ended.
    """
    for number in range(iteration + 1):
        reached = read_state(store, run, number)
        if reached["verdict"] != CONTINUE:
            raise BadInput(
                f"run {run!r} stopped at iteration {number}: {reached['reason']}",
                remedy="Choose an earlier iteration, or another --run with another gate (or "
                "pairing.reward, if the reward check stopped it).",
            )


def first_unfinished(store: Store, run: str, bound: int) -> int:
    """Return the first iteration that a run still has to do; 0 if the start is not yet evaluated.

    Args:
        store: the run's store.
        run: its name.
        bound: the maximum number of iterations.

    Returns:
        A number up to `bound` + 1, which means none: the loop has stopped or reached its bound.
    """
    states = read_states(store, run)
    if not states:
        return 0
    stopped = any(state["verdict"] != CONTINUE for state in states[: bound + 1])
    return bound + 1 if stopped else min(len(states), bound + 1)


def require_same_recipe(store: Store, run: str, recipe: str) -> None:
    """Refuse to continue a run with a recipe other than the one it was started with.

    Raises:
        BadInput: the run exists and its recipe differs.
    """
    if not store.exists(recipe_key(run)):
        return
    started = read_object(store.read(recipe_key(run)), f"{store.uri}/{recipe_key(run)}", {})
    if digest_of(_undated(started)) != digest_of(_undated(json.loads(recipe))):
        raise BadInput(
            f"run {run!r} in {store.uri} was started with another recipe",
            remedy="Choose another --run; finished stages that still fit are reused.",
        )


def _undated(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe with `model.date` blank: two starts of one recipe differ only in that day."""
    model = recipe.get("model")
    return recipe | ({"model": {**model, "date": ""}} if isinstance(model, dict) else {})


def _write_recipe(store: Store, run: str, recipe: str) -> None:
    require_same_recipe(store, run, recipe)
    store.write(recipe_key(run), canonical_json(json.loads(recipe)).encode())


def _end_facts(store: Store, key: str, state: dict[str, object], used: Used) -> dict[str, object]:
    """Return when the iteration ended (UTC) and what the run had used by then.

    If the rest of the state is unchanged, the values already in its file are kept.
    """
    ended: dict[str, object] = {
        "used": used.model_dump(mode="json"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if store.exists(key):
        before = read_object(store.read(key), f"{store.uri}/{key}", {})
        known = {name: before.pop(name) for name in ended if before.get(name)}
        if before == state:
            return ended | known
    return ended


def _outcome(decision: str, stopped: str) -> dict[str, object]:
    if stopped:
        return {"verdict": "stop", "promoted": False, "reason": stopped}
    if not decision:
        return {"verdict": CONTINUE, "promoted": True, "reason": "the start"}

    counts = open_stage(decision).counts()
    return {name: counts[name] for name in ("verdict", "promoted", "reason")}


def _delete_later_states(store: Store, run: str, iteration: int) -> None:
    """Delete later states of a longer execution of this run, so that the two do not mix."""
    for later in range(iteration + 1, MAX_ITERATIONS + 1):
        store.delete(state_key(run, later))
