"""The questions of a judge's tasks, and their reference answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lidr.components.shared.config.judge import Judge, JudgedTask
from lidr.components.shared.config.source import Source, parse_source
from lidr.components.shared.core.digest import digest_of, digest_of_bytes
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import valid_unicode
from lidr.components.shared.inputs.files import json_rows, read_file

_TEXT_FIELDS = ("instruction", "prompt", "question")


@dataclass(frozen=True, slots=True)
class Question:
    """A question of one or more turns.

    Attributes:
        item_id: unique in its file.
        turns: the user's texts; at least one.
        reference: an answer known to be good, or one for each turn; "" for none.
        criteria: how to grade answers to this question; "" for the general criteria.
    """

    item_id: str
    turns: tuple[str, ...]
    reference: str | tuple[str, ...] = ""
    criteria: str = ""

    def reference_to(self, turn: int) -> str:
        """Return the reference answer to a turn, counted from 0; "" if there is none."""
        return self.reference if isinstance(self.reference, str) else self.reference[turn]


def read_questions(task: JudgedTask, language: str) -> list[Question]:
    """Return a task's questions in one language, at most its limit.

    Raises:
        BadInput: with file and line, if a question is unusable, or has several turns in a task
            other than mt_bench.
    """
    source = parse_source(task.questions).at(language)
    file = source.address
    found: dict[str, Question] = {}
    for line, item_id, row in _rows(source, "judge.tasks.questions"):
        turns = _turns(row, file, line)
        if len(turns) > 1 and task.name != "mt_bench":
            raise BadInput(
                f"{task.name} takes one turn, not {len(turns)}",
                file=file,
                line=line,
                remedy="Judge questions of several turns as mt_bench.",
            )
        reference = _reference(row, len(turns), file, line)
        criteria = _text(row, ("criteria",), file, line, required=False)
        found[item_id] = Question(item_id, turns, reference, criteria)
    return list(found.values())[: task.limit or None]


def read_references(task: JudgedTask, language: str) -> dict[str, str]:
    """Return a task's reference answers in one language, by question id.

    Raises:
        BadInput: with file and line, if one is unusable.
    """
    source = parse_source(task.references).at(language)
    return {
        item_id: _text(row, ("response", "output"), source.address, line)
        for line, item_id, row in _rows(source, "judge.tasks.references")
    }


def require_questions(judge: Judge, languages: Sequence[str]) -> None:
    """Read every file of a judge's tasks, so that errors show before anything starts.

    Raises:
        BadInput: a file is missing or broken, or a question has no reference.
    """
    for task in judge.tasks:
        for language in judge.languages_of(task, languages):
            checked_questions(judge, task, language)


def checked_questions(judge: Judge, task: JudgedTask, language: str) -> list[Question]:
    """Return a task's questions in one language, each of which has the reference answer it needs.

    Raises:
        BadInput: a file is missing or broken, or a question has no reference answer.
    """
    questions = read_questions(judge.answered_by(task), language)
    if task.references:
        references = read_references(task, language)
        for question in questions:
            reference_of(question, references, task, language)
    return questions


def reference_of(
    question: Question, references: Mapping[str, str], task: JudgedTask, language: str
) -> str:
    """Return the reference answer to a question.

    Raises:
        BadInput: there is none.
    """
    if question.item_id not in references:
        raise BadInput(
            f"there is no reference for question {question.item_id!r}",
            file=parse_source(task.references).at(language).address,
            remedy="Add it, or lower the task's limit.",
        )
    return references[question.item_id]


def digest_of_questions(task: JudgedTask, language: str, *, asked: bool = False) -> str:
    """Return a digest of a task's questions.

    Args:
        task: whose questions they are.
        language: of the questions.
        asked: whether only what the answering model sees counts: no references and no criteria.
    """
    return digest_of(
        [
            [q.item_id, *q.turns, *(() if asked else (q.reference, q.criteria))]
            for q in read_questions(task, language)
        ]
    )


def digest_of_references(task: JudgedTask, language: str) -> str:
    """Return a digest of a task's file of references; "" if it has none."""
    if not task.references:
        return ""
    source = parse_source(task.references).at(language)
    return digest_of_bytes(read_file(source.text(), "judge.tasks.references"))


def _rows(source: Source, key: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield line, id and content of each row; refuse ids that are missing or not unique."""
    file = source.address
    seen: set[str] = set()
    for line, row in json_rows(file, read_file(source.text(), key)):
        item_id = _first(row, ("id", "item_id", "question_id"))
        if isinstance(item_id, bool) or not isinstance(item_id, int | str) or item_id == "":
            raise BadInput(
                f"no usable id; the row has {', '.join(row)}",
                file=file,
                line=line,
                remedy="Give every row its own `id`.",
            )
        name = valid_unicode(str(item_id))
        if name in seen:
            raise BadInput(
                f"id {name!r} appears twice", file=file, line=line, remedy="Give each its own id."
            )
        seen.add(name)
        yield line, name, row
    if not seen:
        raise BadInput("there is nothing in the file", file=file, remedy="Add at least one row.")


def _turns(row: dict[str, Any], file: str, line: int) -> tuple[str, ...]:
    turns = row.get("turns")
    if turns is None:
        return (_text(row, _TEXT_FIELDS, file, line),)
    if not isinstance(turns, list) or not turns or not all(_is_text(turn) for turn in turns):
        raise BadInput(
            "`turns` is not a list of texts", file=file, line=line, remedy="Write a list of texts."
        )
    return tuple(valid_unicode(turn) for turn in turns)


def _reference(row: dict[str, Any], turns: int, file: str, line: int) -> str | tuple[str, ...]:
    """Return one text, or one for each turn; some of these may be empty, as in MT-bench's file."""
    found = row.get("reference")
    if not isinstance(found, list):
        return _text(row, ("reference",), file, line, required=False)
    if len(found) != turns or not all(each in (None, "") or _is_text(each) for each in found):
        raise BadInput(
            f"`reference` is not a list of {turns} texts, one for each turn",
            file=file,
            line=line,
            remedy='Write a text for each turn, "" for one without a reference answer.',
        )
    return tuple(valid_unicode(each or "") for each in found)


def _text(
    row: dict[str, Any], names: tuple[str, ...], file: str, line: int, *, required: bool = True
) -> str:
    value = _first(row, names)
    if not required and value in (None, ""):
        return ""
    if not _is_text(value):
        raise BadInput(
            f"`{names[0]}` is missing, empty or not text; the row has {', '.join(row)}",
            file=file,
            line=line,
            remedy="Fill it in.",
        )
    return valid_unicode(str(value))


def _first(row: dict[str, Any], names: tuple[str, ...]) -> Any:
    """Return the value of the first of several names that is not null; None if all are."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
