"""The roles that a version has as soon as it is registered."""

from __future__ import annotations

from typing import Any

from components.shared.progress import emit
from components.shared.recipe import Recipe
from components.shared.registry.evidence import PASSED, START
from components.shared.registry.promotion import CANDIDATE, CHAMPION, Order, advance, promote
from components.shared.registry.versions import (
    VERDICT_TAG,
    Model,
    Version,
    read_model,
    read_version,
    trail_of,
)
from components.shared.store import Store


def give_roles(client: Any, settings: Recipe, name: str, number: int, run: str, trail: str) -> None:
    """Make a version that passed the gate the candidate and, where the recipe says so, champion.

    Args:
        client: an `mlflow.MlflowClient`.
        settings: the recipe.
        name: of the registered model.
        number: of the version.
        run: name of the run, for the audit entry.
        trail: URI of the folder for lease and audit entries, where the model names none.
    """
    version = read_version(client, name, str(number))
    if version.tags[VERDICT_TAG] not in (PASSED, START):
        return
    model = read_model(client, name)
    home = trail_of(client, model, trail)
    advance(client, name, CANDIDATE, number, home)
    if settings.registry.promote == "gated":
        _promote(client, version, model, home, run)


def _promote(client: Any, version: Version, model: Model, trail: Store, run: str) -> None:
    """Promote a version whose gate compared it with the champion itself, or there is none yet."""
    champion = model.aliases.get(CHAMPION)
    if champion == version.number:
        return
    parent = version.tags.get("lidr.parent_version", "")
    if champion is not None and parent != f"{version.name}/{champion}":
        emit(
            "note",
            message=f"{version.label} is not promoted: the gate compared it with "
            f"{parent or 'nothing'}, and the champion is {version.name}/{champion}",
        )
        return
    reason = f"run {run} passed the gate" if parent else f"run {run} starts here"
    order = Order(reason=reason, expected=champion)
    entry = promote(client, version, trail, order)
    emit("number", name="champion", value=f"{version.label} since {entry.time}")
