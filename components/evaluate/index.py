"""The index of tasks: the harness's, ours and the user's."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from datasets.exceptions import DatasetsError
from jinja2 import TemplateSyntaxError
from lm_eval.api.registry import AGGREGATION_REGISTRY
from lm_eval.tasks import TaskManager as HarnessTaskManager

from lidr.components.evaluate.limits import require_yaml
from lidr.components.shared.config.evaluation import Evaluation
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.core.text import nearest

METRIC_REMEDY = "Choose a task that scores by exact match or accuracy."

_OF_ITEM_SCORES = frozenset(("mean", "nanmean", "median"))
"""The harness's aggregations of one number per item; its other ones take texts or likelihoods."""

_BROKEN_TASK = (ValueError, TypeError, LookupError, AttributeError, ImportError)


class TaskManager(HarnessTaskManager):
    """The harness's task manager, which raises BadInput for a task that cannot be used.

    Attributes:
        metrics: names of the metrics that may score a loaded task's items, in the task's order.
    """

    metrics: dict[str, tuple[str, ...]]

    def load(self, specs: Any) -> Any:
        """Load tasks with their items.

        Raises:
            BadInput: items cannot be downloaded or read, a task's file is broken, or a task does
                not score its items from 0 to 1.
        """
        loaded = self._load(specs)
        self.metrics = {name: item_metrics(name, task) for name, task in loaded["tasks"].items()}
        return loaded

    def _load(self, specs: Any) -> Any:
        try:
            return super().load(specs)
        except (OSError, RuntimeError) as error:
            remedy = (
                "Check the network, HF_ENDPOINT and HF_TOKEN, or give local copies of the items "
                "under evaluation.data."
            )
            if type(error) is FileNotFoundError:  # local: the hub's libraries raise subclasses
                remedy = "Name tasks whose files exist; tiny_world's exist only for its own recipe."
            if type(error) is RuntimeError:  # a data set's loading script, which is never run
                remedy = "Give local copies of the items under evaluation.data, or another task."
            raise _not_loaded(error, remedy) from error
        except DatasetsError as error:
            remedy = "Correct the files in the task's dataset_kwargs, or choose another task."
            raise _not_loaded(error.__cause__ or error, remedy) from error
        except (*_BROKEN_TASK, TemplateSyntaxError) as error:
            remedy = "Correct the task's file, or name each task once: by itself or by its group."
            raise _not_loaded(error, remedy) from error


def item_metrics(name: str, task: Any) -> tuple[str, ...]:
    """Return a task's metrics that may score its items, judged by their aggregation.

    Perplexity, BLEU and the like score no single items; a task's own aggregations may.

    Raises:
        BadInput: the task has none, or measures the likelihood of whole texts.
    """
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        raise whole_text_error(name)
    aggregations = task.aggregation()
    unfit = [each for key, each in AGGREGATION_REGISTRY.items() if key not in _OF_ITEM_SCORES]
    metrics = tuple(metric for metric, function in aggregations.items() if function not in unfit)
    if not metrics:
        raise BadInput(
            f"task {name!r}: none of its metrics ({', '.join(aggregations)}) gives an item a score "
            "from 0 to 1",
            remedy=METRIC_REMEDY,
        )
    return metrics


def whole_text_error(task: str) -> BadInput:
    """Return the error for a task whose score says nothing about a chat model's answers."""
    return BadInput(
        f"task {task!r} measures the likelihood of whole texts",
        remedy="Choose a task with output_type generate_until or multiple_choice.",
    )


def _not_loaded(error: Exception, remedy: str) -> BadInput:
    reason = str(error).partition("\n")[0] or repr(error)
    return BadInput(f"evaluation.tasks cannot be loaded: {reason}", remedy=remedy)


def task_manager(recipe: Recipe, include_paths: Sequence[Path], toy_items: Path) -> Any:
    """Return an index of tasks; the harness's own 14,000 (10 s) are read only if needed.

    Args:
        recipe: names the tasks, their languages and their local items.
        include_paths: folders with YAML tasks of our own and the user's.
        toy_items: folder of the tiny world's `<language>.jsonl`.

    Raises:
        BadInput: a task does not exist, or not in a language; or a file of the user's tasks is not
            YAML (with its line), for which the harness would silently take its own task.
    """
    if recipe.evaluation.include_path:
        require_yaml(Path(recipe.evaluation.include_path))
    names = recipe.evaluation.tasks_in(recipe.languages.all)
    paths = [str(path) for path in include_paths]
    metadata = {"toy_items": str(toy_items), "data": dict(recipe.evaluation.data)}
    manager = TaskManager(include_path=paths, include_defaults=False, metadata=metadata)
    if not all(name in manager.all_tasks for name in names):
        manager = TaskManager(include_path=paths, metadata=metadata)
        require_tasks(recipe.evaluation, recipe.languages.all, set(manager.all_tasks))
    return manager


def require_tasks(settings: Evaluation, languages: Sequence[str], known: Set[str]) -> None:
    """Refuse tasks that do not exist, or not in one of their languages.

    Args:
        settings: the tasks' names and languages.
        languages: ISO 639-1 codes of the recipe's languages.
        known: names of all tasks, groups and tags.

    Raises:
        BadInput: with the languages that the task has, or the nearest names.
    """
    for pattern in settings.tasks:
        one = settings.model_copy(update={"tasks": (pattern,)})
        for name, language in one.tasks_in(languages).items():
            if name not in known:
                raise _unknown(pattern, name, language, known)


def _unknown(pattern: str, name: str, language: str, known: Set[str]) -> BadInput:
    formatted = {
        code: pattern.format(language=code, language_name=NAMES[code].lower()) for code in NAMES
    }
    having = [code for code, each in formatted.items() if each in known]
    if having and "{language" in pattern:
        return BadInput(
            f"evaluation.tasks: {pattern} has no {NAMES[language]} ({name!r}); "
            f"its languages are {', '.join(having)}",
            remedy="Name the languages to run it in under evaluation.languages.",
        )
    return BadInput(
        f"evaluation.tasks: the harness has no task {name!r}{nearest(name, known)}",
        remedy="Correct the name; lidr evaluate --list-tasks names the benchmarks.",
    )
