"""Likelihoods of given texts with transformers, in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from lidr.components.shared.core.events import tick
from lidr.components.shared.engines.scoring import Pass, Score

_MAX_LOGITS = 1 << 28
"""Logits of a batch; 1 GiB in float32."""


class Scorer:
    """Scores passes with a model.

    Args:
        model: a causal language model of transformers, on its device.
        batch_tokens: maximum number of tokens in a batch, including padding.
        longrope_threshold: as `models.rotary.longrope_threshold`.
    """

    def __init__(self, model: Any, batch_tokens: int, longrope_threshold: int = 0) -> None:
        self._model = model
        self._batch_tokens = batch_tokens
        self._longrope_threshold = longrope_threshold
        self._vocabulary: int = model.config.get_text_config().vocab_size

    def scores(self, passes: Iterable[Pass]) -> Iterator[tuple[Pass, list[Score]]]:
        """Yield each pass with the scores of its targets."""
        for batch in self._batches(passes):
            scores = self._forward(batch)
            tick(sum(len(_input_ids(one)) for one in batch))
            yield from zip(batch, scores, strict=True)

    def _batches(self, passes: Iterable[Pass]) -> Iterator[list[Pass]]:
        """Yield batches, longest first, so that a lack of memory shows at once."""
        batch: list[Pass] = []
        width = positions = 0
        for one in sorted(passes, key=lambda one: -len(_input_ids(one))):
            width = max(width, len(_input_ids(one)))
            positions = max(positions, _positions(one))
            mixed = width > self._longrope_threshold >= len(_input_ids(one))
            if batch and (mixed or not self._fits(len(batch) + 1, width, positions)):
                yield batch
                batch, width, positions = [], len(_input_ids(one)), _positions(one)
            batch.append(one)
        if batch:
            yield batch

    def _fits(self, count: int, width: int, positions: int) -> bool:
        logits = count * positions * self._vocabulary
        return count * width <= self._batch_tokens and logits <= _MAX_LOGITS

    @torch.inference_mode()
    def _forward(self, batch: Sequence[Pass]) -> list[list[Score]]:
        """Return the scores of each pass's targets."""
        rows = [_input_ids(one) for one in batch]
        width = max(map(len, rows))
        pads = [width - len(row) for row in rows]
        padded = [row[:1] * pad + row for row, pad in zip(rows, pads, strict=True)]
        seen = [[0] * pad + [1] * (width - pad) for pad in pads]
        ids = torch.tensor(padded, device=self._model.device)
        mask = torch.tensor(seen, device=self._model.device)
        logits = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            logits_to_keep=max(map(_positions, batch)),
            use_cache=False,
        ).logits.float()
        return [_scores(one, own) for one, own in zip(batch, logits, strict=True)]


def _input_ids(one: Pass) -> list[int]:
    """Return what the model reads: the context, then all but the last token of a continuation."""
    return one.context if one.together else one.context + one.targets[:-1]


def _positions(one: Pass) -> int:
    """Return how many positions at the end of a pass predict its targets."""
    return 1 if one.together else len(one.targets)


def _scores(one: Pass, logits: torch.Tensor) -> list[Score]:
    """Return the targets' scores from the logits of the last positions, (positions, vocabulary)."""
    last = logits[-_positions(one) :]
    targets = torch.tensor(one.targets, device=logits.device)
    logps = last.log_softmax(dim=-1).expand(len(targets), -1)
    values = logps.gather(1, targets[:, None])[:, 0]
    greedy = targets == last.argmax(dim=-1)
    return list(zip(values.tolist(), greedy.tolist(), strict=True))
