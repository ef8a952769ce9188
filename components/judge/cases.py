"""The requests to the judge: both orders of each comparison, or every turn of each item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from lidr.components.judging.cases import Case, request_digest
from lidr.components.judging.prompts import Block, JudgePrompt, load_prompt
from lidr.components.shared.config.judge import Judge, JudgedTask
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.inputs.questions import (
    Question,
    read_questions,
    read_references,
    reference_of,
)
from lidr.components.shared.records.judged import Order
from lidr.components.shared.records.schema import Answer, FinishReason, Message
from lidr.components.shared.store.stage import open_stage

PROMPT_OF = {
    "x_alpacaeval": "pairwise",
    "head_to_head": "pairwise",
    "mt_bench": "score",
    "care": "rubric",
}
"""The prompt file that a task uses."""

Key = tuple[str, str, str]
"""Task, language and item id."""

Answers = Mapping[Key, list[Answer]]
"""A model's answers to each item, one per turn."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One question of one task in one language, with the model's answers.

    Attributes:
        task: the recipe's task.
        language: ISO 639-1 code.
        question: what was asked.
        answers: the model's answers, in the order of the turns.
        rival: the answer that the model's answer is compared with (which may be an empty text); ""
            if the task is not pairwise.
    """

    task: JudgedTask
    language: str
    question: Question
    answers: list[Answer]
    rival: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """Task and language."""
        return self.task.name, self.language


@dataclass(frozen=True, slots=True)
class JudgeCase(Case):
    """A request about one item."""

    item: Item


@dataclass(slots=True)
class ItemsToJudge:
    """All items to judge, and how many questions cannot be judged.

    Attributes:
        items: the items, in the order of tasks, languages and questions.
        unanswered: number of questions, by task and language, that the model or (head to head) the
            model before it did not answer completely.
    """

    items: list[Item] = field(default_factory=list)
    unanswered: Counter[tuple[str, str]] = field(default_factory=Counter)


def judged_tasks(settings: Judge, before: str) -> list[JudgedTask]:
    """Return the tasks to judge; M_0, with no model before it, is not judged head to head."""
    return [task for task in settings.tasks if before or task.name != "head_to_head"]


def collect_items(recipe: Recipe, settings: Judge, evaluation: str, before: str) -> ItemsToJudge:
    """Collect the items to judge.

    Args:
        recipe: names the languages.
        settings: the recipe's `judge` section.
        evaluation: URI of the evaluate stage with the model's answers.
        before: URI of the evaluate stage of the model before it; "" for M_0.

    Raises:
        BadInput: a question has no reference answer, or has changed since it was answered, or the
            evaluation holds no answers.
    """
    tasks = judged_tasks(settings, before)
    own = _answers(evaluation)
    earlier = _answers(before) if any(t.name == "head_to_head" for t in tasks) else {}
    found = ItemsToJudge()
    for task in tasks:
        source = settings.answered_by(task)
        for language in settings.languages_of(task, recipe.languages.all):
            references = read_references(task, language) if task.references else {}
            for question in read_questions(source, language):
                key = (source.name, language, question.item_id)
                answers, rival = _answered(own, key, question), ""
                if task.references:
                    rival = reference_of(question, references, task, language)
                elif task.is_pairwise and (others := _answered(earlier, key, question)):
                    rival = others[0].response
                elif task.is_pairwise:
                    answers = []
                if answers:
                    found.items.append(Item(task, language, question, answers, rival))
                else:
                    found.unanswered[task.name, language] += 1
    return found


def cases_of(items: Iterable[Item], settings: Judge) -> Iterator[JudgeCase]:
    """Yield every request: both orders of a comparison, every turn of a conversation."""
    prompts: dict[str, JudgePrompt] = {}
    for item in items:
        name = PROMPT_OF[item.task.name]
        if name not in prompts:
            prompts[name] = load_prompt(name, settings.prompts)
        if item.task.is_pairwise:
            for order in (Order.CANDIDATE_FIRST, Order.CANDIDATE_SECOND):
                render = partial(_comparison, prompts[name], item, order)
                yield _case(settings, item, 0, order, render)
        else:
            for turn in range(len(item.answers)):
                render = partial(_grading, prompts[name], item, turn)
                yield _case(settings, item, turn, Order.ALONE, render)


def _answers(evaluation: str) -> Answers:
    stage = open_stage(evaluation)
    if not stage.files(prefix="answers.parquet"):
        raise BadInput(
            f"{evaluation} holds no answers to judge", remedy="Evaluate with the same recipe."
        )
    found: dict[Key, list[Answer]] = {}
    for answer in stage.read_records(["answers.parquet"], Answer):
        found.setdefault((answer.task, answer.language, answer.item_id), []).append(answer)
    return found


def _answered(answers: Answers, key: Key, question: Question) -> list[Answer]:
    """Return the answers to all turns of a question; none of them if one is missing or failed.

    Raises:
        BadInput: a turn's text is not the one that the model answered.
    """
    found = sorted(answers.get(key, []), key=lambda answer: answer.turn)
    for answer in found:
        if question.turns[answer.turn : answer.turn + 1] != (answer.prompt,):
            task, language, item_id = key
            raise BadInput(
                f"{task} {language}: the questions changed since the model answered (id "
                f"{item_id!r}, turn {answer.turn + 1})",
                remedy="Restore the file of questions, or begin another run, whose models answer "
                "the new ones.",
            )
    whole = len(found) == len(question.turns)
    failed = any(answer.finish_reason == FinishReason.FAILED for answer in found)
    return found if whole and not failed else []


def _comparison(prompt: JudgePrompt, item: Item, order: Order) -> list[Message]:
    texts = (item.answers[0].response, item.rival)
    first, second = texts if order is Order.CANDIDATE_FIRST else reversed(texts)
    return prompt.messages(
        NAMES[item.language],
        {
            "conversation": [Block("user", item.question.turns[0])],
            "first": [Block("answer A", first)],
            "second": [Block("answer B", second)],
        },
    )


def _grading(prompt: JudgePrompt, item: Item, turn: int) -> list[Message]:
    said = [
        block
        for answer in item.answers[:turn]
        for block in (Block("user", answer.prompt), Block("assistant", answer.response))
    ]
    question = item.question
    return prompt.messages(
        NAMES[item.language],
        {
            "conversation": [*said, Block("user", question.turns[turn])],
            "answer": [Block("answer", item.answers[turn].response)],
            "reference": _optional("reference", question.reference_to(turn)),
            "criteria": _optional("criteria", question.criteria),
        },
    )


def _optional(name: str, text: str) -> list[Block]:
    return [Block(name, text)] if text else []


def _case(
    settings: Judge, item: Item, turn: int, order: Order, render: Callable[[], list[Message]]
) -> JudgeCase:
    place = (*item.place, item.question.item_id)
    request = request_digest(settings, (*place, turn, order), render())
    return JudgeCase(*place, turn, order, render, request, item)
