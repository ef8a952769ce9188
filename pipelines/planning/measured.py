"""Measures a calibration from a finished run: lengths and speeds in its stages' markers."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
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
from lidr.components.shared.store.runs import read_states, recipe_key
from lidr.components.shared.store.stage import open_stage
from lidr.pipelines.planning.calibration import Calibration, MeasuredLengths, Rate, toy_examples
from lidr.pipelines.planning.figures import figures
from lidr.pipelines.planning.requests import PlannedPrompts, Requests
from lidr.pipelines.planning.speed import training_flops

if TYPE_CHECKING:
    from lidr.components.shared.store.base import Store
    from lidr.components.shared.store.stage import Stage

_STEPS = 7
"""Steps of one iteration, from generate to register, without merge and judge."""


@dataclass(frozen=True)
class _Iteration:
    """The stages of one iteration."""

    generate: Stage
    translate: Stage
    pair: Stage
    train: Stage
    reference: Stage


def calibrate(store: str, run: str) -> Calibration:
    """Measure a finished run of a recipe.

    Engines record how many tokens a second they wrote; the rest of a stage's time is fixed. The
    evaluate stage has no such figure and is assumed to write as fast as generate. Speeds are means
    over all iterations.

    Args:
        store: URI of the store.
        run: its name.

    Raises:
        BadInput: there is no such run, it translates nothing, or it has no finished iteration.
    """
    home = open_store(store)
    recipe = _recipe(home, run)
    _require_translated(recipe, run)
    states = [state for state in read_states(home, run) if state["evaluation"]]
    iterations = [_iteration(state) for state in states[1:]]
    if not iterations:
        raise BadInput(
            f"run {run} on {store} has no finished iteration",
            remedy="Let the run finish its first iteration, or name another one.",
        )
    evaluations = [open_stage(state["evaluation"]) for state in states]
    inputs = open_stage(states[0]["inputs"])
    shape = read_architecture(_config(inputs, iterations[0].train))
    lengths = _lengths(recipe, iterations, evaluations)
    work = _work(recipe, iterations[0], lengths)
    written, translated = work.generate.output_tokens, work.translate.output_tokens
    if iterations[0].translate.counts().get("within"):  # both in one engine
        generate = _engine_rate([each.generate for each in iterations], written + translated)
        translate = Rate(fixed_seconds=0.0, per_second=generate.per_second)
    else:
        generate = _engine_rate([each.generate for each in iterations], written)
        translate = _engine_rate([each.translate for each in iterations], translated)
    flops = training_flops(
        shape,
        work.pairs,
        recipe.training.epochs,
        checkpointing=iterations[0].train.counts().get("gradient_checkpointing", False),
        lora=recipe.training.lora.rank > 0,
    )
    others = _other_seconds(home, states)
    return Calibration(
        source=f"run {run} of {recipe.name} on {store}",
        parameters=shape.parameters,
        gpus=_gpus(iterations[0].generate),
        lengths=lengths,
        generate=generate,
        translate=translate,
        evaluate=_evaluate_rate(evaluations, generate.per_second),
        train=_train_rate(iterations, flops),
        pair=_pair_rate([each.pair for each in iterations]),
        toy=_toy_rate(recipe, inputs),
        seconds=others,
        between=_between(states, iterations, evaluations, others.get("register", 0.0)),
    )


def _recipe(home: Store, run: str) -> Recipe:
    try:
        return Recipe.model_validate_json(home.read(recipe_key(run)))
    except FileNotFoundError as error:
        known = sorted({entry.key.split("/")[1] for entry in home.list("runs")})
        raise BadInput(
            f"no run {run!r} on {home.uri}{nearest(run, known)}",
            remedy="Name a run of the store, or another store.",
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
            remedy="Calibrate from a run with pairing.rewarder lidr; it serves others, too.",
        )


def _iteration(state: Mapping[str, Any]) -> _Iteration:
    train = open_stage(state["model"])
    return _Iteration(
        open_stage(state["responses"]),
        open_stage(state["translations"]),
        open_stage(state["pairs"]),
        train,
        open_stage(train.counts()["reference"]),
    )


def _config(inputs: Stage, train: Stage) -> dict[str, Any]:
    """Return the config.json of the model that was trained, or of M_0 under adapters."""
    whole = train.files(prefix="model/")
    return model_config(train.uri if whole else inputs.uri)


def _lengths(
    recipe: Recipe, iterations: Sequence[_Iteration], evaluations: Sequence[Stage]
) -> MeasuredLengths:
    answers = [each.generate.counts()["languages"] for each in iterations]
    directions = [each.translate.counts()["directions"] for each in iterations]
    evaluated = [stage.counts()["languages"] for stage in evaluations]
    kept = sum(each.pair.counts()["pairs"] for each in iterations)
    candidates = sum(each.pair.counts()["candidates"] for each in iterations)
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


def _work(recipe: Recipe, first: _Iteration, lengths: MeasuredLengths) -> Requests:
    responses = first.generate.counts()["responses"] // len(recipe.languages.all)
    prompts = PlannedPrompts(responses // recipe.generation.samples, {})
    return Requests(recipe, prompts, figures().lengths, lengths.lengths())


def _means(parts: Sequence[Mapping[str, Any]], total: str, count: str) -> dict[str, float]:
    """Return the mean `total` per `count` for each key, over all parts and failures."""
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
        stages: one for each iteration.
        tokens: that the engine wrote in one of them, round trips included.
    """
    busy = whole = 0.0
    for stage in stages:
        counts = stage.counts()
        if "tokens_per_second" not in counts:
            raise BadInput(
                f"stage {stage.uri} names no tokens_per_second",
                remedy="Calibrate from a run whose generate and translate steps started an engine.",
            )
        busy += tokens / counts["tokens_per_second"]
        whole += _seconds(stage)
    workers = stages[0].counts()["workers"]
    fixed = max(whole - busy, 0.0) / len(stages)
    rate = tokens * len(stages) / busy / workers
    return Rate(fixed_seconds=round(fixed, 3), per_second=round(rate, 3))


def _gpus(stage: Stage) -> int:
    """Return the GPUs of one worker; the marker names those of the pod that merged the shards."""
    return int(stage.counts().get("worker_gpus", stage.marker().get("gpus", 0)))


def _seconds(stage: Stage) -> float:
    """Return the seconds that a stage took; of shards, those of the slowest."""
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


def _train_rate(iterations: Sequence[_Iteration], flops: float) -> Rate:
    """Split training time in two: passes (the reference's too), and start-up with export."""
    busy = whole = 0.0
    for each in iterations:
        counts = each.train.counts()
        busy += counts["train_seconds"] + each.reference.marker()["seconds"]
        # The marker's seconds include the launcher's wait for nodes.
        whole += counts.get("seconds", each.train.marker()["seconds"])
    ranks = iterations[0].train.counts()["ranks"]
    return Rate(
        fixed_seconds=round(max(whole - busy, 0.0) / len(iterations), 3),
        per_second=flops * len(iterations) / busy / ranks,
    )


def _pair_rate(stages: Sequence[Stage]) -> Rate:
    seconds = sum(stage.marker()["seconds"] for stage in stages)
    candidates = sum(stage.counts()["candidates"] for stage in stages)
    return Rate(fixed_seconds=0.0, per_second=round(candidates / max(seconds, 1e-3), 3))


def _toy_rate(recipe: Recipe, inputs: Stage) -> Rate | None:
    if not recipe.is_toy:
        return None
    seconds = float(inputs.marker()["seconds"])
    return Rate(fixed_seconds=0.0, per_second=round(toy_examples(recipe) / seconds, 3))


def _other_seconds(home: Store, states: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    gates = [open_stage(state["decision"]).marker()["seconds"] for state in states[1:]]
    versions = {state["version"] for state in states}
    found = {"gate": gates, "register": _registrations(home, versions)}
    return {name: round(fmean(seconds), 3) for name, seconds in found.items() if seconds}


def _between(
    states: Sequence[Mapping[str, Any]],
    iterations: Sequence[_Iteration],
    evaluations: Sequence[Stage],
    register: float,
) -> float:
    """Return the seconds around a step's stage: the least, for others waited for nodes."""
    ends = [datetime.fromisoformat(state["finished"]) for state in states if "finished" in state]
    if len(ends) < len(states):
        return 0.0
    found = []
    for number, each in enumerate(iterations, 1):
        served = [s for s in (each.generate, each.translate) if not s.counts().get("within")]
        state = states[number]
        measured = [open_stage(uri) for uri in (state["judgements"], state["decision"]) if uri]
        own = map(_seconds, (*served, each.pair, each.train, evaluations[number], *measured))
        steps = _STEPS + int(each.generate.counts()["workers"] > 1) + bool(state["judgements"])
        whole = (ends[number] - ends[number - 1]).total_seconds()
        found.append((whole - sum(own) - register) / steps)
    return round(max(min(found), 0.0), 3)


def _registrations(home: Store, versions: set[str]) -> list[float]:
    """Return the seconds of versions' register stages: no state names these, so all are listed."""
    markers = [
        json.loads(home.read(entry.key))
        for entry in home.list("stages/register")
        if entry.key.endswith("/_SUCCESS")
    ]
    return [each["seconds"] for each in markers if each["counts"].get("version") in versions]
