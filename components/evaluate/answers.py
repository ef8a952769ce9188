"""Answers the questions of judged tasks, with the engine that evaluates the other tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from lidr.components.shared.config.judge import JudgedTask
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import seed_of
from lidr.components.shared.core.events import Meter
from lidr.components.shared.core.languages import LanguageIdentifier
from lidr.components.shared.engines import ChatRequest, Completion, Decoding, Engine
from lidr.components.shared.inputs.questions import Question, digest_of_questions, read_questions
from lidr.components.shared.records.schema import Answer, FinishReason, Message


def answer_questions(engine: Engine, recipe: Recipe) -> list[Answer]:
    """Answer the questions of every judged task, greedily; without a judge, there are none.

    A second turn is asked as soon as the first is answered, while other questions are still being
    answered. A turn that the engine cannot serve ends its conversation.

    Args:
        engine: answers all requests.
        recipe: names the tasks.

    Returns:
        One answer per turn, in the order of tasks, languages and questions.

    Raises:
        BadInput: a file of questions is missing or broken.
    """
    conversations = {
        str(number): conversation for number, conversation in enumerate(_conversations(recipe))
    }
    if not conversations:
        return []
    ready = deque(conversations)
    turns = sum(each.turns_left for each in conversations.values())
    meter = Meter(turns, "answers", "tokens")

    def requests() -> Iterator[ChatRequest | None]:
        while meter.done < meter.total:
            yield _request(recipe.seed, ready[0], conversations[ready.popleft()]) if ready else None

    with meter.watching():
        for completion in engine.complete(requests()):
            conversation = conversations[number := completion.key.partition("/")[0]]
            conversation.take(completion)
            if conversation.ended:
                meter.total -= conversation.turns_left
            else:
                ready.append(number)
            meter.advance(1, completion.output_tokens)
    answers = [each for conversation in conversations.values() for each in conversation.answers]
    return _identified(recipe, answers)


def judged_identity(recipe: Recipe) -> dict[str, Any]:
    """Return the part of the evaluate stage's identity that the answers depend on."""
    if not recipe.is_judged:
        return {}
    return {
        "judged": [
            [task.name, task.max_tokens, language, digest_of_questions(task, language, asked=True)]
            for task, language in _tasks(recipe)
        ]
    }


@dataclass
class _Conversation:
    """A question in progress: its first turns are answered, the next is still to be asked."""

    task: JudgedTask
    language: str
    question: Question
    answers: list[Answer] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether no further turn is asked: none is left, or the last answer failed."""
        failed = bool(self.answers) and self.answers[-1].finish_reason == FinishReason.FAILED
        return failed or not self.turns_left

    @property
    def turns_left(self) -> int:
        """Number of turns without an answer."""
        return len(self.question.turns) - len(self.answers)

    @property
    def messages(self) -> list[Message]:
        """The chat so far, and the question of the next turn."""
        said = [
            message
            for each in self.answers
            for message in (
                {"role": "user", "content": each.prompt},
                {"role": "assistant", "content": each.response},
            )
        ]
        return [*said, {"role": "user", "content": self.question.turns[len(self.answers)]}]

    def take(self, completion: Completion) -> None:
        """Record a completion as the answer to the next turn."""
        turn = len(self.answers)
        self.answers.append(
            Answer(
                task=self.task.name,
                language=self.language,
                item_id=self.question.item_id,
                turn=turn,
                prompt=self.question.turns[turn],
                response=completion.text,
                finish_reason=completion.finish_reason,
                output_tokens=completion.output_tokens,
            )
        )


def _tasks(recipe: Recipe) -> list[tuple[JudgedTask, str]]:
    """Return the tasks that name questions, with each of their languages."""
    if not recipe.judge:
        return []
    return [
        (task, language)
        for task in recipe.judge.tasks
        if task.questions
        for language in recipe.judge.languages_of(task, recipe.languages.all)
    ]


def _conversations(recipe: Recipe) -> list[_Conversation]:
    return [
        _Conversation(task, language, question)
        for task, language in _tasks(recipe)
        for question in read_questions(task, language)
    ]


def _request(seed: int, key: str, conversation: _Conversation) -> ChatRequest:
    task, language, turn = conversation.task, conversation.language, len(conversation.answers)
    return ChatRequest(
        f"{key}/{turn}",
        conversation.messages,
        Decoding(max_tokens=task.max_tokens),
        seed=seed_of(seed, "judged", task.name, language, conversation.question.item_id, turn),
        group=f"{task.name}/{language}/{turn}",
    )


def _identified(recipe: Recipe, answers: list[Answer]) -> list[Answer]:
    detected = LanguageIdentifier(recipe.languages.all).identify(
        [each.response for each in answers]
    )
    return [
        replace(each, detected_language=language)
        for each, language in zip(answers, detected, strict=True)
    ]
