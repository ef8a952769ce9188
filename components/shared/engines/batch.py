"""One batch of requests decoded token by token with transformers and a KV cache.

`model.generate` would do the same, but it gives all rows one length limit, keeps computing finished
rows until the longest is done, and does not say where a row ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from lidr.components.shared.engines.base import ChatRequest, Decoding
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.records.schema import FinishReason


@dataclass(slots=True)
class BatchRow:
    """A request being decoded.

    Attributes:
        request: what is asked.
        prompt: its token ids.
        limit: most tokens it may write.
        stop: strings that end it.
        written: token ids so far, the one that ended it included.
    """

    request: ChatRequest
    prompt: list[int]
    limit: int
    stop: tuple[str, ...]
    written: list[int] = field(default_factory=list)


class Ending:
    """Knows when a row has ended: an end token, a stop string, or its limit.

    Args:
        chat: turns tokens into text.
    """

    def __init__(self, chat: ChatRenderer) -> None:
        self._chat = chat
        self._ends = chat.stops
        self._closing: dict[tuple[int, tuple[str, ...]], bool] = {}

    def reason(self, row: BatchRow) -> FinishReason | None:
        """Return why a row ended with its last token, or None."""
        last = row.written[-1]
        if last in self._ends:
            return FinishReason.STOP
        closes = row.stop and self._may_close(last, row.stop)
        if closes and _cut(self._chat.text(row.written), row.stop) >= 0:
            return FinishReason.STOP
        return FinishReason.LENGTH if len(row.written) >= row.limit else None

    def text(self, row: BatchRow) -> str:
        """Return a row's text without the end token, up to and with its first stop string."""
        ended = row.written[-1] in self._ends
        text = self._chat.text(row.written[:-1] if ended else row.written)
        cut = _cut(text, row.stop)
        return text[:cut] if cut >= 0 else text

    def _may_close(self, token: int, stop: tuple[str, ...]) -> bool:
        """Tell whether a token can complete a stop string (or is part of a character)."""
        if (token, stop) not in self._closing:
            text = self._chat.text([token])
            closing = "\ufffd" in text or any(s[-1] in text for s in stop)
            self._closing[token, stop] = closing
        return self._closing[token, stop]


def _cut(text: str, stop: Sequence[str]) -> int:
    """Return where the first stop string of a text ends; -1 where there is none."""
    return min((text.find(s) + len(s) for s in stop if s in text), default=-1)


class GenerationBatch:
    """Rows that share a KV cache; a row that ends leaves at once.

    Args:
        model: a causal language model of transformers.
        rows: what to decode.
        ending: decides when a row has ended.
        decoding: how tokens are chosen.
        switch: tokens above which the model's longrope has other factors; 0 for none. A row that
            gets there while it is written must be alone.
    """

    def __init__(
        self,
        model: Any,
        rows: Sequence[BatchRow],
        ending: Ending,
        decoding: Decoding,
        switch: int = 0,
    ) -> None:
        self.rows = list(rows)
        self._model = model
        self._switch = switch
        self._ending = ending
        self._choice = _Choice(rows, decoding, model.device)
        width = max(len(row.prompt) for row in rows)
        pads = [width - len(row.prompt) for row in rows]
        # A row is padded with its own first token: the mask hides it from attention, and to the
        # repetition penalty it is no news, whatever the batch.
        ids = [[row.prompt[0]] * pad + row.prompt for row, pad in zip(rows, pads, strict=True)]
        mask = [[0] * pad + [1] * (width - pad) for pad in pads]
        self._ids = torch.tensor(ids, device=model.device)
        self._mask = torch.tensor(mask, device=model.device)
        self._begin()

    @torch.inference_mode()
    def step(self) -> list[tuple[BatchRow, FinishReason]]:
        """Write one token to every row and return the rows that ended with it."""
        if self._switch and self._cache.get_seq_length() <= self._switch < self._ids.shape[1]:
            self._begin()  # what is in the cache was rotated by the other factors
        logits = self._model(
            input_ids=self._input,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        tokens = self._choice(self._ids, logits.float())
        for row, token in zip(self.rows, tokens.tolist(), strict=True):
            row.written.append(token)
        reasons = [self._ending.reason(row) for row in self.rows]
        ended = [(row, reason) for row, reason in zip(self.rows, reasons, strict=True) if reason]
        self._append(tokens)
        if ended:
            self._keep([index for index, reason in enumerate(reasons) if reason is None])
        return ended

    def _begin(self) -> None:
        """Have the next step read everything, with an empty cache."""
        self._cache = DynamicCache(config=self._model.config)
        self._input = self._ids
        self._positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)

    def _append(self, tokens: torch.Tensor) -> None:
        self._input = tokens[:, None]
        self._ids = torch.cat([self._ids, self._input], dim=1)
        self._mask = torch.cat([self._mask, torch.ones_like(self._input)], dim=1)
        self._positions = self._positions[:, -1:] + 1

    def _keep(self, kept: list[int]) -> None:
        self.rows = [self.rows[index] for index in kept]
        index = torch.tensor(kept, dtype=torch.long, device=self._ids.device)
        self._choice.keep(kept)
        self._cache.reorder_cache(index)  # for caches of every kind of layer
        self._input, self._positions = self._input[index], self._positions[index]
        self._ids, self._mask = self._ids[index], self._mask[index]


class _Choice:
    """Chooses each row's next token: the likeliest, or one sampled by the Gumbel-max trick.

    Adding Gumbel noise and taking the largest is sampling (Maddison et al. 2014); with one seeded
    generator per row a request's tokens do not depend on the batch it is in.
    """

    def __init__(self, rows: Sequence[BatchRow], decoding: Decoding, device: torch.device) -> None:
        self._processors = LogitsProcessorList()
        if decoding.repetition_penalty != 1:
            self._processors.append(RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
        self._streams: list[torch.Generator] = []
        if decoding.temperature > 0:
            self._processors.append(TemperatureLogitsWarper(decoding.temperature))
            if decoding.top_k:
                self._processors.append(TopKLogitsWarper(decoding.top_k))
            if decoding.top_p < 1:
                self._processors.append(TopPLogitsWarper(decoding.top_p))
            self._streams = [torch.Generator(device).manual_seed(row.request.seed) for row in rows]

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = self._processors(ids, scores)
        if self._streams:
            noise = [
                torch.empty_like(scores[0]).exponential_(generator=stream)
                for stream in self._streams
            ]
            scores = scores - torch.stack(noise).log()
        return scores.argmax(dim=-1)

    def keep(self, kept: Sequence[int]) -> None:
        """Forget the streams of all rows but these."""
        if self._streams:
            self._streams = [self._streams[index] for index in kept]
