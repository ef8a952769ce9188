"""Data sets of the hub that a recipe's tasks read, but that it does not pin."""

from __future__ import annotations

from pathlib import Path

from lidr.components.evaluate.index import task_manager
from lidr.components.evaluate.items.local_data import leaf_tasks
from lidr.components.evaluate.items.published import canonical
from lidr.components.evaluate.limits import TASKS
from lidr.components.shared.config.recipe import Recipe


def unpinned_datasets(recipe: Recipe) -> set[str]:
    """Return the data sets of the hub that a recipe's tasks read at their newest revision.

    Raises:
        BadInput: a task does not exist.
    """
    evaluation = recipe.evaluation
    folders = [TASKS, *([Path(evaluation.include_path)] if evaluation.include_path else [])]
    manager = task_manager(recipe, folders, Path("evaluation"))
    pinned = {canonical(key) for key in (*evaluation.data, *evaluation.revisions)}
    found = set()
    for name in evaluation.asked(recipe.languages.all):
        for task in leaf_tasks(manager, name):
            dataset = canonical((manager.task_index[task].cfg or {}).get("dataset_path") or "")
            if "/" in dataset and not Path(dataset).exists():
                found.add(dataset)
    return found - pinned
