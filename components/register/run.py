"""register: an MLflow model version for every iteration, by URI, with the facts as tags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from components.shared.digest import digest_of, digest_of_uri
from components.shared.models import ADAPTER_TAG, adapter_uri, model_uri
from components.shared.progress import emit, step
from components.shared.recipe import Recipe
from components.shared.stage import new_stage, open_stage
from components.shared.store import open_store
from components.shared.tracking import mlflow_client, patiently, tracking_uri
from components.shared.tracking.runs import iteration_run

VERSION = 1

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
    """Register a model by the URI of its files; repeating it changes nothing.

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

    Raises:
        BadInput: the tracking server does not let us in.
        TrackingFailed: it did not answer for ten minutes (LIDR_MLFLOW_PATIENCE).
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
        run_id = iteration_run(stage.store, run, iteration, client)
        number = _ensure_version(client, name, model_uri(model), tags, run_id)
        if tags["lidr.gate_verdict"] != "rejected":
            _move_candidate(client, name, number)
        return number

    version = f"{name}/{patiently(once)}"
    emit("number", name="registered", value=version)
    stage.finish({"version": version})
    return version


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
