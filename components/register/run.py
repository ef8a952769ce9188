"""register: an MLflow model version for every iteration, by URI, with its origin as tags."""

from __future__ import annotations

from lidr.components.register.aliases import give_aliases
from lidr.components.register.tags import version_tags
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of, digest_of_uri
from lidr.components.shared.core.events import emit
from lidr.components.shared.models.sources import model_uri
from lidr.components.shared.registry.mlflow_errors import wrap_mlflow_errors
from lidr.components.shared.registry.registration import default_audit_log, ensure_version
from lidr.components.shared.step import step
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import read_admission
from lidr.components.shared.store.stage import new_stage
from lidr.components.shared.tracking import ask_mlflow, mlflow_client, tracking_uri
from lidr.components.shared.tracking.runs import iteration_run

VERSION = 2


@step("register")
def register(
    recipe: str,
    store: str,
    run: str,
    inputs: str,
    model: str,
    evaluation: str,
    decision: str,
    iteration: int,
    parent: str,
    judgements: str = "",
) -> str:
    """Register a model by the URI of its files; repeating it changes nothing.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run.
        inputs: URI of the stage `prepare`.
        model: URI of the stage that holds the model.
        evaluation: URI of its evaluate stage.
        decision: URI of its gate stage; "" for M_0.
        iteration: t of M_t.
        parent: "<registered model>/<version>" it was trained from; "" for M_0.
        judgements: URI of its judge stage; "" without a judge.

    Returns:
        "<registered model>/<version>".

    Raises:
        BadInput: the tracking server refuses our credentials.
        TrackingFailed: it was unavailable for LIDR_RETRY_SECONDS.
    """
    settings = Recipe.model_validate_json(recipe)
    name = settings.registered_model
    stages = {
        "model": model,
        "evaluation": evaluation,
        "judgements": judgements,
        "decision": decision,
    }
    stage = new_stage(
        open_store(store),
        "register",
        VERSION,
        {key: digest_of_uri(uri) for key, uri in stages.items()},
        {
            "tracking_uri": tracking_uri(store),
            "name": name,
            "iteration": iteration,
            # Without `model.date`, the run's first day: if a chat template shows the day, the
            # model's digest covers it.
            "recipe": digest_of(settings.model_dump(mode="json", exclude={"model": {"date"}})),
        },
    )
    if stage.done():
        emit("reused")
        return str(stage.counts()["version"])
    admission = read_admission(stage.store, run)
    tags = version_tags(settings, inputs, stages, iteration, parent, admission)
    audit_log = default_audit_log(stage.store.uri, name)
    client = mlflow_client(store)

    def register_version() -> int:
        with wrap_mlflow_errors(client, f"registration of {name!r}"):
            run_id = iteration_run(stage.store, run, iteration, client)
            return ensure_version(client, name, model_uri(model), tags, run_id, audit_log)

    number = ask_mlflow(register_version)
    give_aliases(client, settings, name, number, tags, decision, run, audit_log)
    version = f"{name}/{number}"
    emit("number", name="registered", value=version)
    stage.finish({"version": version})
    return version
