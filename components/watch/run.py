"""watch: whether a scheduled run has anything to do, found out cheaply and without a GPU.

A loop whose stages are all done would skip their work as well, but each of its tasks would first
wait for a pod, and those of training and generation for a GPU.
"""

from __future__ import annotations

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of, digest_of_bytes
from lidr.components.shared.core.events import emit
from lidr.components.shared.inputs.files import read_file
from lidr.components.shared.models.outside import model_fingerprint, resolve_model
from lidr.components.shared.step import step
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.recipes import put_recipe
from lidr.components.shared.store.runs import note_scheduled, run_key


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
    run = f"{name}-{digest_of(_inputs(settings))[:8]}"
    if home.exists(run_key(run, "result.json")):
        emit("note", message=f"nothing new: run {run} has been done")
        return ""
    emit("note", message=f"new inputs: run {run}")
    note_scheduled(home, run)
    return run


def _inputs(settings: Recipe) -> dict[str, object]:
    """Return the recipe, and digests of everything outside it that a run starts from."""
    inputs: dict[str, object] = {"recipe": settings.model_dump(mode="json")}
    if settings.is_toy:
        return inputs
    source, own_adapter = resolve_model(settings.model.source, unpinned=settings.model.unpinned)
    inputs["model"] = [model_fingerprint(source), settings.model.adapter or own_adapter]
    inputs["prompts"] = {
        code: [digest_of_bytes(read_file(file, "prompts.files")) for file in sources]
        for code, sources in sorted(settings.prompts.files.items())
    }
    if tasks := settings.prompts.translation_tasks:
        inputs["translation_tasks"] = digest_of_bytes(read_file(tasks, "prompts.translation_tasks"))
    return inputs
