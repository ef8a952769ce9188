"""Facts about tasks that need no import of the harness, which takes ten seconds.

The longest answer, here and in the harness, is the recipe's `evaluation.max_tokens`, else the
task's own limit, else `DEFAULT_MAX_TOKENS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lidr.components.evaluate.catalog import Method, benchmarks
from lidr.components.evaluate.items.published import SOURCES, canonical
from lidr.components.shared.config.evaluation import Evaluation
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.inputs.named import InputKind, NamedInput

DEFAULT_MAX_TOKENS = 512
"""Longest answer if neither the recipe nor the task sets a limit."""

TASKS = Path(__file__).parent / "tasks"
"""Folder of our own tasks, on the harness's include path."""

_LIMIT_KEYS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Keys that the harness takes for a limit; the first of them counts."""


def max_tokens_of(settings: Evaluation, task: str) -> int:
    """Return how many tokens an answer of a task may have.

    Args:
        settings: the recipe's evaluation.
        task: name as the harness knows it, e.g. mgsm_paper_es.
    """
    if settings.max_tokens:
        return settings.max_tokens
    for folder in reversed(task_folders(settings)):
        if task in (found := _tasks(folder)):
            return _limit(found[task]) or DEFAULT_MAX_TOKENS
    return next(_catalogue_limits(task), 0) or DEFAULT_MAX_TOKENS


def _catalogue_limits(task: str) -> Iterator[int]:
    for row in benchmarks():
        start, _, end = row.task.partition("{")
        if task.startswith(start) and task.endswith(end.partition("}")[2]):
            yield row.max_tokens


def task_folders(settings: Evaluation) -> list[Path]:
    """Return the folders with YAML tasks: ours, and the user's."""
    return [TASKS, *([Path(settings.include_path)] if settings.include_path else [])]


def known_tasks(settings: Evaluation) -> dict[str, tuple[str, ...]]:
    """Return the tasks of our and the user's YAML files and of the catalogue.

    Returns:
        By task, the keys of `evaluation.data` that may replace its items: a family of ours, a data
        set of the hub, or both.
    """
    listed = {
        row.task.format(language=code, language_name=NAMES[code].lower()): (canonical(row.data),)
        for row in benchmarks()
        if row.method is not Method.JUDGE
        for code in row.languages
    }
    own = [_tasks(folder) for folder in task_folders(settings)]
    return listed | {name: _item_keys(task) for found in own for name, task in found.items()}


def languages_reading(recipe: Recipe, key: str) -> tuple[str, ...]:
    """Return the languages of the known tasks that read a key of `evaluation.data`.

    A task of ours reads one key: if its family and its data set are both given, the family.
    """
    known, key = known_tasks(recipe.evaluation), canonical(key)
    given = recipe.evaluation.data.keys() - {key}
    codes = []
    for task, code in recipe.evaluation.tasks_in(recipe.languages.all).items():
        keys = known.get(task, ())
        if key in keys and given.isdisjoint(keys[: keys.index(key)]):
            codes.append(code)
    return tuple(dict.fromkeys(codes))


def evaluated_splits(recipe: Recipe, key: str) -> tuple[str, ...]:
    """Return the splits of a key's items that tasks in our and the user's YAML files evaluate."""
    tasks: dict[str, dict[str, Any]] = {}
    for folder in task_folders(recipe.evaluation):
        tasks |= _tasks(folder)
    asked = [tasks.get(name, {}) for name in recipe.evaluation.tasks_in(recipe.languages.all)]
    reading = [task for task in asked if canonical(key) in _item_keys(task)]
    splits = [task.get("test_split") or task.get("validation_split") for task in reading]
    return tuple(dict.fromkeys(split for split in splits if isinstance(split, str)))


def published_items(recipe: Recipe) -> Iterator[NamedInput]:
    """Yield the published items that our own tasks read, and the pinned data sets of the hub."""
    evaluation = recipe.evaluation
    for family, source in SOURCES.items():
        if {family, source.dataset} & set(evaluation.data):
            continue
        if codes := languages_reading(recipe, family):
            key = ("evaluation", "data", family)
            yield NamedInput(key, source.source.text(), InputKind.ITEMS, codes)
    for dataset, commit in evaluation.revisions.items():
        key = ("evaluation", "data", dataset)
        yield NamedInput(key, f"hf://datasets/{dataset}@{commit}", InputKind.ITEMS)


def _item_keys(task: Mapping[str, Any]) -> tuple[str, ...]:
    arguments = task.get("dataset_kwargs")
    family = arguments.get("family") if isinstance(arguments, dict) else None
    if family in SOURCES:
        return (family, SOURCES[family].dataset)
    dataset = task.get("dataset_path")
    return (canonical(dataset),) if isinstance(dataset, str) else ()


@cache
def _tasks(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the single tasks in a folder's YAML files by name."""
    tasks = [_read_task(path) for path in sorted(folder.rglob("*.yaml"))]
    return {task["task"]: task for task in tasks if isinstance(task.get("task"), str)}


def require_yaml(folder: Path) -> None:
    """Refuse a folder with a task file that the harness would skip silently.

    Raises:
        BadInput: a task file is not YAML (with file and line), or includes a missing file.
    """
    for path in sorted(folder.rglob("*.yaml")):
        try:
            task = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            reason = f"not YAML: {error.problem}"
            raise BadInput(reason, file=path, line=line, remedy="Correct it.") from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise BadInput(f"not YAML: {error}", file=path, remedy="Correct it.") from error
        for name in _included(task) if isinstance(task, dict) else ():
            if not (path.parent / name).is_file():
                what = f"includes {name!r}, which does not exist"
                raise BadInput(what, file=path, remedy="Correct include, or add the file.")


def _included(task: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the files that a task's file includes."""
    given = task.get("include") or ()
    return [given] if isinstance(given, str) else [str(name) for name in given]


def _limit(task: Mapping[str, Any]) -> int:
    said = task.get("generation_kwargs") or {}
    return int(next((said[key] for key in _LIMIT_KEYS if said.get(key)), 0))


def _read_task(path: Path) -> dict[str, Any]:
    """Return a task's file merged over the files it includes; {} if it is no YAML mapping."""
    try:
        read = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(read, dict):
        return {}
    task: dict[str, Any] = {}
    for name in _included(read):
        task |= _read_task(path.parent / name) if path.parent / name != path else {}
    return task | {key: value for key, value in read.items() if key != "include"}


class _Loader(yaml.SafeLoader):
    """Reads what the harness's loader reads, but runs no code: `!function` is just text."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))
