"""Data sets of the hub that a recipe's tasks read, but that it does not pin."""

from __future__ import annotations

from pathlib import Path

from lidr.components.evaluate.index import task_manager
from lidr.components.evaluate.items.local_data import hub_datasets
from lidr.components.evaluate.items.published import canonical
from lidr.components.evaluate.limits import task_folders
from lidr.components.shared.config.recipe import Recipe


def unpinned_datasets(recipe: Recipe) -> set[str]:
    """Return the data sets of the hub that a recipe's tasks read at their newest revision.

    Raises:
        BadInput: a task does not exist.
    """
    evaluation = recipe.evaluation
    manager = task_manager(recipe, task_folders(evaluation), Path("evaluation"))
    pinned = {canonical(key) for key in (*evaluation.data, *evaluation.revisions)}
    return hub_datasets(manager, evaluation.tasks_in(recipe.languages.all)) - pinned
