"""One batch of requests decoded token by token with transformers and a KV cache.

`model.generate` gives all rows the same length limit, computes finished rows until the longest is
done, and does not report where a row ended.
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
        request: the request.
        prompt: token ids of the rendered chat.
        limit: maximum number of tokens to write.
        stop: strings that end the row.
        written: token ids so far, including the one that ended the row.
    """

    request: ChatRequest
    prompt: list[int]
    limit: int
    stop: tuple[str, ...]
    written: list[int] = field(default_factory=list)


class Ending:
    """Decides when a row has ended: by an end token, a stop string, or its limit."""

    def __init__(self, chat: ChatRenderer) -> None:
        self._chat = chat
        self._ends = chat.stops
        self._may_complete: dict[tuple[int, tuple[str, ...]], bool] = {}

    def reason(self, row: BatchRow) -> FinishReason | None:
        """Return why a row ended with its last token; None if it goes on."""
        last = row.written[-1]
        if last in self._ends:
            return FinishReason.STOP
        stops = row.stop and self._may_complete_stop(last, row.stop)
        if stops and _stop_end(self._chat.decode(row.written), row.stop) >= 0:
            return FinishReason.STOP
        return FinishReason.LENGTH if len(row.written) >= row.limit else None

    def text(self, row: BatchRow) -> str:
        """Return a row's text without the end token, up to and including its first stop string."""
        ended = row.written[-1] in self._ends
        text = self._chat.decode(row.written[:-1] if ended else row.written)
        end = _stop_end(text, row.stop)
        return text[:end] if end >= 0 else text

    def _may_complete_stop(self, token: int, stop: tuple[str, ...]) -> bool:
        """Tell whether a token may complete a stop string.

        A token with only some of a character's bytes always may: alone it has no readable text.
        """
        if (token, stop) not in self._may_complete:
            text = self._chat.decode([token])
            self._may_complete[token, stop] = "\ufffd" in text or any(
                s[-1] in text or s[-1] == " "
                for s in stop  # a token alone may lose its space
            )
        return self._may_complete[token, stop]


def _stop_end(text: str, stop: Sequence[str]) -> int:
    """Return where the first stop string of a text ends; -1 if there is none."""
    return min((text.find(s) + len(s) for s in stop if s in text), default=-1)


class GenerationBatch:
    """Rows that share a KV cache; a row leaves as soon as it ends.

    Args:
        model: a causal language model of transformers.
        rows: the rows to decode.
        ending: decides when a row has ended.
        decoding: how tokens are chosen.
        longrope_threshold: as `models.rotary.longrope_threshold`. A row that crosses it must be
            alone in its batch.
    """

    def __init__(
        self,
        model: Any,
        rows: Sequence[BatchRow],
        ending: Ending,
        decoding: Decoding,
        longrope_threshold: int = 0,
    ) -> None:
        self.rows = list(rows)
        self._model = model
        self._longrope_threshold = longrope_threshold
        self._ending = ending
        self._sampler = _Sampler(rows, decoding, model.device)
        width = max(len(row.prompt) for row in rows)
        pads = [width - len(row.prompt) for row in rows]
        # A row is padded with its own first token, which the mask hides from attention and which
        # the repetition penalty counts anyway, so that results do not depend on the batch.
        ids = [[row.prompt[0]] * pad + row.prompt for row, pad in zip(rows, pads, strict=True)]
        mask = [[0] * pad + [1] * (width - pad) for pad in pads]
        self._ids = torch.tensor(ids, device=model.device)
        self._mask = torch.tensor(mask, device=model.device)
        self._begin()

    @torch.inference_mode()
    def step(self) -> list[tuple[BatchRow, FinishReason]]:
        """Write one token to every row; return the rows that ended with it, with reasons."""
        threshold = self._longrope_threshold
        if threshold and self._cache.get_seq_length() <= threshold < self._ids.shape[1]:
            self._begin()  # the cached keys were rotated by the short factors
        logits = self._model(
            input_ids=self._input,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        tokens = self._sampler(self._ids, logits.float())
        for row, token in zip(self.rows, tokens.tolist(), strict=True):
            row.written.append(token)
        reasons = [self._ending.reason(row) for row in self.rows]
        ended = [(row, reason) for row, reason in zip(self.rows, reasons, strict=True) if reason]
        self._append(tokens)
        if ended:
            self._keep([index for index, reason in enumerate(reasons) if reason is None])
        return ended

    def _begin(self) -> None:
        """Empty the cache, so that the next step reads everything."""
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
        self._sampler.keep(kept)
        self._cache.reorder_cache(index)  # works for every kind of layer
        self._input, self._positions = self._input[index], self._positions[index]
        self._ids, self._mask = self._ids[index], self._mask[index]


class _Sampler:
    """Chooses each row's next token: the most likely, or one sampled by the Gumbel-max trick.

    Adding Gumbel noise to the logits and taking the largest is sampling (Maddison et al. 2014).
    Each row has its own seeded generator, so its tokens do not depend on its batch.
    """

    def __init__(self, rows: Sequence[BatchRow], decoding: Decoding, device: torch.device) -> None:
        self._processors = LogitsProcessorList()
        if decoding.repetition_penalty != 1:
            self._processors.append(RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
        self._generators: list[torch.Generator] = []
        if decoding.temperature > 0:
            self._processors.append(TemperatureLogitsWarper(decoding.temperature))
            if decoding.top_k:
                self._processors.append(TopKLogitsWarper(decoding.top_k))
            if decoding.top_p < 1:
                self._processors.append(TopPLogitsWarper(decoding.top_p))
            self._generators = [
                torch.Generator(device).manual_seed(row.request.seed) for row in rows
            ]

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = self._processors(ids, scores)
        if self._generators:
            noise = [
                torch.empty_like(scores[0]).exponential_(generator=each)
                for each in self._generators
            ]
            scores = scores - torch.stack(noise).log()
        return scores.argmax(dim=-1)

    def keep(self, kept: Sequence[int]) -> None:
        """Drop the generators of all rows except these."""
        if self._generators:
            self._generators = [self._generators[index] for index in kept]
