"""A calibration from a finished run: the lengths and speeds in its markers on the store."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import TYPE_CHECKING, Any

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import nearest
from lidr.components.shared.models.sources import model_config
from lidr.components.shared.sizing.architecture import read_architecture
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import read_state, recipe_key, state_key
from lidr.components.shared.store.stage import open_stage
from lidr.pipelines.planning.calibration import Calibration, MeasuredLengths, Rate, world_examples
from lidr.pipelines.planning.figures import figures
from lidr.pipelines.planning.requests import PlannedPrompts, Requests
from lidr.pipelines.planning.speed import training_flops

if TYPE_CHECKING:
    from lidr.components.shared.store.base import Store
    from lidr.components.shared.store.stage import Stage


_STEPS = 7
"""Of one iteration, as a plan counts them: from generate to register."""


@dataclass(frozen=True)
class _Round:
    """The stages of one iteration."""

    generate: Stage
    translate: Stage
    pair: Stage
    train: Stage
    reference: Stage


def calibrate(store: str, run: str) -> Calibration:
    """Measure a finished run of a recipe.

    Engines say how many tokens a second they wrote; what else a stage took is fixed. The evaluate
    stage has no such figure and is taken to write as fast as generate does. Of several iterations
    the work and the seconds are added up.

    Args:
        store: URI of the store.
        run: its name.

    Raises:
        BadInput: there is no such run, or it has no finished iteration.
    """
    home = open_store(store)
    recipe = _recipe(home, run)
    _require_translated(recipe, run)
    states = list(_states(home, run))
    rounds = [_round(state) for state in states[1:]]
    if not rounds:
        raise BadInput(
            f"run {run} on {store} has no finished iteration",
            remedy="Let the run finish its first iteration, or name another one.",
        )
    evaluations = [open_stage(state["evaluation"]) for state in states]
    inputs = open_stage(states[0]["inputs"])
    shape = read_architecture(_config(inputs, rounds[0].train))
    lengths = _lengths(recipe, rounds, evaluations)
    work = _work(recipe, rounds[0], lengths)
    written, translated = work.generate.output_tokens, work.translate.output_tokens
    if rounds[0].translate.counts().get("within"):  # both in one engine
        generate = _engine_rate([each.generate for each in rounds], written + translated)
        translate = Rate(fixed_seconds=0.0, per_second=generate.per_second)
    else:
        generate = _engine_rate([each.generate for each in rounds], written)
        translate = _engine_rate([each.translate for each in rounds], translated)
    settings = recipe.training
    flops = training_flops(
        shape,
        work.pairs,
        settings.epochs,
        checkpointing=rounds[0].train.counts().get("gradient_checkpointing", False),
        lora=settings.lora.rank > 0,
    )
    return Calibration(
        source=f"run {run} of {recipe.name} on {store}",
        parameters=shape.parameters,
        gpus=rounds[0].generate.marker().get("gpus", 0),
        lengths=lengths,
        generate=generate,
        translate=translate,
        evaluate=_evaluate_rate(evaluations, generate.per_second),
        train=_train_rate(rounds, flops),
        pair=_pair_rate([each.pair for each in rounds]),
        toy=_toy_rate(recipe, inputs),
        seconds=(others := _other_seconds(home, states)),
        between=_between(states, rounds, evaluations, others.get("register", 0.0)),
    )


def _recipe(home: Store, run: str) -> Recipe:
    try:
        return Recipe.model_validate_json(home.read(recipe_key(run)))
    except FileNotFoundError as error:
        known = sorted({entry.key.split("/")[1] for entry in home.list("runs")})
        raise BadInput(
            f"no run {run!r} on {home.uri}{nearest(run, known)}",
            remedy="Name a run that is there, and its store.",
        ) from error
    except ValueError as error:
        raise BadInput(
            "not a recipe of this version of lidr",
            file=f"{home.uri}/{recipe_key(run)}",
            remedy="Calibrate from a newer run.",
        ) from error


def _require_translated(recipe: Recipe, run: str) -> None:
    if recipe.pairing.rewarder != "lidr":
        raise BadInput(
            f"run {run} has the rewarder {recipe.pairing.rewarder}, and translates nothing",
            remedy="Calibrate from a run with pairing.rewarder lidr; others can use it too.",
        )


def _states(home: Store, run: str) -> Iterator[dict[str, Any]]:
    """Yield what the start and each iteration that made a model left, in order."""
    number = 0
    while home.exists(state_key(run, number)):
        state = read_state(home, run, number)
        if state["evaluation"]:
            yield state
        number += 1


def _round(state: Mapping[str, Any]) -> _Round:
    train = open_stage(state["model"])
    return _Round(
        open_stage(state["responses"]),
        open_stage(state["translations"]),
        open_stage(state["pairs"]),
        train,
        open_stage(train.counts()["reference"]),
    )


def _config(inputs: Stage, train: Stage) -> dict[str, Any]:
    """Return the load.json of the model that was trained, or of M_0 under adapters."""
    whole = train.files(prefix="model/")
    return model_config(train.uri if whole else inputs.uri)


def _lengths(
    recipe: Recipe, rounds: Sequence[_Round], evaluations: Sequence[Stage]
) -> MeasuredLengths:
    answers = [each.generate.counts()["languages"] for each in rounds]
    directions = [each.translate.counts()["directions"] for each in rounds]
    evaluated = [stage.counts()["languages"] for stage in evaluations]
    kept = sum(each.pair.counts()["pairs"] for each in rounds)
    candidates = sum(each.pair.counts()["candidates"] for each in rounds)
    return MeasuredLengths(
        prompt=_means(answers, "prompt_tokens", "responses"),
        answer=_means(answers, "output_tokens", "responses"),
        translation=_means(directions, "output_tokens", "translations"),
        evaluation={
            code: fmean(languages[code]["mean_tokens"] for languages in evaluated)
            for code in recipe.languages.all
            if code in evaluated[0]
        },
        kept=kept / max(candidates, 1),
    )


def _work(recipe: Recipe, first: _Round, lengths: MeasuredLengths) -> Requests:
    responses = first.generate.counts()["responses"] // len(recipe.languages.all)
    prompts = PlannedPrompts(responses // recipe.generation.samples, {})
    return Requests(recipe, prompts, figures().lengths, lengths.lengths())


def _means(parts: Sequence[Mapping[str, Any]], total: str, count: str) -> dict[str, float]:
    """Return total by count for each key, over all parts; requests that failed count as well."""
    totals: dict[str, float] = defaultdict(float)
    counts: dict[str, float] = defaultdict(float)
    for part in parts:
        for key, counted in part.items():
            totals[key] += counted[total]
            counts[key] += counted[count]
    return {key: round(totals[key] / max(counts[key], 1), 3) for key in totals}


def _engine_rate(stages: Sequence[Stage], tokens: float) -> Rate:
    """Split the seconds of generate or translate stages into the engine's own and the rest.

    Args:
        stages: one an iteration.
        tokens: that the engine wrote in one of them, translations back included.
    """
    busy = held = 0.0
    for stage in stages:
        counts = stage.counts()
        if "tokens_per_second" not in counts:
            raise BadInput(
                f"stage {stage.uri} names no tokens_per_second",
                remedy="Calibrate from a run whose generate and translate steps did their work.",
            )
        busy += tokens / counts["tokens_per_second"]
        held += _held(stage)
    workers = stages[0].counts()["workers"]
    fixed = max(held - busy, 0.0) / len(stages)
    rate = tokens * len(stages) / busy / workers
    return Rate(fixed_seconds=round(fixed, 3), per_second=round(rate, 3))


def _held(stage: Stage) -> float:
    """Return the seconds of a generate or translate stage; of shards, those of the slowest."""
    return float(stage.counts().get("held_seconds", stage.marker()["seconds"]))


def _evaluate_rate(stages: Sequence[Stage], rate: float) -> Rate:
    tokens = fmean(
        sum(
            scores["mean_tokens"] * scores["accuracy"]["n"]
            for scores in stage.counts()["languages"].values()
        )
        for stage in stages
    )
    seconds = fmean(stage.marker()["seconds"] for stage in stages)
    if tokens / rate > seconds:
        return Rate(fixed_seconds=0.0, per_second=round(tokens / seconds, 3))
    return Rate(fixed_seconds=round(seconds - tokens / rate, 3), per_second=rate)


def _train_rate(rounds: Sequence[_Round], flops: float) -> Rate:
    """Split training into passes (the reference's too), and start-up with export."""
    busy = whole = 0.0
    for each in rounds:
        counts = each.train.counts()
        busy += counts["train_seconds"] + each.reference.marker()["seconds"]
        whole += each.train.marker()["seconds"]
    ranks = rounds[0].train.counts()["ranks"]
    return Rate(
        fixed_seconds=round(max(whole - busy, 0.0) / len(rounds), 3),
        per_second=flops * len(rounds) / busy / ranks,
    )


def _pair_rate(stages: Sequence[Stage]) -> Rate:
    seconds = sum(stage.marker()["seconds"] for stage in stages)
    candidates = sum(stage.counts()["candidates"] for stage in stages)
    return Rate(fixed_seconds=0.0, per_second=round(candidates / max(seconds, 1e-3), 3))


def _toy_rate(recipe: Recipe, inputs: Stage) -> Rate | None:
    if not recipe.is_toy:
        return None
    seconds = float(inputs.marker()["seconds"])
    return Rate(fixed_seconds=0.0, per_second=round(world_examples(recipe) / seconds, 3))


def _other_seconds(home: Store, states: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    gates = [open_stage(state["decision"]).marker()["seconds"] for state in states[1:]]
    versions = {state["version"] for state in states}
    found = {"gate": gates, "register": _registrations(home, versions)}
    return {name: round(fmean(seconds), 3) for name, seconds in found.items() if seconds}


def _between(
    states: Sequence[Mapping[str, Any]],
    rounds: Sequence[_Round],
    evaluations: Sequence[Stage],
    register: float,
) -> float:
    """Return what a step takes beside its stage, in the iteration that waited least for nodes."""
    ends = [datetime.fromisoformat(state["finished"]) for state in states if "finished" in state]
    if len(ends) < len(states):
        return 0.0
    found = []
    for number, each in enumerate(rounds, 1):
        served = [s for s in (each.generate, each.translate) if not s.counts().get("within")]
        gate = open_stage(states[number]["decision"])
        stages = (each.pair, each.train, evaluations[number], gate)
        own = [_held(stage) for stage in served] + [stage.marker()["seconds"] for stage in stages]
        merges = int(each.generate.counts()["workers"] > 1)
        whole = (ends[number] - ends[number - 1]).total_seconds()
        found.append((whole - sum(own) - register) / (_STEPS + merges))
    return round(max(min(found), 0.0), 3)


def _registrations(home: Store, versions: set[str]) -> list[float]:
    """Return what the register stages of some versions took; no state names these stages."""
    markers = [
        json.loads(home.read(entry.key))
        for entry in home.list("stages/register")
        if entry.key.endswith("/_SUCCESS")
    ]
    return [each["seconds"] for each in markers if each["counts"].get("version") in versions]
