"""The interface of inference engines: chat requests in, completions out as they finish."""

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
    """One chat to continue.

    Attributes:
        key: unique among the requests of one call.
        messages: the chat, to be rendered with the model's chat template.
        decoding: how the answer is decoded.
        primer: first characters of the assistant's turn, not part of the completion.
        seed: seed of the request's own random stream: other requests do not change its answer.
        group: consecutive requests of the same group may share a batch. Engines that work in
            batches keep groups apart, so that results do not depend on other groups.
    """

    key: str
    messages: Sequence[Message]
    decoding: Decoding = Decoding()
    primer: str = ""
    seed: int = 0
    group: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote: `text` without special tokens, with the stop string that ended it.

    `finish_reason` is a `FinishReason`; `output_tokens` includes the token that ended the turn;
    `failure` is what is wrong with the text, if anything.
    """

    key: str
    text: str
    finish_reason: str
    prompt_tokens: int
    output_tokens: int
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Texts whose likelihoods are wanted.

    Attributes:
        key: unique among the requests of one call.
        messages: the chat that the texts continue; empty for texts on their own.
        continuations: the texts, at least one.
        primer: first characters of the assistant's turn, before each text.
    """

    key: str
    messages: Sequence[Message]
    continuations: tuple[str, ...]
    primer: str = ""


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """How likely a request's continuations are, in their order.

    `logprobs` are ln P(continuation | chat), summed over tokens; `greedy` tells whether greedy
    decoding would write the continuation. Both are empty if `failure` is set.
    """

    key: str
    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...]
    prompt_tokens: int
    failure: Failure | None = None


class Engine(Protocol):
    """An engine with one model loaded."""

    def complete(self, requests: Iterable[ChatRequest | None]) -> Iterator[Completion]:
        """Yield one completion for each request, in the order in which they finish.

        A request that the engine cannot serve gives a completion with a failure.

        Args:
            requests: read only as far as the engine has room, so there may be millions, and new
                ones may depend on completions. None means that no request is ready yet; the engine
                tries again after its next completion.

        Raises:
            EngineFailed: the engine stopped working, or refuses every request.
        """

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Likelihoods]:
        """Yield the likelihoods for each request, in any order.

        White space at the end of a rendered chat counts as part of the continuation, as in
        lm-evaluation-harness.

        Raises:
            EngineFailed: the engine stopped working, or its server cannot score text.
        """

    def stats(self) -> dict[str, float]:
        """Return the engine's own measurements, e.g. `prefix_cache_hit_rate`."""

    def close(self) -> None:
        """Free the model's memory."""
