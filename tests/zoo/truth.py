"""What is right for a model, from transformers alone: nothing here asks lidr."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

FIRST_DAY = datetime(2026, 11, 29, 12)
SECOND_DAY = datetime(2027, 1, 5, 12)


@contextmanager
def day(when: datetime) -> Iterator[None]:
    """Let the clock that chat templates read say another day."""
    from transformers.utils import chat_template_utils

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return when.replace(tzinfo=tz)

    real = chat_template_utils.datetime
    chat_template_utils.datetime = Clock
    try:
        yield
    finally:
        chat_template_utils.datetime = real


def turn(tokenizer: Any, end: str, prompt: str, answer: str) -> list[int]:
    """Return the template's own rendering of a prompt and its answer, up to the end token."""
    chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    text = _rendered(tokenizer, chat)
    if end not in text.rpartition(answer)[2]:  # the next turn's first token ends this one
        text = _rendered(tokenizer, [*chat, {"role": "user", "content": "next"}])
    before, answered, after = text.rpartition(answer)
    return encode(tokenizer, before + answered + after.partition(end)[0] + end)


def asked(tokenizer: Any, prompt: str) -> str:
    """Return the text that a model reads before it answers."""
    return _rendered(tokenizer, [{"role": "user", "content": prompt}], add_generation_prompt=True)


def _rendered(tokenizer: Any, chat: list[dict[str, str]], **arguments: Any) -> str:
    """Return what a template writes on the first day, thoughts off where it has a switch."""
    with day(FIRST_DAY):
        text: str = tokenizer.apply_chat_template(
            chat, tokenize=False, enable_thinking=False, **arguments
        )
    return text


def written(tokenizer: Any, before: str, text: str) -> list[int]:
    """Return the token ids of what a model writes behind a text."""
    whole, prompt = encode(tokenizer, before + text), encode(tokenizer, before)
    assert whole[: len(prompt)] == prompt, "the test's text merges into what stands before it"
    return whole[len(prompt) :]


def encode(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of a rendered text."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def load(folder: Path) -> Any:
    """Return a model as transformers loads it, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def log_probability(model: Any, prompt: Sequence[int], response: Sequence[int]) -> float:
    """Return the log-probability of a response, the sequence alone in its batch."""
    import torch

    ids = torch.tensor([[*prompt, *response]])
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    logps = logits[0].float().log_softmax(-1)[len(prompt) - 1 : -1]
    return float(logps.gather(1, ids[0, len(prompt) :, None]).sum())


def greedy(model: Any, prompt: Sequence[int], ends: Sequence[int], limit: int) -> list[int]:
    """Return what a model writes token by token, each from a pass over the whole text so far.

    Not `generate`: that of transformers 5.19 goes astray where a text passes the length at which
    longrope's factors change; it is right where a text stays below it or begins above.
    """
    import torch

    ids = list(prompt)
    with torch.inference_mode():
        while len(ids) < len(prompt) + limit and (len(ids) == len(prompt) or ids[-1] not in ends):
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
            ids.append(int(logits.argmax()))
    return ids[len(prompt) :]
