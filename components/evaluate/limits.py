"""How long an answer to an evaluation item may be: what the harness is told, and `lidr plan`.

The recipe's `evaluation.max_tokens` comes first, then the task's own limit, then `DEFAULT`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lidr.components.evaluate.catalog import rows
from lidr.components.shared.config.evaluation import Evaluation

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
    own = [TASKS, *([Path(settings.include_path)] if settings.include_path else [])]
    for folder in reversed(own):
        if task in (found := _limits(folder)):
            return found[task] or DEFAULT
    return next(_catalogued(task), 0) or DEFAULT


def _catalogued(task: str) -> Iterator[int]:
    for row in rows():
        start, _, end = row.task.partition("{")
        if task.startswith(start) and task.endswith(end.partition("}")[2]):
            yield row.max_tokens


@cache
def _limits(folder: Path) -> dict[str, int]:
    """Return the limit of each task in a folder's YAML files, 0 where it has none."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".yml"))
    tasks = [_task(path) for path in files]
    return {str(task["task"]): _limit(task) for task in tasks if "task" in task}


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
