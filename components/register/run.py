"""register: an MLflow model version for every iteration, by URI, with the facts as tags."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from components.register.facts import facts
from components.register.roles import give_roles
from components.shared.digest import digest_of, digest_of_uri
from components.shared.errors import RegistryFailed
from components.shared.models import model_uri
from components.shared.progress import emit, step
from components.shared.recipe import Recipe
from components.shared.registry.refusals import explained
from components.shared.registry.versions import VERDICT_TAG, default_trail, ensure_version
from components.shared.rollout.figures import stage_figures
from components.shared.stage import Stage, new_stage, open_stage
from components.shared.store import open_store
from components.shared.tracking import experiment_id, mlflow_client, tracking_uri

VERSION = 2

_ATTEMPTS = 4


@step("register")
def register(
    recipe: str,
    store: str,
    run: str,
    world: str,
    model: str,
    evaluation: str,
    decision: str,
    iteration: int,
    parent: str,
) -> str:
    """Register a model by the URI of its files and log its numbers; repeating it changes nothing.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run.
        world: URI of the world stage.
        model: URI of the stage that holds the model.
        evaluation: URI of its evaluate stage.
        decision: URI of its gate stage; "" for M_0.
        iteration: t of M_t.
        parent: "<registered model>/<version>" it was trained from; "" for M_0.

    Returns:
        "<registered model>/<version>".
    """
    settings = Recipe.model_validate_json(recipe)
    name = settings.registry.model_name or settings.name
    inputs = {"model": model, "evaluation": evaluation, "decision": decision}
    stage = new_stage(
        open_store(store),
        "register",
        VERSION,
        {key: digest_of_uri(uri) for key, uri in inputs.items()},
        {
            "tracking_uri": tracking_uri(store),
            "name": name,
            "iteration": iteration,
            "recipe": digest_of(settings.model_dump(mode="json")),
        },
    )
    if stage.done():
        emit("reused")
        return str(stage.counts()["version"])
    tags = facts(settings, world, inputs, iteration, parent)
    trail = default_trail(stage.store.uri, name)

    def once() -> int:
        client = mlflow_client(store)
        with explained(client, f"registration of {name!r}"):
            run_id = _log_run(client, settings, store, run, stage, inputs, iteration)
            number = ensure_version(client, name, model_uri(model), tags, run_id, trail)
            give_roles(client, settings, f"{name}/{number}", tags[VERDICT_TAG], run, trail)
        return number

    version = f"{name}/{_patiently(once)}"
    emit("number", name="registered", value=version)
    stage.finish({"version": version})
    return version


def _patiently(register_once: Callable[[], int]) -> int:
    """Try again where MLflow failed: a server restarts, two writers met. Repeating is harmless."""
    for attempt in range(1, _ATTEMPTS):
        try:
            return register_once()
        except RegistryFailed as error:
            emit("note", message=f"trying again: {error}")
            time.sleep(random.uniform(0, 0.2 * 2**attempt))
    return register_once()


def _log_run(
    client: Any,
    settings: Recipe,
    store: str,
    run: str,
    stage: Stage,
    inputs: Mapping[str, str],
    iteration: int,
) -> str:
    """Log parameters, scores and training curves of one iteration as an MLflow run, once."""
    experiment = experiment_id(client, f"lidr/{settings.name}", store)
    known = client.search_runs([experiment], f"tags.`lidr.stage` = '{stage.digest}'", max_results=1)
    if known and known[0].info.status == "FINISHED":
        return str(known[0].info.run_id)
    tags = {"lidr.stage": stage.digest, "lidr.run": run, "lidr.iteration": str(iteration)}
    created = (
        known[0]
        if known
        else client.create_run(experiment, run_name=f"{run}-M{iteration}", tags=tags)
    )
    run_id = str(created.info.run_id)
    _log_numbers(client, settings, created.info, inputs, iteration)
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _log_numbers(
    client: Any, settings: Recipe, info: Any, inputs: Mapping[str, str], iteration: int
) -> None:
    """Log at the time the run began: MLflow keeps one of equal metrics when this is repeated."""
    from mlflow.entities import Metric, Param

    params = [
        Param(f"lidr.{key}", str(value)[:6000])
        for key, value in flatten(settings.model_dump(mode="json")).items()
    ]
    metrics = [
        Metric(key, value, info.start_time, number)
        for key, value, number in _metrics(inputs, iteration)
    ]
    for start in range(0, max(len(metrics), 1), 900):  # the server takes 1,000 in one request
        client.log_batch(info.run_id, metrics[start : start + 900], params if not start else [])


def _metrics(inputs: Mapping[str, str], iteration: int) -> list[tuple[str, float, int]]:
    """Return (name, value, step): scores by iteration, training curves by optimizer step."""
    counts = open_stage(inputs["evaluation"]).counts()
    rows = [("accuracy/average", counts["average"]["value"], iteration)]
    for code, scores in counts["languages"].items():
        rows.append((f"accuracy/{code}", scores["accuracy"]["value"], iteration))
        rows.append((f"off_target/{code}", scores["off_target"]["value"], iteration))
    trained = open_stage(inputs["model"])
    if trained.files(prefix="metrics.jsonl"):
        for line in trained.read("metrics.jsonl").decode().splitlines():
            values = json.loads(line)
            number = values.pop("step")
            rows += [(f"train/{key}", float(value), number) for key, value in values.items()]
    work = _work(trained)
    return rows + [(name, value, iteration) for name, value in work.items()]


def _work(trained: Stage) -> dict[str, float]:
    """Return yields, failures and throughput of the stages that led to a model."""
    pairs = _earlier(trained, "pair", "pairs")
    if pairs is None:
        return {}
    counts = pairs.counts()
    found = {
        "pair/yield": counts["pairs"] / max(counts["candidates"], 1),
        "pair/identical_share": counts["identical_share"],
    }
    for kind, key in (("generate", "responses"), ("translate", "translations")):
        stage = _earlier(pairs, kind, key)
        figures = stage_figures(stage.counts()) if stage else {}
        found |= {f"{kind}/{name}": value for name, value in figures.items()}
    return found


def _earlier(stage: Stage, kind: str, name: str) -> Stage | None:
    """Return the stage that another one has read, or None where it is not there any more."""
    digest = stage.marker()["identity"]["inputs"].get(name, "")
    found = Stage(stage.store, f"stages/{kind}/{digest}")
    return found if digest and found.done() else None


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested keys joined by dots: `{"a": {"b": 1}}` gives `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        flat |= flatten(item, f"{name}.") if isinstance(item, Mapping) else {name: item}
    return flat
