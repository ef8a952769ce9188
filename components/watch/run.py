"""watch: whether there is anything to do, so that a schedule may look often and cost nothing.

A loop whose stages are all done is skipped by their digests, too, but every one of its tasks would
first wait for its pod, those of training and generation for a GPU. This one look needs neither.
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
    """Return the name of the run that the inputs as they are now ask for, "" where it is done.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        name: what the name begins with; the digest of the inputs follows.

    Raises:
        BadInput: a prompt file or the base model cannot be found.
    """
    settings = Recipe.model_validate_json(recipe)
    put_recipe(open_store(store), recipe)
    run = f"{name}-{digest_of(_inputs(settings))[:8]}"
    if open_store(store).exists(run_key(run, "result.json")):
        emit("note", message=f"nothing new: run {run} has been done")
        return ""
    emit("note", message=f"new inputs: run {run}")
    note_scheduled(open_store(store), run)
    return run


def _inputs(settings: Recipe) -> dict[str, object]:
    """Return digests of everything outside the recipe that a run starts from, and the recipe."""
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
