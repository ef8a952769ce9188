"""Steps that finish in a moment, to test the loop around them.

They write real stages through the real store and note every piece of work in `work.log`, so that
a test can tell what was done twice. FAKE, a JSON object in the environment, changes what they do.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lidr.components.pair.stage import after_pairs
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import Meter, emit
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.step import step as real_step
from lidr.components.shared.steps import step_named
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.recipes import resolve_recipe
from lidr.components.shared.store.runs import note_failure, note_stages, overview_key
from lidr.components.shared.store.stage import new_stage, open_stage
from lidr.components.shared.store.usage import read_budget_stop


def orders():
    """Return FAKE as it is now: a warm process imports this module before it has its orders."""
    return json.loads(os.environ.get("FAKE", "{}"))


def step(name):
    """The real decorator but for tracking, which has tests of its own and wants real counts."""

    def decorate(function):
        def call(run, **given):
            known = {"run": run} if "run" in inspect.signature(function).parameters else {}
            try:
                result = real_step(name)(partial(function, **known))(**given)
            except Exception as error:
                if run:
                    note_failure(open_store(given["store"]), run, name, 0, error)
                raise
            if step_named(name).noted and run:
                uris = result if isinstance(result, tuple) else (result,)
                note_stages(open_store(given["store"]), run, given["iteration"], uris)
            return result

        return call

    return decorate


def _work(name, store, inputs, settings, counts):
    stage = new_stage(
        open_store(store), name, 1, {k: digest_of_uri(v) for k, v in inputs.items()}, settings
    )
    if stage.done():
        emit("reused")
        return stage.uri
    meter = Meter(3, "requests", "tokens")
    for _ in range(3):
        time.sleep(orders().get("sleep", 0.0))
        meter.advance(1, 100)
    _misbehave(name)
    stage.write("file.txt", name.encode())
    uri = stage.finish(counts)
    with (Path(store) / "work.log").open("a") as log:
        log.write(uri + "\n")
    return uri


def _misbehave(name):
    fault = orders().get(name)
    if fault == "refuse":
        what = orders().get("refusal", "the file is broken")
        raise BadInput(what, file="prompts/en.jsonl", line=7, remedy="Mend it.")
    if fault == "tell":
        secrets = " ".join(value for value in os.environ.values() if "planted" in value)
        raise RuntimeError(f"the server says {secrets}") from ValueError(secrets)
    if fault == "crash":
        raise RuntimeError("something unforeseen")
    if fault == "die":
        os.kill(os.getpid(), 9)
    if fault == "hang":
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        time.sleep(600)


@step("prepare")
def prepare(recipe, store):
    return _work("prepare", store, {}, {"seed": Recipe.model_validate_json(recipe).seed}, {})


@step("generate")
def generate(recipe, store, inputs, model, iteration, shard=0, shards=1, log=lambda *_: None):
    assert isinstance(iteration, int)
    log("tokens_per_second", 1200.5)
    return _share("generate", store, {"m": model}, {"i": iteration}, shard, shards)


@step("translate")
def translate(
    recipe, store, inputs, responses, model, iteration, shard=0, shards=1, log=lambda *_: None
):
    return _share("translate", store, {"r": responses}, {}, shard, shards)


def _share(name, store, inputs, settings, shard, shards):
    if shards == 1:
        return _work(name, store, inputs, settings, {})
    assert isinstance(shard, int)
    inputs = {key: digest_of_uri(uri) for key, uri in inputs.items()}
    stage = new_stage(open_store(store), name, 1, inputs, settings)
    _misbehave(name)
    stage.write(f"shard-{shard}-of-{shards}", b"")
    return stage.uri


@step("merge")
def merge(recipe, store, inputs, model, iteration):
    responses = new_stage(
        open_store(store), "generate", 1, {"m": digest_of_uri(model)}, {"i": iteration}
    )
    inputs = {"r": responses.digest}
    translations = new_stage(open_store(store), "translate", 1, inputs, {})
    responses.finish({"languages": {}, "responses": 0})
    if Recipe.model_validate_json(recipe).pairing.reward_step != "translate":
        return Merged(responses.uri, "")
    translations.finish({"directions": {}, "translations": 0})
    return Merged(responses.uri, translations.uri)


@step("score")
def score(recipe, store, inputs, responses, model, iteration):
    return _work("score", store, {"r": responses, "m": model}, {}, {})


@step("grade")
def grade(recipe, store, inputs, responses, iteration):
    return _work("grade", store, {"r": responses}, {}, {})


class Merged(NamedTuple):
    responses: str
    translations: str


@step("pair")
def pair(recipe, store, inputs, responses, rewards, model, iteration):
    emit("number", name="pairs", value="18 of 20")
    emit("warning", message="the reward of [es] looks inverted")
    for text in orders().get("says", ()):
        emit("warning", message=text)
        emit("number", name=text, value=text)
        print(text.encode("utf-8", "replace").decode(), flush=True)
    counts = {"reward": {"verdict": "stop", "reason": "as the test wants it"}}
    unfit = orders().get("distrust") == iteration
    given = {"r": responses, "t": rewards}
    return _work("pair", store, given, {}, counts if unfit else {})


class Paired(NamedTuple):
    pairs: str
    next_step: str


def pair_and_check(recipe, store, **given):
    uri = pair(recipe=recipe, store=store, **given)
    settings = Recipe.model_validate_json(resolve_recipe(store, recipe))
    return Paired(uri, after_pairs(settings, open_stage(uri).counts()))


@step("train")
def train(recipe, store, inputs, pairs, model, iteration, launch, placement):
    assert Launch.parse(launch).ranks_per_node == 1
    assert placement.resources is None
    return _work("train", store, {"p": pairs, "m": model}, {}, {})


def _score(iteration):
    value = min(0.4 + 0.2 * iteration, 1.0)
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 300}


@step("evaluate")
def evaluate(recipe, store, inputs, model, iteration, log=lambda *_: None):
    log("accuracy/average", 0.5)
    codes = Recipe.model_validate_json(recipe).languages.all
    counts = {"languages": {code: {"accuracy": _score(iteration)} for code in codes}}
    uri = _work("evaluate", store, {"m": model}, {"i": iteration}, counts)
    for code in codes:
        emit("accuracy", iteration=iteration, language=code, **_score(iteration))
    return uri


@step("judge")
def judge(recipe, store, evaluation, before, iteration):
    assert (before == "") == (iteration == 0)
    inputs = {"e": evaluation} | ({"b": before} if before else {})
    return _work("judge", store, inputs, {}, {})


@step("gate")
def gate(recipe, store, before, after, iteration, max_iterations, pairs="", **judged):
    assert isinstance(max_iterations, int)
    assert all("/judge/" in uri for uri in judged.values() if uri)
    assert not pairs or open_stage(pairs).uri == pairs
    rejected, kept = (orders().get(name) == iteration for name in ("reject", "keep"))
    promoted = not rejected and not kept
    stop = rejected or iteration >= max_iterations or orders().get("stop") == iteration
    counts = {
        "decision": "promote" if promoted else "stop" if rejected else "keep",
        "verdict": "stop" if stop else "continue",
        "promoted": promoted,
        "reason": "as the test wants it",
    }
    inputs = {"b": before, "a": after, **{name: uri for name, uri in judged.items() if uri}}
    return _work("gate", store, inputs, {"bound": max_iterations}, counts)


@step("register")
def register(
    recipe, store, run, inputs, model, evaluation, decision, iteration, parent, judgements
):
    stage = _work(
        "register", store, {"m": model}, {"i": iteration, "p": parent}, {"version": iteration + 1}
    )
    return f"fake/{open_stage(stage).counts()['version']}"


@step("report")
def report_failure(recipe, store, run, reason, *, cancelled=False):
    _misbehave("report_failure")
    open_store(store).write(f"runs/{run}/report.html", reason.encode())
    open_store(store).write(overview_key(run), reason.encode())
    return ""


@step("report")
def report(recipe, store, run):
    _misbehave("report")
    settings = Recipe.model_validate_json(recipe)
    home = open_store(store)
    states = []
    while home.exists(f"runs/{run}/iteration-{len(states)}/state.json"):
        states.append(json.loads(home.read(f"runs/{run}/iteration-{len(states)}/state.json")))
    final = [state for state in states if state["promoted"]][-1]["model"]
    entries = [
        {
            **{key: state[key] for key in ("iteration", "model", "verdict", "promoted", "reason")},
            "version": state["version"],
            "accuracy": {code: _score(state["iteration"]) for code in settings.languages.all},
            "average": _score(state["iteration"]),
            "truncated": dict.fromkeys(settings.languages.all, 0.0),
            "average_truncated": 0.0,
            "judged": {},
            "decision": "promote" if state["promoted"] else "stop",
        }
        for state in states
        if state["evaluation"]
    ]
    last = states[-1]
    untrained = {"iteration": last["iteration"], "reason": last["reason"]}
    page = f"{home.uri}/runs/{run}/report.html"
    result = {
        "run": run,
        "dominant": settings.languages.dominant,
        "others": settings.languages.others,
        "stopped": read_budget_stop(home, run) or (None if last["evaluation"] else untrained),
        "iterations": entries,
        "final_model": final,
        "warnings": [],
        "report": page,
    }
    home.write(f"runs/{run}/result.json", json.dumps(result).encode())
    home.write(overview_key(run), b"<h1>An overview</h1>")
    return final
