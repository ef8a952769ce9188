"""An engine that loads its model at the first request, and measures its speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from lidr.components.shared.engines.base import (
    ChatRequest,
    Completion,
    Engine,
    Likelihoods,
    ScoreRequest,
)


class DeferredEngine:
    """Opens an engine at its first use, so that problems with the requests show first.

    Args:
        open_engine: loads the engine; a 70B model takes minutes.
    """

    def __init__(self, open_engine: Callable[[], Engine]) -> None:
        self._open_engine = open_engine
        self._engine: Engine | None = None
        self._tokens = 0
        self._seconds = 0.0

    def complete(self, requests: Iterable[ChatRequest | None]) -> Iterator[Completion]:
        """Answer as the engine does."""
        return self._timed(self._ready().complete(requests))

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Likelihoods]:
        """Score as the engine does."""
        return self._ready().score(requests)

    def stats(self) -> dict[str, float]:
        """Return the engine's own figures, and `tokens_per_second` once there are completions."""
        own = self._engine.stats() if self._engine else {}
        if not self._tokens:
            return own
        return own | {"tokens_per_second": round(self._tokens / max(self._seconds, 1e-9), 1)}

    def close(self) -> None:
        """Free the model's memory, if it was ever loaded."""
        if self._engine:
            self._engine.close()
            self._engine = None

    def _timed(self, completions: Iterator[Completion]) -> Iterator[Completion]:
        began = time.monotonic()
        try:
            for completion in completions:
                self._tokens += completion.output_tokens
                yield completion
        finally:
            self._seconds += time.monotonic() - began

    def _ready(self) -> Engine:
        if self._engine is None:
            self._engine = self._open_engine()
        return self._engine
