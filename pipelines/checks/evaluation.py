"""Whether the recipe's evaluation can run: whether its tasks and their items exist.

Reading the harness's task index takes ten seconds. It is read only if a task is neither ours, nor
the user's, nor in the catalogue, or if none of these reads a key of data or revisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lidr.components.evaluate.items.places import files_at, local_path, require_own_file
from lidr.components.evaluate.items.problems import problems
from lidr.components.evaluate.items.published import SOURCES, canonical
from lidr.components.evaluate.items.rows import read_rows
from lidr.components.evaluate.limits import (
    evaluated_splits,
    known_tasks,
    languages_reading,
    require_yaml,
    task_folders,
)
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.config.source import on_this_machine, parse_source
from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.inputs.fetched import find_data_set
from lidr.pipelines.checks.finding import (
    CheckInputs,
    Finding,
    missing,
    ok,
    refused,
    refused_or_unknown,
    unknown,
)

_FAMILIES = {source.dataset: family for family, source in SOURCES.items()}

_SPLITS = ("test", "validation", "val")
"""Splits that the catalogue's tasks evaluate; the first that exists is counted."""


def evaluation_findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield whether the tasks exist and read the data that the recipe names; count the items."""
    yield _tasks_here(inputs)
    for key, pattern in inputs.recipe.evaluation.data.items():
        yield _items(inputs, key, pattern)


def _tasks_here(inputs: CheckInputs) -> Finding:
    """Return what `_tasks` finds, or `unknown` where pods may not have the same folder of tasks."""
    name, folder = "evaluation tasks", inputs.recipe.evaluation.include_path
    remedy = "Keep the folder at this path in the image or on a volume of the pods."
    if folder and not Path(folder).is_dir():
        if inputs.on_cluster:
            detail = f"{folder} is not a folder here; pods read it from their image or a volume"
            return unknown(name, detail, remedy)
        detail = f"{folder} is not a folder"
        return missing(name, detail, "Correct evaluation.include_path.")
    found = _tasks(inputs.recipe)
    if folder and inputs.on_cluster and found.state == "ok":
        return unknown(name, f"{found.detail}, here; pods may not see {folder}", remedy)
    return found


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
        lacking = [task for task in asked if task not in known]
        lacking = lacking or sorted(named - read) or sorted(pinned & ours)
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


def _items(inputs: CheckInputs, key: str, pattern: str) -> Finding:
    """Return how many items a key of `evaluation.data` has, by language."""
    recipe, name = inputs.recipe, f"items {key}"
    codes = _languages(recipe, key)
    if not codes:
        return ok(name, "read by no task")
    only_here = inputs.on_cluster and on_this_machine(pattern)
    if only_here and not _is_here(pattern, codes):
        detail = f"{pattern} is not here; pods read it from their image or a volume"
        return unknown(name, detail, _remedy(pattern, " on the machine that has it"))
    try:
        counts = _counts(recipe, key, pattern, codes)
    except LidrError as error:
        return refused_or_unknown(name, error, inputs)
    detail = ", ".join(f"{code} {count:,}" for code, count in counts.items()) or "read by the step"
    if only_here:
        return unknown(name, f"{detail}, here; pods may not see {pattern}", _remedy(pattern))
    return ok(name, detail)


def _remedy(pattern: str, where: str = "") -> str:
    if "{config}" in pattern:  # `lidr fetch` does not know which files that stands for
        return "Put the files into a bucket, and name their s3:// address."
    return f"Bring it into the store with `lidr fetch`{where}."


def _languages(recipe: Recipe, key: str) -> Sequence[str]:
    """Return the languages of the known tasks that read a key; if none does, of unknown tasks."""
    asked, known = recipe.evaluation.tasks_in(recipe.languages.all), known_tasks(recipe.evaluation)
    others = dict.fromkeys(code for task, code in asked.items() if task not in known)
    return languages_reading(recipe, key) or tuple(others)


def _is_here(pattern: str, codes: Sequence[str]) -> bool:
    """Return whether this machine has a local source in any language, whatever {config} is."""
    address, config, _ = parse_source(pattern).address.removeprefix("file://").partition("{config}")
    place = address.rpartition("/")[0] if config else address
    names = [{"language": code, "language_name": NAMES[code].lower()} for code in codes]
    return any(Path(place.format(**each)).exists() for each in names)


def _counts(recipe: Recipe, key: str, pattern: str, codes: Sequence[str]) -> dict[str, int]:
    """Return how many items each language has; {} if only the step can count them.

    Only the step can count what the harness itself loads: sources with `{config}`, and whole data
    sets fetched from the hub. Our own tasks read nothing but files.

    Raises:
        BadInput: there are no files, one cannot be read, languages share one, or one of our own
            benchmarks has fewer items in a language than in another.
    """
    family = key if key in SOURCES else _FAMILIES.get(key, "")
    own_key = key == family or family not in recipe.evaluation.data  # the family's key has priority
    ours = family and own_key and languages_reading(recipe, family)
    whole = find_data_set(pattern) is not None
    if (whole or "{config}" in pattern) and not ours:
        return {}
    if not family:
        splits = evaluated_splits(recipe, key) or _SPLITS
        return {code: _rows(pattern, code, splits) for code in codes}
    if not whole:
        require_own_file(pattern, codes)
    counts = {code: len(problems(family, code, {family: pattern})) for code in codes}
    _require_equal(counts)
    return counts


def _rows(pattern: str, code: str, splits: Sequence[str]) -> int:
    """Return how many items a data set's files hold in a language, in the first split there is.

    Raises:
        BadInput: there are no files of any of the splits, or one cannot be read.
    """
    place, faults = local_path(pattern, code), list[BadInput]()
    for split in splits:
        try:
            files = files_at(place, (split,), code)[split]
        except BadInput as error:
            faults.append(error)
        else:
            return sum(len(read_rows(file)) for file in files)
    raise faults[0]


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
