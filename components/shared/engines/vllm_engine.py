"""The engine for GPUs (and, with its CPU build, for tests): vLLM with continuous batching."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from components.shared.engines.base import ChatRequest, Completion, Decoding
from components.shared.engines.chat import ChatRenderer
from components.shared.errors import EngineFailed
from components.shared.records import Failure, FinishReason


class VllmEngine:
    """One vLLM engine: all requests are one stream, admitted as others finish.

    Args:
        folder: the model's files.
        dtype: precision as in the recipe.
        max_length: context in tokens; 0 is the model's own.
        seed: of the engine; requests carry their own.
    """

    def __init__(self, folder: Path, *, dtype: str, max_length: int, seed: int) -> None:
        _prepare_environment()
        from vllm import LLM

        on_gpu = gpu_present()
        try:
            self._llm = LLM(
                model=str(folder),
                dtype=dtype if on_gpu or dtype != "auto" else "float32",
                max_model_len=max_length or None,
                seed=seed % 2**31,
                enforce_eager=not on_gpu,
                enable_prefix_caching=True,
                disable_log_stats=True,
                generation_config="vllm",
            )
        except (RuntimeError, ValueError) as error:
            raise EngineFailed(f"vLLM did not start: {error}") from error
        self._chat = ChatRenderer(self._llm.get_tokenizer())
        self._context: int = self._llm.llm_engine.model_config.max_model_len
        self._ends = _end_tokens(folder)

    def complete(self, requests: Sequence[ChatRequest], decoding: Decoding) -> Iterator[Completion]:
        engine = self._llm.llm_engine
        for number, request in enumerate(requests):
            tokens = self._chat.render(request)
            if len(tokens) >= self._context:
                yield Completion(
                    request.key, "", FinishReason.FAILED, len(tokens), 0, Failure.PROMPT_TOO_LONG
                )
                continue
            engine.add_request(
                str(number),
                {"prompt_token_ids": tokens},
                self._sampling(decoding, request.seed, len(tokens)),
            )
        while engine.has_unfinished_requests():
            for output in self._step():
                if output.finished:
                    yield _completion(requests[int(output.request_id)].key, output)

    def close(self) -> None:
        self._llm.llm_engine.engine_core.shutdown()

    def _step(self) -> list[Any]:
        try:
            outputs: list[Any] = self._llm.llm_engine.step()
        except Exception as error:  # vLLM raises its engine's failure as several types
            raise EngineFailed(f"vLLM died: {error}") from error
        return outputs

    def _sampling(self, decoding: Decoding, seed: int, prompt_tokens: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            repetition_penalty=decoding.repetition_penalty,
            max_tokens=min(decoding.max_tokens, self._context - prompt_tokens),
            stop=list(decoding.stop),
            stop_token_ids=self._ends,
            include_stop_str_in_output=bool(decoding.stop),
            seed=seed if decoding.temperature > 0 else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )


def gpu_present() -> bool:
    """Tell whether torch sees a GPU."""
    import torch

    return bool(torch.cuda.is_available())


def _prepare_environment() -> None:
    """Set what vLLM reads at import, where the user has not."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    if not gpu_present():
        os.environ.setdefault("VLLM_TARGET_DEVICE", "cpu")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")


def _end_tokens(folder: Path) -> list[int]:
    """Return the ids that end a turn, from the model's generation config."""
    from transformers import GenerationConfig

    if not (folder / "generation_config.json").exists():
        return []
    named = GenerationConfig.from_pretrained(folder).eos_token_id
    return [named] if isinstance(named, int) else list(named or ())


def _completion(key: str, output: Any) -> Completion:
    best = output.outputs[0]
    reason = FinishReason.STOP if best.finish_reason == "stop" else FinishReason.LENGTH
    return Completion(key, best.text, reason, len(output.prompt_token_ids), len(best.token_ids))
