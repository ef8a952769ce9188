"""register: an MLflow model version for every iteration, by URI, with the facts as tags."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from components.shared.config import flatten
from components.shared.digest import digest_of, digest_of_uri
from components.shared.models import ADAPTER_TAG, adapter_uri, model_uri
from components.shared.progress import emit, step
from components.shared.recipe import Recipe
from components.shared.rollout.figures import stage_figures
from components.shared.stage import Stage, new_stage, open_stage
from components.shared.store import open_store
from components.shared.tracking import experiment_id, mlflow_client, tracking_uri

VERSION = 1

_ATTEMPTS = 4
_DIGEST_TAG = "lidr.model_digest"


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
    tags = _tags(settings, world, inputs, iteration, parent)

    def once() -> int:
        client = mlflow_client(store)
        run_id = _log_run(client, settings, store, run, stage, inputs, iteration)
        number = _ensure_version(client, name, model_uri(model), tags, run_id)
        if tags["lidr.gate_verdict"] != "rejected":
            _move_candidate(client, name, number)
        return number

    version = f"{name}/{_patiently(once)}"
    emit("number", name="registered", value=version)
    stage.finish({"version": version})
    return version


def _patiently(register_once: Callable[[], int]) -> int:
    """Try again where MLflow failed: a server restarts, two writers met. Repeating is harmless."""
    from mlflow.exceptions import MlflowException

    for attempt in range(1, _ATTEMPTS):
        try:
            return register_once()
        except MlflowException as error:
            emit("note", message=f"MLflow failed, trying again: {error}")
            time.sleep(random.uniform(0, 0.2 * 2**attempt))
    return register_once()


def _tags(
    settings: Recipe, world: str, inputs: Mapping[str, str], iteration: int, parent: str
) -> dict[str, str]:
    trained = open_stage(inputs["model"]).marker()["identity"]["inputs"]
    facts = {
        _DIGEST_TAG: digest_of_uri(inputs["model"]),
        "lidr.iteration": str(iteration),
        "lidr.parent_version": parent,
        "lidr.base_model": model_uri(world),
        "lidr.base_adapter": adapter_uri(world),
        ADAPTER_TAG: adapter_uri(inputs["model"]),
        "lidr.languages": ",".join(settings.languages.all),
        "lidr.pairs_digest": trained.get("pairs", ""),
        "lidr.recipe_digest": digest_of(settings.model_dump(mode="json")),
        "lidr.evaluation_digest": digest_of_uri(inputs["evaluation"]),
        "lidr.gate_digest": digest_of_uri(inputs["decision"]),
        "lidr.gate_verdict": _verdict(inputs["decision"]),
        "lidr.git_sha": os.environ.get("LIDR_GIT_SHA", ""),
        "lidr.kfp_run_id": os.environ.get("KFP_RUN_ID", ""),
    }
    return {key: value for key, value in facts.items() if value}


def _verdict(decision: str) -> str:
    if not decision:
        return "start"
    return "promoted" if open_stage(decision).counts()["promoted"] else "rejected"


def _ensure_version(
    client: Any, name: str, source: str, tags: Mapping[str, str], run_id: str
) -> int:
    """Return the one version with this model digest, made now if there is none.

    MLflow has no conditional create: search, create with the digest as a tag in the same call,
    search again; the smallest number wins and whoever made another one deletes it.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    if found := _versions(client, name, tags[_DIGEST_TAG]):
        return found[0]
    made = client.create_model_version(
        name, source=source, run_id=run_id, tags=dict(tags), await_creation_for=0
    )
    winner = _versions(client, name, tags[_DIGEST_TAG])[0]
    if int(made.version) != winner:
        client.delete_model_version(name, str(made.version))
    return winner


def _versions(client: Any, name: str, digest: str) -> list[int]:
    query = f"name = '{name}' and tags.`{_DIGEST_TAG}` = '{digest}'"
    return sorted(int(found.version) for found in client.search_model_versions(query))


def _move_candidate(client: Any, name: str, number: int) -> None:
    """Point the alias at a version, but never back from a newer one: steps may be repeated."""
    from mlflow.exceptions import MlflowException

    if _candidate(client, name) >= number:
        return
    try:
        client.set_registered_model_alias(name, "candidate", str(number))
    except MlflowException:  # another process made the alias just now; moving it does not clash
        if _candidate(client, name) < number:
            client.set_registered_model_alias(name, "candidate", str(number))


def _candidate(client: Any, name: str) -> int:
    return int(client.get_registered_model(name).aliases.get("candidate", 0))


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
