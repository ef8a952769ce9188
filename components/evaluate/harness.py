"""lm-evaluation-harness with our engine behind it.

The harness makes the prompts and scores the answers; the engine sees chat messages, never a
flattened string: the "chat template" we hand to the harness is JSON, rendered by the engine.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import UndefinedError
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.utils import normalize_gen_kwargs

from lidr.components.evaluate.index import METRIC_REMEDY, task_manager, whole_text_error
from lidr.components.evaluate.items.ids import item_ids
from lidr.components.evaluate.items.local_data import datasets_of, use_items
from lidr.components.evaluate.limits import DEFAULT_MAX_TOKENS
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import Meter
from lidr.components.shared.engines import (
    ChatRequest,
    Completion,
    Decoding,
    Engine,
    Likelihoods,
    ScoreRequest,
)
from lidr.components.shared.records.schema import FinishReason, Message

_IMPOSSIBLE = (-1e9, False)
"""Likelihood and greediness of a choice without a score; minus infinity would give NaN."""

_PREFERRED_FILTER = "flexible-extract"
"""The filter that counts if a task has several: it finds a number anywhere in the answer."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One item as the harness scored it."""

    task: str
    language: str
    item_id: str
    prompt: str
    target: str
    score: float
    completion: Completion


class EngineModel(LM):
    """The harness's view of an engine: it answers chats, and says how likely answer choices are.

    Args:
        engine: answers the requests.
        max_tokens: longest answer in tokens, whatever a task says; 0 if the task decides.
    """

    def __init__(self, engine: Engine, max_tokens: int = 0) -> None:
        super().__init__()
        self._engine = engine
        self._max_tokens = max_tokens
        self.completions: dict[tuple[str, int], Completion] = {}
        """What was generated, or the likeliest answer choice, by (task, document number)."""
        self._best: dict[tuple[str, int], float] = {}

    @property
    def tokenizer_name(self) -> str:
        """A name for the harness's request cache, which is not used."""
        return "lidr"

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return the chat as JSON; the engine renders it with the model's own template."""
        return json.dumps(chat_history)

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Return what the harness records about the template."""
        return "the model's own"

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Answer requests of all tasks and languages; texts end before the first stop string."""
        chats = [self._chat(request, index) for index, request in enumerate(requests)]
        completions, texts = self._engine.complete(chats), [""] * len(requests)
        meter = Meter(len(requests), "requests", "tokens")  # the model is loaded by now
        with meter.watching():
            for completion in completions:
                index = int(completion.key.rpartition("/")[2])
                self.completions[requests[index].task_name, requests[index].doc_id] = completion
                texts[index] = _before_stop(completion.text, chats[index].decoding.stop)
                meter.advance(1, completion.output_tokens)
        return texts

    def loglikelihood(
        self, requests: list[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Score answer choices; those that follow one chat are scored together.

        If the engine cannot score a chat, its choices get `_IMPOSSIBLE`, and its item fails.
        """
        parts = [list(part) for _, part in groupby(requests, key=_question)]
        scores: list[list[tuple[float, bool]]] = [[_IMPOSSIBLE] * len(p) for p in parts]
        answers = self._engine.score(map(_score_request, count(), parts))
        meter = Meter(len(requests), "answer choices", "tokens")  # the model is loaded by now
        with meter.watching():
            for answer in answers:
                number = int(answer.key)
                if not answer.failure:
                    scores[number] = list(zip(answer.logprobs, answer.greedy, strict=True))
                if parts[number][0].args[0]:  # not choices that are scored without a chat
                    self._note_choice(parts[number], answer)
                meter.advance(len(parts[number]))
        return [score for part in scores for score in part]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Refuse: the likelihood of a whole text says nothing of a chat model's answers."""
        raise whole_text_error(requests[0].task_name)

    def _note_choice(self, part: Sequence[Any], answer: Likelihoods) -> None:
        """Keep the likeliest answer choice as the model's answer to the question."""
        key = (part[0].task_name, part[0].doc_id)
        if answer.failure:
            self.completions[key] = Completion(
                answer.key, "", FinishReason.FAILED, answer.prompt_tokens, 0, answer.failure
            )
            self._best[key] = math.inf  # the item fails, whatever its other chats give
            return
        best = max(answer.logprobs)
        if best > self._best.get(key, -math.inf):
            self._best[key] = best
            text = part[answer.logprobs.index(best)].args[1].strip()
            self.completions[key] = Completion(
                answer.key, text, FinishReason.STOP, answer.prompt_tokens, 0
            )

    def _chat(self, request: Any, index: int) -> ChatRequest:
        messages, primer = _messages(request.args[0])
        decoding = self._decoding(request.args[1])
        # No group is set, so that requests of several tasks may share a batch.
        return ChatRequest(f"{request.task_name}/{index}", messages, decoding, primer)

    def _decoding(self, arguments: dict[str, Any]) -> Decoding:
        found = normalize_gen_kwargs(arguments, DEFAULT_MAX_TOKENS)
        return Decoding(
            max_tokens=self._max_tokens or found["max_gen_toks"],
            stop=tuple(stop for stop in found["until"] if stop),
            repetition_penalty=found.get("repetition_penalty", 1.0),
        )


def _question(request: Any) -> tuple[str, int, str]:
    """Return the key of the question that an answer choice is for."""
    return request.task_name, request.doc_id, request.args[0]


def _score_request(number: int, part: Sequence[Any]) -> ScoreRequest:
    context = part[0].args[0]
    messages, primer = _messages(context) if context else ([], "")
    return ScoreRequest(str(number), messages, tuple(each.args[1] for each in part), primer)


def _messages(context: str) -> tuple[list[Message], str]:
    """Return the chat in a harness context, and the start of the answer; "" if not given."""
    messages = json.loads(context)
    primed = messages[-1]["role"] == "assistant"
    primer: str = messages.pop()["content"] if primed else ""
    return messages, primer


def run_tasks(
    engine: Engine, recipe: Recipe, include_paths: Sequence[Path], toy_items: Path
) -> list[Scored]:
    """Run the recipe's tasks in every language through one engine.

    Args:
        engine: answers all requests.
        recipe: names tasks (or the harness's groups and tags of tasks), languages and limits.
        include_paths: folders with YAML tasks of our own and the user's.
        toy_items: folder of the tiny world's `<language>.jsonl`.

    Raises:
        BadInput: a task does not exist, measures likelihoods of whole texts, or gives its items no
            scores from 0 to 1. The engine is not asked if the task's metrics already show this.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    languages = recipe.evaluation.tasks_in(recipe.languages.all)
    model = EngineModel(engine, recipe.evaluation.max_tokens)
    manager = task_manager(recipe, include_paths, toy_items)
    with tempfile.TemporaryDirectory(prefix="lidr-tasks-") as folder:
        use_items(manager, languages, recipe.evaluation, Path(folder))
        results = _results(model, manager, list(languages), recipe)
    tags = {name: manager.task_index[name].tags for name in manager.all_tags}
    parts = results["group_subtasks"] | tags
    tasks = [
        (task, code) for name, code in languages.items() for task in _single_tasks(name, parts)
    ]
    ids = item_ids(results, tasks, datasets_of(manager, [task for task, _ in tasks]))
    return [
        _scored(task, manager.metrics[task], sample, ids[task][sample["doc_id"]], language, model)
        for task, language in tasks
        for sample in _one_filter(results["samples"][task])
    ]


def _results(model: LM, manager: Any, names: list[str], recipe: Recipe) -> dict[str, Any]:
    try:
        results: dict[str, Any] = simple_evaluate(
            model=model,
            tasks=names,
            task_manager=manager,
            limit=recipe.evaluation.limit or None,
            apply_chat_template=True,
            bootstrap_iters=0,
            random_seed=recipe.seed,
        )
    except UndefinedError as error:
        raise BadInput(
            f"a task's prompt uses a field that an item lacks: {error}",
            remedy="Give the files in evaluation.data the fields of the data set they replace.",
        ) from error
    return results


def _single_tasks(name: str, parts: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the tasks of a group or tag, at any depth, or the task itself."""
    if name not in parts:
        return [name]
    return [task for part in sorted(parts[name]) for task in _single_tasks(part, parts)]


def _before_stop(text: str, stop: Sequence[str]) -> str:
    return text[: min((text.find(s) for s in stop if s in text), default=len(text))]


def _one_filter(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    filters = list(dict.fromkeys(sample["filter"] for sample in samples))
    chosen = _PREFERRED_FILTER if _PREFERRED_FILTER in filters else filters[0]
    return [sample for sample in samples if sample["filter"] == chosen]


def _scored(
    task: str,
    metrics: Sequence[str],
    sample: dict[str, Any],
    item_id: str,
    language: str,
    model: EngineModel,
) -> Scored:
    messages, _ = _messages(sample["arguments"][0][0])
    completion = model.completions[task, sample["doc_id"]]
    return Scored(
        task=task,
        language=language,
        item_id=item_id,
        prompt=next(m["content"] for m in reversed(messages) if m["role"] == "user"),
        target=str(sample["target"]),
        score=0.0 if completion.failure else _score(task, metrics, sample),
        completion=completion,
    )


def _score(task: str, metrics: Sequence[str], sample: dict[str, Any]) -> float:
    """Return an item's score by the task's first metric that may score items."""
    metric = next((each for each in metrics if each in sample["metrics"]), sample["metrics"][0])
    value = sample[metric]
    if isinstance(value, Real | np.bool_) and 0 <= float(value) <= 1:
        return float(value)
    raise BadInput(
        f"task {task!r}: {metric} gives an item no score from 0 to 1", remedy=METRIC_REMEDY
    )
