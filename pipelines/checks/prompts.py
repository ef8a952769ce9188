"""Whether what the recipe reads can be read: prompts, a judge's questions, evaluation items."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lidr.components.evaluate.items.places import files_at, place_of
from lidr.components.evaluate.items.problems import SOURCES, problems
from lidr.components.judge.cases import PROMPT_OF
from lidr.components.judge.prompts import load_prompt
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.inputs.prompt_files import load_prompt_file, require_same_ids
from lidr.components.shared.inputs.questions import read_questions, read_references, reference_of
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, refused, unknown

_COPY = "Copy it to the store's bucket, and name it as s3://... in the recipe."


def findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield how many prompts, questions and items there are in each language."""
    recipe = inputs.recipe
    if recipe.is_toy:
        yield ok("prompts", "the step `prepare` makes the tiny world's")
    else:
        yield from _prompts(inputs)
    if recipe.judge:
        yield from _judged(inputs)
    yield from _items(inputs)


def _prompts(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield how many prompts each language has; only ids are kept, of two languages at once."""
    recipe, order = inputs.recipe, list[str]()
    for code in recipe.languages.all:
        name, file = f"prompts {code}", recipe.prompts.files[code]
        if inputs.on_cluster and "://" not in file:
            told = f"{file} is a file of this machine, which pods cannot reach"
            yield missing(name, told, _COPY)
            continue
        try:
            found = [each.prompt_id for each in load_prompt_file(file, code, recipe.prompts)]
            if code == recipe.languages.dominant:
                order = found
            elif order:
                require_same_ids(recipe, code, order, set(found))
        except LidrError as error:
            yield refused(name, error)
        else:
            yield ok(name, f"{len(found):,} in {file}")


def _judged(inputs: CheckInputs) -> Iterator[Finding]:
    recipe, judge = inputs.recipe, inputs.recipe.judge
    if judge is None:
        return
    for task in judge.tasks:
        name = f"questions {task.name}"
        files = (task.questions, task.references, judge.prompts)
        if inputs.on_cluster and (local := [f for f in files if f and "://" not in f]):
            told = f"{local[0]} is on this machine, which pods cannot reach"
            yield missing(name, told, _COPY)
            continue
        try:
            yield ok(name, _counted(recipe, task.name))
        except LidrError as error:
            yield refused(name, error)
    if judge.prompts:
        yield _judge_prompts(recipe)


def _counted(recipe: Recipe, name: str) -> str:
    """Return how many questions a task has by language, once all of them have been read.

    Raises:
        BadInput: one is unusable, or has no reference.
    """
    assert recipe.judge is not None  # noqa: S101
    task = next(task for task in recipe.judge.tasks if task.name == name)
    counts = []
    for code in recipe.judge.languages_of(task, recipe.languages.all):
        questions = read_questions(recipe.judge.answered_by(task), code)
        references = read_references(task, code) if task.references else {}
        if task.references:
            for question in questions:
                reference_of(question, references, task, code)
        counts.append(f"{code} {len(questions):,}")
    return ", ".join(counts)


def _judge_prompts(recipe: Recipe) -> Finding:
    assert recipe.judge is not None  # noqa: S101
    try:
        for kind in dict.fromkeys(PROMPT_OF[task.name] for task in recipe.judge.tasks):
            load_prompt(kind, recipe.judge.prompts)
    except LidrError as error:
        return refused("judge prompts", error)
    return ok("judge prompts", recipe.judge.prompts)


def _items(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield the evaluation items that stand in files; others are fetched by the step itself."""
    recipe = inputs.recipe
    folder = recipe.evaluation.include_path
    if folder and not Path(folder).is_dir():
        told = f"{folder} is no folder"
        yield missing("evaluation tasks", told, "Correct evaluation.include_path.")
    for family, pattern in recipe.evaluation.data.items():
        yield _family(inputs, family, pattern)


def _family(inputs: CheckInputs, family: str, pattern: str) -> Finding:
    recipe, name = inputs.recipe, f"items {family}"
    datasets = {source.dataset: key for key, source in SOURCES.items()}
    own = family if family in SOURCES else datasets.get(family, "")
    languages = _languages(recipe, own)
    counts = []
    try:
        for code in languages:
            if own:
                counts.append(f"{code} {len(problems(own, code, recipe.evaluation.data)):,}")
            elif "{config}" not in pattern:
                files_at(place_of(pattern, code), ("test",), code)
    except LidrError as error:
        return refused(name, error)
    told = ", ".join(counts) or ("read by the step" if "{config}" in pattern else "there")
    if inputs.on_cluster:
        remedy = "Keep it in the image or on a volume of the pods, at the same path."
        return unknown(name, f"{told}, here; pods may not see {pattern}", remedy)
    return ok(name, told)


def _languages(recipe: Recipe, own: str) -> tuple[str, ...]:
    """Return the languages that a family's tasks are asked in."""
    asked = [name for name in recipe.evaluation.tasks if own and name.startswith(own)]
    if not asked:
        return recipe.languages.all
    found = (recipe.evaluation.languages.get(name, recipe.languages.all) for name in asked)
    return tuple(dict.fromkeys(code for codes in found for code in codes))
