"""Makes tasks read the items named by a recipe's `evaluation.data` and `evaluation.revisions`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from lidr.components.evaluate.items.places import files_at, local_path, require_own_file
from lidr.components.evaluate.items.problems import field_of
from lidr.components.evaluate.items.published import SOURCES, canonical
from lidr.components.evaluate.items.rows import ANSWERS, QUESTIONS, SUFFIXES, Row, read_rows
from lidr.components.shared.config.evaluation import Evaluation
from lidr.components.shared.config.source import parse_source
from lidr.components.shared.core.digest import digest_of, digest_of_file
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.text import nearest
from lidr.components.shared.inputs.fetched import find_data_set, find_fetched, local_copy
from lidr.components.shared.numbers.answer import extract_number

_OWN_KEYS = {*SOURCES, *(source.dataset for source in SOURCES.values())}
"""Keys of `evaluation.data` whose files hold one language each: items do not name theirs."""

_SPLITS = ("test_split", "validation_split", "training_split", "fewshot_split")


def data_digests(data: Mapping[str, str], languages: Iterable[str]) -> dict[str, list[str]]:
    """Return what identifies the items of each key in `evaluation.data`.

    That is the digest of each local file, the stage's digest and the path of fetched items, or a
    pinned source as it is given.

    Raises:
        BadInput: there is no such file or folder.
    """
    codes = list(languages)
    return {key: _digests(pattern, codes) for key, pattern in data.items()}


def _digests(pattern: str, languages: Sequence[str]) -> list[str]:
    source = parse_source(pattern)
    if held := find_fetched(source.address):
        return [held[0].digest, held[1]]
    if source.sha256 or source.address.startswith("hf://"):
        return [pattern]
    files = dict.fromkeys(
        path for code in languages for path in _files_below(local_path(pattern, code, "*"))
    )
    if not files:
        raise BadInput(
            "no such file or folder", file=pattern, remedy="Check evaluation.data in the recipe."
        )
    return [digest_of_file(path) for path in files]


def _files_below(place: Path) -> Iterator[Path]:
    found = [place]
    if "*" in str(place):
        found = sorted(Path(place.anchor).glob(str(place.relative_to(place.anchor))))
    for path in found:
        if path.is_dir():
            yield from (p for p in sorted(path.rglob("*")) if p.suffix in SUFFIXES)
        elif path.is_file():
            yield path


def use_items(manager: Any, names: Mapping[str, str], settings: Evaluation, folder: Path) -> None:
    """Make tasks of the harness read the items that a recipe names.

    Each of these tasks gets a new YAML file that includes its own and says where its items are.

    Args:
        manager: the harness's TaskManager, whose index is changed.
        names: tasks, groups or tags, with their language.
        settings: local items are under `data`, commits on the hub under `revisions`.
        folder: where the YAML files are written.

    Raises:
        BadInput: a key belongs to no task, a file is missing, or languages share one.
    """
    data = {canonical(key): place for key, place in settings.data.items()}
    revisions = {canonical(key): commit for key, commit in settings.revisions.items()}
    require_read(manager, names, settings)
    for key in sorted(data.keys() & _OWN_KEYS):
        if find_data_set(data[key]) is None:
            require_own_file(data[key], _languages_reading(manager, names, key, data))
    for name, language in names.items():
        for task in leaf_tasks(manager, name):
            entry = manager.task_index[task]
            dataset = _dataset_of(entry)
            if dataset in data:
                _replace(entry, _given(entry, language, data[dataset]), folder)
            elif dataset in revisions:
                _replace(entry, _pinned(entry.cfg, revisions[dataset]), folder)
    for dataset in sorted(hub_datasets(manager, names) - data.keys() - revisions.keys()):
        emit(
            "warning",
            message=f"the items of {dataset} are its newest revision on the hub; for a repeatable "
            "evaluation, name a commit under evaluation.revisions or a copy under evaluation.data",
        )


def require_read(manager: Any, names: Iterable[str], settings: Evaluation) -> None:
    """Refuse a recipe that names items, by a local path or a commit, that none of its tasks reads.

    Args:
        manager: the harness's TaskManager.
        names: tasks, groups or tags.
        settings: names items under `data` and `revisions`.

    Raises:
        BadInput: a key belongs to no task.
    """
    entries = [manager.task_index[task] for name in names for task in leaf_tasks(manager, name)]
    on_hub = {_dataset_of(entry) for entry in entries} - {""}
    ours = {key for entry in entries for key in _keys_of_family(entry.cfg or {})}
    for key, named, read in (
        ("data", settings.data, on_hub | ours),
        ("revisions", settings.revisions, on_hub),
    ):
        if unread := {canonical(each) for each in named} - read:
            raise BadInput(
                f"evaluation.{key}: no task of the recipe reads {min(unread)!r}"
                f"{nearest(min(unread), read)}",
                remedy="Correct the name, or drop the entry.",
            )


def hub_datasets(manager: Any, names: Iterable[str]) -> set[str]:
    """Return the data sets on the hub that tasks, groups or tags of the harness read."""
    tasks = [task for name in names for task in leaf_tasks(manager, name)]
    datasets = {_dataset_of(manager.task_index[task]) for task in tasks}
    return {each for each in datasets if "/" in each and not Path(each).exists()}


def datasets_of(manager: Any, tasks: Iterable[str]) -> dict[str, str]:
    """Return the data set on the hub that each single task's items are from, "" if none."""
    known = {task: manager.task_index.get(task) for task in tasks}
    return {task: _dataset_of(entry) if entry else "" for task, entry in known.items()}


def _dataset_of(entry: Any) -> str:
    return canonical((entry.cfg or {}).get("dataset_path") or "")


def _replace(entry: Any, lines: Sequence[str], folder: Path) -> None:
    path = folder / f"{digest_of(entry.name)}.yaml"  # a task's own name may hold anything
    included = f"include: {json.dumps(str(entry.yaml_path))}"
    path.write_text("\n".join([included, *lines, "tag: null", ""]), encoding="utf-8")
    entry.yaml_path = path


def _pinned(config: Mapping[str, Any], commit: str) -> list[str]:
    arguments = {**(config.get("dataset_kwargs") or {}), "revision": commit}
    return [f"dataset_kwargs: {json.dumps(arguments)}"]


def _keys_of_family(config: Mapping[str, Any]) -> list[str]:
    """Return the keys of `evaluation.data` that mean one of our own tasks; the first one counts."""
    family = (config.get("dataset_kwargs") or {}).get("family")
    return [family, SOURCES[family].dataset] if family in SOURCES else []


def _languages_reading(
    manager: Any, names: Mapping[str, str], key: str, data: Mapping[str, str]
) -> list[str]:
    """Return the languages of the single tasks that read a key of `evaluation.data`."""
    codes = []
    for name, language in names.items():
        for entry in map(manager.task_index.get, leaf_tasks(manager, name)):
            own = [each for each in _keys_of_family(entry.cfg or {}) if each in data]
            if key in (_dataset_of(entry), *own[:1]):
                codes.append(language)
    return list(dict.fromkeys(codes))


def leaf_tasks(manager: Any, name: str) -> list[str]:
    """Return the single tasks of a group or tag, at any depth, or the task itself."""
    entry = manager.task_index[name]
    members = entry.tags if name in manager.all_tags else (entry.cfg or {}).get("task")
    if not isinstance(members, list | set):
        return [name]
    inside = sorted(part for part in _members(members) if part in manager.task_index)
    return [task for part in inside for task in leaf_tasks(manager, part)]


def _members(members: Iterable[Any]) -> Iterator[str]:
    """Yield the names of a group's members, which may be groups written inside it."""
    for part in members:
        inner = part if isinstance(part, str) else part.get("task") or part.get("group") or ""
        if isinstance(inner, str):
            yield inner
        else:
            yield from _members(inner)


def _given(entry: Any, language: str, source: str) -> list[str]:
    """Return the YAML lines that say where a task's items are: a fetched data set, or files."""
    if stage := find_data_set(source):
        folder = local_copy(stage, stage.files())
        arguments = entry.cfg.get("dataset_kwargs") or {}
        kept = {key: value for key, value in arguments.items() if key != "revision"}
        return [f"dataset_path: {json.dumps(str(folder))}", f"dataset_kwargs: {json.dumps(kept)}"]
    return _local(entry, language, source)


def _local(entry: Any, language: str, pattern: str) -> list[str]:
    config = entry.cfg
    place = local_path(pattern, language, config.get("dataset_name") or "default")
    evaluated = config.get("test_split") or config["validation_split"]
    splits = dict.fromkeys([evaluated, *(config[key] for key in _SPLITS if config.get(key))])
    files = files_at(place, list(splits), language)
    absent = [key for key in _SPLITS if config.get(key) and config[key] not in files]
    if absent and config.get("num_fewshot"):
        raise BadInput(
            f"{entry.name} shows examples from its {config[absent[0]]} split, which is missing",
            file=place,
            remedy=f"Put {config[absent[0]]}.jsonl into the folder.",
        )
    local = {
        "dataset": config["dataset_path"],
        "files": {split: [str(path) for path in paths] for split, paths in files.items()},
    }
    return [
        "custom_dataset: !function lidr.components.evaluate.items.local_data.load",
        f"dataset_kwargs: {json.dumps({'local': local})}",
        *(f"{key}: null" for key in absent),
    ]


def load(*, local: Mapping[str, Any], **_: object) -> dict[str, Dataset]:
    """Return local files as the splits of a data set of the harness.

    Args:
        local: `dataset`, the name it has on the hub, and `files` of each split.

    Raises:
        BadInput: a file is broken, or an item lacks what its benchmark needs.
    """
    is_mgsm = local["dataset"] == "juletxara/mgsm"
    return {
        split: _dataset([Path(name) for name in names], is_mgsm)
        for split, names in local["files"].items()
    }


def _dataset(paths: Sequence[Path], is_mgsm: bool) -> Dataset:
    found = [(row, path, line) for path in paths for line, row in read_rows(path)]
    first = found[0][0]
    for row, path, line in found if not is_mgsm else ():
        if differing := sorted(first.keys() ^ row.keys()):
            raise BadInput(
                f"of this item and the first, only one has the field {differing[0]!r}",
                file=path,
                line=line,
                remedy="Give every item the same fields.",
            )
    rows = [_mgsm(*each) if is_mgsm else each[0] for each in found]
    try:
        return Dataset.from_list(rows)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, RecursionError) as error:
        raise BadInput(
            f"a field changes its type between items, or is nested too deeply: {error}",
            file=paths[0],
            remedy="Give every item the same plain fields.",
        ) from error


def _mgsm(row: Row, path: Path, line: int) -> Row:
    """Give an item (question and its number) the fields of juletxara/mgsm's test split."""
    if "answer_number" in row:
        return row
    question = field_of(row, QUESTIONS, "question", path, line)
    number = extract_number(field_of(row, ANSWERS, "answer", path, line), "en")
    if number is None or number.denominator != 1:
        raise BadInput(
            "the item has no answer that is a whole number",
            file=path,
            line=line,
            remedy="Give the right number.",
        )
    return {
        "question": question,
        "answer": None,
        "answer_number": int(number),
        "equation_solution": None,
    }
