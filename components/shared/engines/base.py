"""What an inference engine is to lidr: chat requests in, completions out as they finish."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lidr.components.shared.records.schema import Failure, Message


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to decode (see `Sampling` in the recipe), plus strings that end a completion."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat to be continued.

    Attributes:
        key: names the request among those of one call.
        messages: the chat, rendered with the tokenizer's own template.
        decoding: how the answer is decoded.
        primer: first characters of the assistant's turn, not part of the completion.
        seed: of the request's own random stream; the same whatever runs beside it.
        group: requests of one group stand side by side and may share a batch; an engine that works
            in batches keeps groups apart, so that results do not depend on what else is asked.
    """

    key: str
    messages: Sequence[Message]
    decoding: Decoding = Decoding()
    primer: str = ""
    seed: int = 0
    group: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote: `text` includes a stop string that ended it, special tokens left out.

    `finish_reason` is a `FinishReason`; `failure` is set where there is no usable text.
    `output_tokens` counts what the model wrote, the token that ended it included.
    """

    key: str
    text: str
    finish_reason: str
    prompt_tokens: int
    output_tokens: int
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Texts of which a model says how likely they are.

    Attributes:
        key: names the request among those of one call.
        messages: the chat they may continue; empty for text that follows nothing.
        continuations: the texts, at least one.
        primer: first characters of the assistant's turn, before each of them.
    """

    key: str
    messages: Sequence[Message]
    continuations: tuple[str, ...]
    primer: str = ""


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """What a model says of a request's continuations, in their order.

    `logprobs` are natural logarithms of P(continuation | chat), summed over tokens; `greedy` tells
    whether greedy decoding would write it. Both are empty where `failure` is set.
    """

    key: str
    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...]
    prompt_tokens: int
    failure: Failure | None = None


class Engine(Protocol):
    """An engine with one model loaded."""

    def complete(self, requests: Iterable[ChatRequest | None]) -> Iterator[Completion]:
        """Yield one completion for each request, as they finish, in any order.

        A request the engine cannot serve gives a completion with a failure.

        Args:
            requests: read only as far as the engine has room, so that there may be millions, and
                new ones may follow from completions. None means no request is ready yet: the engine
                asks again after its next completion.

        Raises:
            EngineFailed: the engine stopped working.
        """

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Likelihoods]:
        """Yield the likelihoods for each request, in any order.

        White space at the end of a rendered chat counts as part of the continuation, as
        lm-evaluation-harness has it.

        Raises:
            EngineFailed: the engine stopped working, or its server cannot score text.
        """

    def stats(self) -> dict[str, float]:
        """Return what the engine measured of itself, e.g. `prefix_cache_hit_rate`."""

    def close(self) -> None:
        """Free the model's memory."""
