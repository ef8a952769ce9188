"""watch: whether a scheduled run has anything to do, found out cheaply and without a GPU.

A loop whose stages are all done would skip their work as well, but each of its tasks would first
wait for a pod, and those of training and generation for a GPU.
"""

from __future__ import annotations

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of, digest_of_bytes
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.names import RUN_DIGEST_CHARS
from lidr.components.shared.inputs.files import read_file
from lidr.components.shared.models.admission import check_adapter
from lidr.components.shared.models.outside import model_fingerprint, resolve_model
from lidr.components.shared.step import step
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.recipes import put_recipe
from lidr.components.shared.store.runs import note_scheduled, read_states, run_key
from lidr.components.shared.store.usage import read_budget_stop


@step("watch")
def check_inputs(recipe: str, store: str, name: str) -> str:
    """Return the name of the run for the current inputs; "" if that run is done.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        name: what the name begins with; the digest of the inputs follows.

    Raises:
        BadInput: a prompt file or the base model cannot be found.
    """
    settings = Recipe.model_validate_json(recipe)
    home = open_store(store)
    put_recipe(home, recipe)
    run = f"{name}-{digest_of(_inputs(settings))[:RUN_DIGEST_CHARS]}"
    if _is_done(home, run, settings.gate.max_iterations):
        emit("note", message=f"nothing new: run {run} has been done")
        return ""
    emit("note", message=f"new inputs: run {run}")
    note_scheduled(home, run)
    return run


def _is_done(store: Store, run: str, bound: int) -> bool:
    """Return whether a run's loop has ended and was reported; a failed run may have a report too.

    Args:
        store: the run's store.
        run: its name.
        bound: the maximum number of iterations.
    """
    if not store.exists(run_key(run, "result.json")):
        return False
    states = read_states(store, run)
    stopped = any(state["verdict"] != "continue" for state in states)
    return stopped or len(states) > bound or read_budget_stop(store, run) is not None


def _inputs(settings: Recipe) -> dict[str, object]:
    """Return the recipe, and digests of its models, adapter, prompts and translation tasks."""
    inputs: dict[str, object] = {"recipe": settings.model_dump(mode="json")}
    if settings.is_toy:
        return inputs
    source, own_adapter = resolve_model(settings.model.source, unpinned=settings.model.unpinned)
    adapter = settings.model.adapter or own_adapter
    inputs["model"] = [
        model_fingerprint(source),
        model_fingerprint(adapter, check_adapter) if adapter else "",
    ]
    icr = settings.pairing.icr
    inputs["rewarder"] = [
        model_fingerprint(resolve_model(each).source)
        for each in (icr.policy, icr.reference)
        if each
    ]
    inputs["prompts"] = {
        code: [digest_of_bytes(read_file(file, "prompts.files")) for file in sources]
        for code, sources in sorted(settings.prompts.files.items())
    }
    if tasks := settings.prompts.translation_tasks:
        inputs["translation_tasks"] = digest_of_bytes(read_file(tasks, "prompts.translation_tasks"))
    return inputs
