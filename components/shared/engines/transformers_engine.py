"""The engine for CPUs and single GPUs: Hugging Face transformers with length-sorted batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.shared.engines.base import ChatRequest, Completion, Decoding
from components.shared.engines.chat import ChatRenderer
from components.shared.records import Failure, FinishReason

if TYPE_CHECKING:
    import torch

Rendered = tuple[ChatRequest, list[int]]


class TransformersEngine:
    """Batches requests of like length, up to a budget of tokens, and decodes with a KV cache.

    Results do not depend on shards or interruptions: batches never cross a request's group, and
    every request samples from its own seeded stream.

    Args:
        folder: the model's files.
        dtype: precision as in the recipe; `auto` is bfloat16 on a GPU and float32 on a CPU.
        max_length: context in tokens; 0 is the model's own.
        batch_tokens: largest sum of prompt and output tokens in a batch.
    """

    def __init__(self, folder: Path, *, dtype: str, max_length: int, batch_tokens: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        if dtype == "auto":
            dtype = "bfloat16" if self._device == "cuda" else "float32"
        self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._chat = ChatRenderer(self._tokenizer)
        self._model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True
        )
        self._model.eval().to(self._device)
        self._context = max_length or self._model.config.max_position_embeddings
        self._budget = batch_tokens
        self._pad = self._tokenizer.pad_token_id
        if self._pad is None:
            self._pad = self._tokenizer.eos_token_id

    def complete(self, requests: Sequence[ChatRequest], decoding: Decoding) -> Iterator[Completion]:
        for _, group in groupby(requests, key=lambda request: request.group):
            fitting: list[Rendered] = []
            for request in group:
                tokens = self._chat.render(request)
                if len(tokens) >= self._context:
                    yield _too_long(request, len(tokens))
                else:
                    fitting.append((request, tokens))
            for batch in self._batches(fitting, decoding.max_tokens):
                yield from self._decode(batch, decoding)

    def close(self) -> None:
        del self._model

    def _batches(self, rendered: list[Rendered], max_tokens: int) -> Iterator[list[Rendered]]:
        """Yield batches, longest first: the first one shows whether memory suffices."""
        batch: list[Rendered] = []
        for item in sorted(rendered, key=lambda item: (-len(item[1]), item[0].key)):
            width = len(batch[0][1] if batch else item[1]) + max_tokens
            if batch and width * (len(batch) + 1) > self._budget:
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch

    def _decode(self, batch: list[Rendered], decoding: Decoding) -> Iterator[Completion]:
        import torch

        width = len(batch[0][1])
        ids = torch.tensor([[self._pad] * (width - len(t)) + t for _, t in batch])
        mask = torch.tensor([[0] * (width - len(t)) + [1] * len(t) for _, t in batch])
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=ids.to(self._device),
                attention_mask=mask.to(self._device),
                generation_config=self._config(decoding, width),
                logits_processor=_sampler(batch, decoding),
                tokenizer=self._tokenizer if decoding.stop else None,
            )
        ends = self._end_tokens()
        for (request, prompt), row in zip(batch, output[:, width:].tolist(), strict=True):
            yield self._completion(request, prompt, row, ends, decoding)

    def _config(self, decoding: Decoding, width: int) -> Any:
        from transformers import GenerationConfig

        return GenerationConfig(
            do_sample=False,
            max_new_tokens=min(decoding.max_tokens, self._context - width),
            repetition_penalty=decoding.repetition_penalty,
            pad_token_id=self._pad,
            eos_token_id=sorted(self._end_tokens()),
            stop_strings=list(decoding.stop) or None,
        )

    def _end_tokens(self) -> set[int]:
        """Return the ids that end a turn, from the model's generation config and tokenizer."""
        named = self._model.generation_config.eos_token_id
        ends = {named} if isinstance(named, int) else set(named or ())
        return ends | {self._tokenizer.eos_token_id}

    def _completion(
        self,
        request: ChatRequest,
        prompt: list[int],
        row: list[int],
        ends: set[int],
        decoding: Decoding,
    ) -> Completion:
        length = next((i for i, token in enumerate(row) if token in ends), len(row))
        stopped = length < len(row)
        while length and row[length - 1] == self._pad:  # a stop string ended the row earlier
            length -= 1
        text = self._tokenizer.decode(row[:length], skip_special_tokens=True)
        cut = min((text.find(s) + len(s) for s in decoding.stop if s in text), default=-1)
        if cut >= 0:
            text, stopped = text[:cut], True
        reason = FinishReason.STOP if stopped else FinishReason.LENGTH
        return Completion(request.key, text, reason, len(prompt), length)


def _too_long(request: ChatRequest, tokens: int) -> Completion:
    return Completion(request.key, "", FinishReason.FAILED, tokens, 0, Failure.PROMPT_TOO_LONG)


def _sampler(batch: list[Rendered], decoding: Decoding) -> Any:
    """Return logits processors that sample by the Gumbel-max trick, or none for greedy decoding.

    Adding Gumbel noise and taking the largest is sampling (Maddison et al. 2014); with one seeded
    generator per row a request's tokens do not depend on the batch it is in.
    """
    from transformers import LogitsProcessor, LogitsProcessorList, TopPLogitsWarper

    if decoding.temperature == 0:
        return None

    import torch

    generators = [torch.Generator().manual_seed(request.seed) for request, _ in batch]

    class GumbelNoise(LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            noise = torch.stack(
                [torch.empty(scores.shape[1]).exponential_(generator=g) for g in generators]
            )
            return scores / decoding.temperature - noise.log().to(scores)

    class Nucleus(TopPLogitsWarper):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            kept = super().__call__(input_ids, scores / decoding.temperature)
            return kept * decoding.temperature

    processors = [Nucleus(decoding.top_p)] if decoding.top_p < 1 else []
    return LogitsProcessorList([*processors, GumbelNoise()])
