"""What is known of tasks without the harness, which takes ten seconds to import.

How long an answer may be (the harness is told the same): the recipe's `evaluation.max_tokens` comes
first, then the task's own limit, then `DEFAULT`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lidr.components.evaluate.catalog import Method, rows
from lidr.components.evaluate.items.published import SOURCES, canonical
from lidr.components.shared.config.evaluation import Evaluation
from lidr.components.shared.core.languages import NAMES

DEFAULT = 512
"""Tokens of an answer where neither the recipe nor the task says."""

TASKS = Path(__file__).parent / "tasks"
"""Our own tasks, on the harness's include path."""

_KEYS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""What the harness takes for a limit, the first first."""


def limit_of(settings: Evaluation, task: str) -> int:
    """Return the tokens that an answer of a task may have, without the harness (10 s to import).

    Args:
        settings: the recipe's evaluation.
        task: name as the harness knows it, e.g. mgsm_paper_es.
    """
    if settings.max_tokens:
        return settings.max_tokens
    for folder in reversed(folders_of(settings)):
        if task in (found := _tasks(folder)):
            return _limit(found[task]) or DEFAULT
    return next(_catalogued(task), 0) or DEFAULT


def _catalogued(task: str) -> Iterator[int]:
    for row in rows():
        start, _, end = row.task.partition("{")
        if task.startswith(start) and task.endswith(end.partition("}")[2]):
            yield row.max_tokens


def folders_of(settings: Evaluation) -> list[Path]:
    """Return the folders with YAML tasks: ours, and the user's."""
    return [TASKS, *([Path(settings.include_path)] if settings.include_path else [])]


def known_tasks(settings: Evaluation) -> dict[str, tuple[str, ...]]:
    """Return the tasks that are known without the harness, with the keys that name their items.

    They are those of our YAML files and the user's, and those of the catalogue. A key is a family
    of ours or a data set of the hub, as in `evaluation.data`.
    """
    listed = {
        row.task.format(language=code, language_name=NAMES[code].lower()): (canonical(row.data),)
        for row in rows()
        if row.method is not Method.JUDGE
        for code in row.languages
    }
    own = [_tasks(folder) for folder in folders_of(settings)]
    return listed | {name: _keys(task) for found in own for name, task in found.items()}


def _keys(task: Mapping[str, Any]) -> tuple[str, ...]:
    arguments = task.get("dataset_kwargs")
    family = arguments.get("family") if isinstance(arguments, dict) else None
    if family in SOURCES:
        return (family, SOURCES[family].dataset)
    dataset = task.get("dataset_path")
    return (canonical(dataset),) if isinstance(dataset, str) else ()


@cache
def _tasks(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the single tasks in a folder's YAML files by name."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".yml"))
    tasks = [_task(path) for path in files]
    return {task["task"]: task for task in tasks if isinstance(task.get("task"), str)}


def _limit(task: Mapping[str, Any]) -> int:
    said = task.get("generation_kwargs") or {}
    return int(next((said[key] for key in _KEYS if said.get(key)), 0))


def _task(path: Path) -> dict[str, Any]:
    """Return a task's file laid over those that it includes; what is none is empty."""
    try:
        read = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(read, dict):
        return {}
    included = read.pop("include", ())
    names: Sequence[str] = [included] if isinstance(included, str) else included
    task: dict[str, Any] = {}
    for name in names:
        task |= _task(path.parent / name) if path.parent / name != path else {}
    return task | read


class _Loader(yaml.SafeLoader):
    """Reads what the harness's loader reads, and runs no code: `!function` is just text."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))
