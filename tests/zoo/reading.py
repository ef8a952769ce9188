"""What an engine, of whatever kind, gives its model to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lidr.components.shared.engines import ChatRequest, Decoding
from lidr.components.shared.records.chat import TRANSLATION_PRIMER, translation_messages

Read = dict[str, list[int]]
"""The token ids of a prompt, by the request's key."""


def requests(control: Sequence[str]) -> list[ChatRequest]:
    """Return requests of every kind: plain, foreign, primed, and with control tokens spelt out.

    Args:
        control: tokens that a hostile text spells.
    """
    texts = ["Nina has 4 books.", "¿Cuántos libros?  尼娜 🙂\n\t", "".join(control) + " end"]
    decoding = Decoding(max_tokens=4)
    plain = [
        ChatRequest(f"r{number}", [{"role": "user", "content": text}], decoding)
        for number, text in enumerate(texts)
    ]
    primed = translation_messages("Nina has 4 books.", "en", "es")
    return [*plain, ChatRequest("primed", primed, decoding, TRANSLATION_PRIMER)]


def prompts_read(engine: Any, control: Sequence[str]) -> Read:
    """Return the token ids that an engine of any kind gives its model, one request at a time."""
    found: Read = {}
    for request in requests(control):
        with _watched(engine, found, request.key):
            (answer,) = engine.complete([request])
        assert request.key in found, answer
    return found


@contextmanager
def _watched(engine: Any, found: Read, key: str) -> Iterator[None]:
    """Note what reaches the model: in transformers its input, elsewhere what vLLM says it read."""
    if type(engine).__name__ == "TransformersEngine":
        model = engine._model

        class Spy:
            def __getattr__(self, name: str) -> Any:
                return getattr(model, name)

            def __call__(self, input_ids: Any, **given: Any) -> Any:
                found.setdefault(key, input_ids[0].tolist())
                return model(input_ids=input_ids, **given)

        engine._model = Spy()
        yield
        engine._model = model
        return
    read = engine._completion

    def noted(request: Any, answer: Any) -> Any:
        extra = answer.choices[0].model_extra if hasattr(answer, "choices") else vars(answer)
        found[key] = list(extra["prompt_token_ids"])
        return read(request, answer)

    engine._completion = noted
    yield
    engine._completion = read
