"""Whether the recipe's evaluation can run: whether its tasks and their items exist.

Reading the harness's task index takes ten seconds, so it is read only for tasks that are neither
ours, nor the user's, nor in the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lidr.components.evaluate.items.places import files_at, local_path, require_own_file
from lidr.components.evaluate.items.problems import problems
from lidr.components.evaluate.items.published import SOURCES, canonical
from lidr.components.evaluate.items.rows import read_rows
from lidr.components.evaluate.limits import (
    known_tasks,
    languages_reading,
    require_yaml,
    task_folders,
)
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.config.source import on_this_machine, parse_source
from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.inputs.fetched import find_fetched
from lidr.pipelines.checks.finding import (
    CheckInputs,
    Finding,
    missing,
    ok,
    refused,
    refused_or_unknown,
    unknown,
)


def evaluation_findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield whether the tasks exist, read the data that is named, and have their items."""
    evaluation = inputs.recipe.evaluation
    folder = evaluation.include_path
    if folder and not Path(folder).is_dir():
        detail = f"{folder} is not a folder"
        yield missing("evaluation tasks", detail, "Correct evaluation.include_path.")
    else:
        yield _tasks(inputs.recipe)
    for family, pattern in evaluation.data.items():
        yield _items(inputs, family, pattern)


def _tasks(recipe: Recipe) -> Finding:
    """Return whether every task exists, and every key of data and revisions is read by a task."""
    name, evaluation = "evaluation tasks", recipe.evaluation
    asked = list(evaluation.tasks_in(recipe.languages.all))
    known = known_tasks(evaluation)
    read = {key for task in asked for key in known.get(task, ())}
    pinned = {canonical(key) for key in evaluation.revisions}
    named = {canonical(key) for key in evaluation.data} | pinned
    ours = {*SOURCES, *(source.dataset for source in SOURCES.values())}  # pinned by ourselves
    try:
        if evaluation.include_path:
            require_yaml(Path(evaluation.include_path))
        recipe.require_measured()
        if not set(asked) <= known.keys() or not named <= read or pinned & ours:
            _ask_harness(recipe)
    except LidrError as error:
        return refused(name, error)
    except ModuleNotFoundError:
        lacking = [task for task in asked if task not in known] or sorted(named - read)
        detail = f"{lacking[0]} is not looked up: lm_eval is not installed here"
        return unknown(name, detail, "pip install 'lidr[evaluate]'")
    return ok(name, ", ".join(evaluation.tasks))


def _ask_harness(recipe: Recipe) -> None:
    """Check with the harness that the tasks exist and that they read every key.

    Raises:
        BadInput: a task does not exist, or no task reads a key.
        ModuleNotFoundError: the harness is not installed.
    """
    from lidr.components.evaluate.index import task_manager
    from lidr.components.evaluate.items.local_data import require_read

    manager = task_manager(recipe, task_folders(recipe.evaluation), Path("evaluation"))
    require_read(manager, recipe.evaluation.tasks_in(recipe.languages.all), recipe.evaluation)


def _items(inputs: CheckInputs, family: str, pattern: str) -> Finding:
    """Return how many items a family has, by language.

    With `{config}`, and in a data set of the hub that was fetched, only the step counts.
    """
    recipe, name = inputs.recipe, f"items {family}"
    datasets = {source.dataset: key for key, source in SOURCES.items()}
    own = family if family in SOURCES else datasets.get(family, "")
    counts: dict[str, int] = {}
    try:
        codes = languages_reading(recipe, family) or recipe.languages.all
        whole = _is_data_set(pattern)
        by_step = not own and ("{config}" in pattern or whole)
        if own and not whole:
            require_own_file(pattern, codes)
        for code in codes:
            if own:
                counts[code] = len(problems(own, code, recipe.evaluation.data))
            elif not by_step:
                counts[code] = _rows(pattern, code)
        if own:
            _require_equal(counts)
    except LidrError as error:
        return refused_or_unknown(name, error, inputs)
    detail = ", ".join(f"{code} {count:,}" for code, count in counts.items())
    detail = detail or ("read by the step" if by_step else "there")
    if inputs.on_cluster and on_this_machine(pattern):
        remedy = "Bring it into the store with `lidr fetch`."
        return unknown(name, f"{detail}, here; pods may not see {pattern}", remedy)
    return ok(name, detail)


def _rows(pattern: str, code: str) -> int:
    """Return how many items a data set's files hold in a language.

    Raises:
        BadInput: there are no files, or one cannot be read.
    """
    place = local_path(pattern, code)
    try:
        files = files_at(place, ("test",), code)["test"]
    except BadInput:
        if "validation" not in (found := files_at(place, ("validation",), code)):
            raise
        files = found["validation"]
    return sum(len(read_rows(file)) for file in files)


def _is_data_set(pattern: str) -> bool:
    """Return whether a source is a whole data set of the hub that was fetched."""
    held = find_fetched(parse_source(pattern).address)
    return held is not None and "dataset" in held[0].marker()["identity"]["source"]


def _require_equal(counts: Mapping[str, int]) -> None:
    """Check that a parallel benchmark has equally many items in every language.

    Raises:
        BadInput: a language has fewer than another.
    """
    full = max(counts.values(), default=0)
    short = [f"{code} has {count:,}" for code, count in counts.items() if count < full]
    if short:
        raise BadInput(
            f"the file of a language lacks items: {', '.join(short)}, others have {full:,}",
            remedy="Fetch it again, or name the languages to measure under evaluation.languages.",
        )
