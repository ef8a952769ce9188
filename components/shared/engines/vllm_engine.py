"""The engine for GPUs (and, with its CPU build, for tests): vLLM with continuous batching."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from lidr.components.shared.config.generation import VllmOptions
from lidr.components.shared.config.machine import EngineSettings
from lidr.components.shared.core.errors import EngineFailed
from lidr.components.shared.core.gpu import gpu_count, gpu_present, parallel_sizes
from lidr.components.shared.engines.base import (
    ChatRequest,
    Completion,
    Decoding,
    Likelihoods,
    ScoreRequest,
)
from lidr.components.shared.engines.finishing import (
    FirstAnswers,
    Refusals,
    Refused,
    completion_of,
    failed_completion,
    finish_reason,
    stop_strings,
)
from lidr.components.shared.engines.scoring import Pass, Scoring
from lidr.components.shared.engines.vllm_scoring import score_sampling, scores_of
from lidr.components.shared.engines.vllm_start import (
    lora_arguments,
    lora_request,
    prepare_environment,
    request_errors,
    start_errors,
    wake_when_core_dies,
)
from lidr.components.shared.models.chat import PLAIN_CHAT, ChatRenderer, ChatSettings
from lidr.components.shared.records.schema import Failure, FinishReason

Rendered = tuple[ChatRequest, list[int]]
Request = TypeVar("Request")
Answer = TypeVar("Answer")

_END: Any = object()

_REQUESTS_PER_SLOT = 2
"""Requests given to vLLM for each one that it can run at once, so that its queue never runs dry and
memory does not grow with the number of requests."""

_START_REMEDY = (
    "See vLLM's log above. If GPU memory is short, give the step more GPUs or raise "
    "engine.gpu_memory_utilization in the profile, or lower model.max_length in the recipe or "
    "engine.max_num_seqs in the profile."
)
_RETRY_REMEDY = "Run again: finished work is kept."


class VllmEngine:
    """Runs vLLM; a request is added whenever another one finishes.

    Args:
        folder: the model's files.
        dtype: precision as in the recipe.
        max_length: context in tokens; 0 for the model's own.
        seed: the engine's seed; requests have their own.
        options: vLLM settings from the recipe that change its output.
        machine: the profile's settings for this machine.
        adapter: a LoRA adapter for all requests.
        chat: how chats are rendered.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dtype: str,
        max_length: int,
        seed: int,
        options: VllmOptions,
        machine: EngineSettings,
        adapter: Path | None = None,
        chat: ChatSettings = PLAIN_CHAT,
    ) -> None:
        prepare_environment()
        from vllm import LLM

        on_gpu = gpu_present()
        parallel, stages = parallel_sizes(gpu_count())
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
                use_tqdm_on_load=False,
                trust_remote_code=False,
                load_format="safetensors",
                tensor_parallel_size=parallel,
                pipeline_parallel_size=stages,
                **lora_arguments(adapter),
                **options.arguments,
                **machine.vllm_arguments,
            )
        except start_errors() as error:
            raise EngineFailed(f"vLLM did not start: {error}", remedy=_START_REMEDY) from error
        self._lora = lora_request(adapter)
        self._engine: Any = self._llm.llm_engine
        self._chat = ChatRenderer.load(folder, chat)
        config = self._engine.vllm_config
        self._context: int = config.model_config.max_model_len
        self._window: int = _REQUESTS_PER_SLOT * config.scheduler_config.max_num_seqs
        self._prompt_tokens = self._cached_tokens = 0
        self._dead = False
        self._refusals = Refusals("vLLM")
        self._sampling_of = cache(self._make_sampling)
        self._closed = Event()
        wake_when_core_dies(self._engine.engine_core, self._closed)

    def complete(self, requests: Iterable[ChatRequest | None]) -> Iterator[Completion]:
        rendered = self._chat.render_in_batches(requests)
        try:
            yield from self._stream(rendered, self._admit, self._completion)
        finally:
            self._refusals.report()

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Likelihoods]:
        scoring = Scoring(self._chat, self._context - 1)  # vLLM always generates at least one token
        for one, scores in self._stream(scoring.passes(requests), self._admit_pass, scores_of):
            yield from scoring.collect(one, scores)
        yield from scoring.refused

    def _stream(
        self,
        requests: Iterable[Request | None],
        admit: Callable[[str, Request], Answer | Refused[Answer] | None],
        result: Callable[[Request, Any], Answer],
    ) -> Iterator[Answer]:
        """Yield the answers to requests as they arrive; see `Engine.complete`.

        Args:
            requests: None means that no request is ready yet.
            admit: adds a request to the engine under a number, or returns the answer to one that
                is not served.
            result: makes the answer from a request and vLLM's output.
        """
        source = enumerate(requests)
        waiting: dict[str, Request] = {}
        first = FirstAnswers[Answer](self._refusals)
        has_more = True
        try:
            while has_more or waiting:
                while has_more and len(waiting) < self._window:
                    number, request = next(source, (0, _END))
                    if request is _END or request is None:
                        has_more = request is None
                        break
                    answer = admit(str(number), request)
                    if answer is None:
                        waiting[str(number)] = request
                        yield from first.accept()
                    elif isinstance(answer, Refused):
                        yield from first.take(answer)
                    else:
                        yield answer
                if not waiting:  # the next request may depend on what is held back
                    yield from first.release()
                for output in self._step() if waiting else ():
                    if output.finished:
                        _require_answer(output)
                        yield result(waiting.pop(output.request_id), output)
        finally:
            if waiting:  # the caller has stopped iterating, or a call above raised
                self._abort(list(waiting))

    def stats(self) -> dict[str, float]:
        rate = self._cached_tokens / max(self._prompt_tokens, 1)
        return {"prefix_cache_hit_rate": round(rate, 4)}

    def close(self) -> None:
        self._closed.set()
        self._engine.engine_core.shutdown()

    def _admit(self, number: str, rendered: Rendered) -> Completion | Refused[Completion] | None:
        """Add a request to the engine, or return the answer to one that it does not serve."""
        request, tokens = rendered
        if len(tokens) >= self._context:
            return failed_completion(request, len(tokens), Failure.PROMPT_TOO_LONG)
        try:
            self._add(number, tokens, self._sampling(request, len(tokens)))
        except request_errors() as error:
            failed = failed_completion(request, len(tokens), Failure.ENGINE_REJECTED)
            return Refused(failed, str(error))
        return None

    def _admit_pass(self, number: str, one: Pass) -> None:
        prompt = one.context + ([] if one.together else one.targets)
        try:
            self._add(number, prompt, score_sampling(one))
        except request_errors() as error:
            raise EngineFailed(
                f"vLLM refuses to score a text: {error}",
                remedy="Set generation.engine to transformers, or leave the task out of "
                "evaluation.tasks.",
            ) from error

    def _add(self, number: str, tokens: list[int], sampling: Any) -> None:
        try:
            (prompt,) = self._engine.renderer.render_cmpl([{"prompt_token_ids": tokens}])
            self._engine.add_request(number, prompt, sampling, lora_request=self._lora)
        except request_errors():
            raise
        except Exception as error:  # a dead engine shows as different exceptions
            raise self._failure(error) from error

    def _abort(self, numbers: list[str]) -> None:
        try:
            self._engine.abort_request(numbers)
        except Exception:
            if not self._dead:
                raise

    def _step(self) -> list[Any]:
        try:
            outputs: list[Any] = self._engine.step()
        except Exception as error:  # a dead engine shows as different exceptions
            raise self._failure(error) from error
        return outputs

    def _failure(self, error: Exception) -> EngineFailed:
        self._dead = True
        return EngineFailed(f"vLLM died: {error}", remedy=_RETRY_REMEDY)

    def _sampling(self, request: ChatRequest, prompt_tokens: int) -> Any:
        decoding = request.decoding
        sampling = copy(self._sampling_of(decoding, stop_strings(self._chat, request)))
        sampling.max_tokens = min(decoding.max_tokens, self._context - prompt_tokens)
        sampling.seed = request.seed if decoding.temperature > 0 else None
        return sampling

    def _make_sampling(self, decoding: Decoding, stop: tuple[str, ...]) -> Any:
        """Return vLLM's settings, which take 50 us to make; requests get shallow copies."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            top_k=decoding.top_k,
            repetition_penalty=decoding.repetition_penalty,
            stop=list(stop),
            stop_token_ids=sorted(self._chat.stops),
            include_stop_str_in_output=bool(stop),
            detokenize=bool(stop),
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
        )

    def _completion(self, rendered: Rendered, output: Any) -> Completion:
        self._prompt_tokens += len(output.prompt_token_ids)
        self._cached_tokens += output.num_cached_tokens or 0
        best = output.outputs[0]
        reason = finish_reason(best.finish_reason)
        stopped = reason is FinishReason.STOP
        if stopped and isinstance(best.stop_reason, str):
            text = best.text  # it ends with the stop string
        else:
            tokens = list(best.token_ids)
            ended = stopped and tokens[-1] in self._chat.stops
            text = self._chat.decode(tokens[:-1] if ended else tokens)
        return completion_of(
            self._chat,
            rendered[0],
            text,
            reason,
            len(output.prompt_token_ids),
            len(best.token_ids),
        )


def _require_answer(output: Any) -> None:
    try:
        finish_reason(output.outputs[0].finish_reason)
    except ValueError as error:
        raise EngineFailed(f"vLLM failed at a request: {error}", remedy=_RETRY_REMEDY) from error
