"""An engine of transformers whose model writes what it is told to, whatever its weights say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from lidr.components.shared.engines import ChatRequest, Completion, Likelihoods, ScoreRequest
from tests.zoo.truth import asked, written

Says = Callable[[ChatRequest, str], str]
"""What the model writes, end token included, for a request and the prompt as the model read it."""


class Parrot:
    """Stands where the model stood, one row at a time, and writes a script."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.begin: Callable[[list[int]], list[int]] = list
        self._left: Iterator[int] = iter(())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, input_ids: Any, **given: Any) -> Any:
        output = self.model(input_ids=input_ids, **given)
        if input_ids.shape[1] > 1:
            self._left = iter(self.begin(input_ids[0].tolist()))
        output.logits = output.logits.clone().fill_(-1.0)
        output.logits[0, -1, next(self._left)] = 1.0
        return output


class ScriptedEngine:
    """Asks an engine one request at a time, whose model writes what `says` returns.

    Attributes:
        prompts: token ids that the model read, by the request's key.
        written: those that it wrote.
    """

    def __init__(self, engine: Any, tokenizer: Any, says: Says) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._says = says
        self._parrot = Parrot(engine._model)
        engine._model = self._parrot
        self.prompts: dict[str, list[int]] = {}
        self.written: dict[str, list[int]] = {}

    def __enter__(self) -> ScriptedEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine._model = self._parrot.model

    def complete(self, requests: Iterable[ChatRequest | None]) -> Iterator[Completion]:
        """Yield each request's answer before the next one is read."""
        for request in requests:
            if request is not None:
                self._parrot.begin = lambda read, one=request: self._script(one, read)
                yield from self._engine.complete([request])

    def _script(self, request: ChatRequest, read: Sequence[int]) -> list[int]:
        self.prompts[request.key] = list(read)
        text = self._says(request, self._tokenizer.decode(read))
        tokens = written(self._tokenizer, asked(self._tokenizer, "x") + request.primer, text)
        self.written[request.key] = tokens
        return tokens

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Likelihoods]:
        """Score as the engine does."""
        return self._engine.score(requests)  # type: ignore[no-any-return]

    def stats(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    def close(self) -> None:
        """Free the model."""
        self._engine.close()
