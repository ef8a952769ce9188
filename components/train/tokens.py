"""Preference pairs as tokens, exactly as the inference engine reads and writes them.

The prompt is rendered by the engine's own renderer, so training sees what inference sees. A
response is encoded as plain text: control tokens spelt out in it stay text. What the template puts
after a response (the end of the turn) is learnt too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.shared.engines.base import ChatRequest
from components.shared.engines.chat import ChatRenderer
from components.shared.errors import BadInput
from components.shared.records import Message, PreferencePair
from components.shared.text import valid_unicode

_MARK = "\ue000response\ue001"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A pair as token ids; `chosen` and `rejected` follow the prompt and are never empty."""

    prompt_id: str
    language: str
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def tokens(self) -> int:
        """Tokens that a pass over both sides reads."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


@dataclass(frozen=True)
class TokenPairs:
    """All pairs that fit, and per language how many there are, were cut and were dropped."""

    pairs: list[TokenPair]
    languages: dict[str, dict[str, int]]


def tokenize_pairs(
    records: Sequence[PreferencePair], tokenizer: Any, max_length: int
) -> TokenPairs:
    """Tokenize pairs; a side that is too long is cut, a prompt that leaves no room drops its pair.

    Args:
        records: the pairs.
        tokenizer: of the model that is trained.
        max_length: most tokens of prompt and response together.

    Raises:
        BadInput: no pair is left.
    """
    encoder = _PairEncoder(tokenizer)
    kept: list[TokenPair] = []
    counts: dict[str, Counter[str]] = {}
    for record in records:
        count = counts.setdefault(record.language, Counter(pairs=0, cut=0, dropped=0))
        pair = encoder.encode(record)
        room = max_length - len(pair.prompt)
        if room < 1:
            count["dropped"] += 1
            continue
        count["pairs"] += 1
        count["cut"] += max(len(pair.chosen), len(pair.rejected)) > room
        kept.append(_cut(pair, room))
    if not kept:
        raise BadInput(
            f"every prompt has {max_length} tokens or more, so no pair is left to train on",
            remedy="Raise training.max_length.",
        )
    return TokenPairs(kept, {code: dict(count) for code, count in sorted(counts.items())})


def _cut(pair: TokenPair, room: int) -> TokenPair:
    return TokenPair(
        pair.prompt_id, pair.language, pair.prompt, pair.chosen[:room], pair.rejected[:room]
    )


class _PairEncoder:
    """Encodes pairs with one tokenizer; the end of a turn is looked up once per prompt shape."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._chat = ChatRenderer(tokenizer)
        self._prompts: dict[str, list[int]] = {}
        self._ends: dict[int, list[int]] = {}

    def encode(self, pair: PreferencePair) -> TokenPair:
        end = self._end(pair.prompt)
        return TokenPair(
            pair.prompt_id,
            pair.language,
            self._prompt(pair.prompt),
            self._text(pair.chosen[-1]["content"]) + end,
            self._text(pair.rejected[-1]["content"]) + end,
        )

    def _prompt(self, messages: list[Message]) -> list[int]:
        key = repr(messages)  # the dominant language asks the same once per other language
        if key not in self._prompts:
            self._prompts[key] = self._chat.render(ChatRequest("", messages))
        return self._prompts[key]

    def _text(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer(
            valid_unicode(text), add_special_tokens=False, split_special_tokens=True
        )["input_ids"]
        return tokens

    def _end(self, prompt: list[Message]) -> list[int]:
        """Return the tokens that end a response: the template's, up to its first control token."""
        if len(prompt) not in self._ends:
            self._ends[len(prompt)] = self._find_end(prompt)
        return self._ends[len(prompt)]

    def _find_end(self, prompt: list[Message]) -> list[int]:
        text: str = self._tokenizer.apply_chat_template(
            [*prompt, {"role": "assistant", "content": _MARK}], tokenize=False
        )
        rest = text.rpartition(_MARK)[2]
        tokens = self._tokenizer(rest, add_special_tokens=False)["input_ids"]
        control = set(self._tokenizer.all_special_ids)
        for position, token in enumerate(tokens):
            if token in control:
                return list(tokens[: position + 1])
        return [self._tokenizer.eos_token_id]
