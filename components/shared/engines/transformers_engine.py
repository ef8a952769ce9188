"""The engine for CPUs and single GPUs: Hugging Face transformers with length-sorted batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from lidr.components.shared.core.device import best_device
from lidr.components.shared.core.errors import EngineFailed
from lidr.components.shared.core.events import emit, tick
from lidr.components.shared.core.threads import fit_threads
from lidr.components.shared.engines.base import (
    ChatRequest,
    Completion,
    Decoding,
    Likelihoods,
    ScoreRequest,
)
from lidr.components.shared.engines.batch import BatchRow, Ending, GenerationBatch
from lidr.components.shared.engines.finishing import completion_of, failed_completion, stop_strings
from lidr.components.shared.engines.likelihood import Scorer
from lidr.components.shared.engines.scoring import Scoring
from lidr.components.shared.models.chat import PLAIN_CHAT, ChatRenderer, ChatSettings
from lidr.components.shared.models.context import context_length
from lidr.components.shared.models.rotary import check_context, longrope_threshold
from lidr.components.shared.records.schema import Failure


class TransformersEngine:
    """Batches requests of similar length, up to a number of tokens, and decodes with a KV cache.

    Results do not depend on shards or interruptions: batches never mix groups of requests, and
    every request samples from its own seeded stream.

    Args:
        folder: the model's files.
        dtype: precision as in the recipe; `auto` is bfloat16 on a GPU and float32 on a CPU.
        max_length: context in tokens; 0 for the model's own.
        batch_tokens: maximum number of prompt and output tokens in a batch, including padding.
        adapter: a LoRA adapter; merged into float32 weights, kept beside 16-bit ones.
        chat: how chats are rendered.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dtype: str,
        max_length: int,
        batch_tokens: int,
        adapter: Path | None = None,
        chat: ChatSettings = PLAIN_CHAT,
    ) -> None:
        device = best_device()
        if dtype == "auto":
            dtype = "bfloat16" if device == "cuda" else "float32"
        self._chat = ChatRenderer.load(folder, chat)
        with _no_progress_bar():
            self._model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=False
            )
        if adapter:
            exact = self._model.dtype == torch.float32
            self._model = (merge_adapter if exact else attach_adapter)(self._model, adapter)
        fit_threads(self._model.num_parameters())
        self._model.eval().to(device)
        self._context: int = max_length or context_length(self._model.config, folder)
        self._batch_tokens = batch_tokens
        self._longrope_threshold = longrope_threshold(self._model.config)
        self._noted_small_groups = False
        _tick_per_layer(self._model)
        check_context(self._model.config, self._context)

    def complete(self, requests: Iterable[ChatRequest | None]) -> Iterator[Completion]:
        largest, width = 0, 1
        for number, group in enumerate(_groups(requests)):
            decoding = group[0].decoding
            rows: list[BatchRow] = []
            for request in group:
                prompt = self._chat.render(request)
                room = self._context - len(prompt)
                if room > 0:
                    limit = min(decoding.max_tokens, room)
                    rows.append(BatchRow(request, prompt, limit, stop_strings(self._chat, request)))
                else:
                    yield failed_completion(request, len(prompt), Failure.PROMPT_TOO_LONG)
            largest = max(largest, len(rows))
            width = max([width, *(len(row.prompt) + row.limit for row in rows)])
            if number and group[0].group and not self._noted_small_groups:
                self._note_small_groups(largest, self._batch_tokens // width)
            for part in self._split_by_longrope(rows):
                for batch in self._batches(part):
                    yield from self._decode(batch, decoding)

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Likelihoods]:
        scoring = Scoring(self._chat, self._context)
        scorer = Scorer(self._model, self._batch_tokens, self._longrope_threshold)
        try:
            for one, scores in scorer.scores(scoring.passes(requests)):
                yield from scoring.collect(one, scores)
        except RuntimeError as error:
            raise _failure(error) from error
        yield from scoring.refused

    def stats(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        del self._model

    def _note_small_groups(self, largest: int, room: int) -> None:
        """Emit a note, once, if batches are small because of groups, not of memory.

        Args:
            largest: number of requests in the largest group so far.
            room: how many requests as long as the longest fit into a batch.
        """
        if 0 < 2 * largest <= room:
            self._noted_small_groups = True
            emit(
                "note",
                message=f"batches hold only {largest} requests, the most that are asked at once, "
                f"though engine.batch_tokens has room for {room}: in a rollout, raise "
                "generation.chunk_size",
            )

    def _split_by_longrope(self, rows: Sequence[BatchRow]) -> list[list[BatchRow]]:
        """Keep rows apart that must not share a batch: its longest row sets longrope's factors."""
        threshold = self._longrope_threshold
        short = [row for row in rows if len(row.prompt) + row.limit <= threshold]
        long = [row for row in rows if len(row.prompt) > threshold]
        crossing = [
            [row] for row in rows if len(row.prompt) <= threshold < len(row.prompt) + row.limit
        ]
        return [part for part in (short, long, *crossing) if part]

    def _batches(self, rows: Sequence[BatchRow]) -> Iterator[list[BatchRow]]:
        """Yield batches, longest first, so that a lack of memory shows at once."""
        batch: list[BatchRow] = []
        width = 0
        for row in sorted(rows, key=lambda row: (-len(row.prompt), row.request.key)):
            width = max(width, len(row.prompt) + row.limit)
            if batch and width * (len(batch) + 1) > self._batch_tokens:
                yield batch
                batch, width = [], len(row.prompt) + row.limit
            batch.append(row)
        if batch:
            yield batch

    def _decode(self, rows: Sequence[BatchRow], decoding: Decoding) -> Iterator[Completion]:
        ending = Ending(self._chat)
        batch = GenerationBatch(self._model, rows, ending, decoding, self._longrope_threshold)
        while batch.rows:
            writing = len(batch.rows)
            try:
                finished = batch.step()
            except RuntimeError as error:  # torch raises it, also when memory runs out
                raise _failure(error) from error
            tick(writing)
            for row, reason in finished:
                text, sizes = ending.text(row), (len(row.prompt), len(row.written))
                yield completion_of(self._chat, row.request, text, reason, *sizes)


def _tick_per_layer(model: Any) -> None:
    """Report progress after each layer: one pass over long prompts may take minutes."""
    count = model.config.get_text_config().num_hidden_layers
    stacks = (part for part in model.modules() if isinstance(part, torch.nn.ModuleList))
    for layer in next((stack for stack in stacks if len(stack) == count), ()):
        layer.register_forward_hook(lambda *_: tick())


def merge_adapter(model: Any, adapter: Path) -> Any:
    """Return a model with a LoRA adapter added to its weights (Hu et al., arXiv 2106.09685)."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, adapter).merge_and_unload()


def attach_adapter(model: Any, adapter: Path) -> Any:
    """Return a model with a LoRA adapter beside its weights, which may be too coarse to hold it."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, adapter).get_base_model()


def _groups(requests: Iterable[ChatRequest | None]) -> Iterator[list[ChatRequest]]:
    """Yield runs of requests with the same group and decoding; None ends a run, too."""
    for _, run in groupby(requests, key=lambda each: each and (each.group, each.decoding)):
        if group := [request for request in run if request]:
            yield group


def _failure(error: RuntimeError) -> EngineFailed:
    return EngineFailed(
        f"transformers died: {error}",
        remedy="If memory ran out, lower engine.batch_tokens in the profile. "
        "Run again: finished work is kept.",
    )


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Hide transformers' progress bar while it loads weights."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
