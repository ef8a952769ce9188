"""Preference pairs as tokens, exactly as the inference engine reads and writes them.

The prompt is rendered by the engine's own renderer, so training sees what inference sees. A
response is encoded as plain text: control tokens spelt out in it stay text. What the template puts
after a response (the end of the turn) is learnt too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.engines.base import ChatRequest
from lidr.components.shared.engines.chat import ChatRenderer
from lidr.components.shared.records.samples import pair_key
from lidr.components.shared.records.schema import Message, PreferencePair

_MARK = "\ue000response\ue001"


Overflow = Literal["refuse", "drop"]
"""What happens to a pair whose prompt leaves no room for a response."""


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A pair as token ids; `chosen` and `rejected` follow the prompt and are never empty."""

    key: str
    prompt_id: str
    language: str
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def tokens(self) -> int:
        """Tokens of the pair, the prompt counted once: what a flat row holds."""
        return len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def longest(self) -> int:
        """Tokens of the longer side with its prompt."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True)
class TokenPairs:
    """All pairs that fit, and per language how many there are, were cut and were dropped."""

    pairs: list[TokenPair]
    languages: dict[str, dict[str, int]]

    @property
    def digest(self) -> str:
        """SHA-256 of all pairs' keys and tokens, in order."""
        sha = hashlib.sha256()
        for pair in self.pairs:
            sha.update(pair.key.encode())
            for part in (pair.prompt, pair.chosen, pair.rejected):
                sha.update(np.array([len(part), *part], dtype="<i8").tobytes())
        return sha.hexdigest()


def check_pairs(records: Sequence[PreferencePair], file: str) -> None:
    """Refuse pairs that cannot be trained on as they are.

    Args:
        records: the pairs.
        file: where they come from, for the error.

    Raises:
        BadInput: a chosen text is empty, or a pair is there twice.
    """
    empty = [pair_key(record) for record in records if not record.chosen[-1]["content"].strip()]
    if empty:
        raise BadInput(
            f"{len(empty)} pairs have an empty chosen text: {_some(empty)}",
            file=file,
            remedy="Make the pairs again; pairing never keeps an empty chosen text.",
        )
    counts = Counter(map(pair_key, records))
    twice = [key for key, count in counts.items() if count > 1]
    if twice:
        raise BadInput(
            f"{len(twice)} pairs are there more than once: {_some(twice)}",
            file=file,
            remedy="Give each pair its own prompt_id, language, other_language and kind.",
        )


def tokenize_pairs(
    records: Sequence[PreferencePair],
    tokenizer: Any,
    max_length: int,
    overflow: Overflow = "refuse",
    file: str = "",
) -> TokenPairs:
    """Tokenize pairs; a side that is too long is cut.

    Args:
        records: the pairs.
        tokenizer: of the model that is trained.
        max_length: most tokens of prompt and response together.
        overflow: refuse or drop a pair whose prompt leaves no room for a response.
        file: where the pairs come from, for errors.

    Raises:
        BadInput: a prompt is too long (or all are, where they are dropped).
    """
    encoder = _PairEncoder(tokenizer)
    kept: list[TokenPair] = []
    long: list[str] = []
    counts: dict[str, Counter[str]] = {}
    for record in records:
        count = counts.setdefault(record.language, Counter(pairs=0, cut=0, dropped=0))
        pair = encoder.encode(record)
        room = max_length - len(pair.prompt)
        if room < 1:
            count["dropped"] += 1
            long.append(pair.key)
            continue
        count["pairs"] += 1
        count["cut"] += max(len(pair.chosen), len(pair.rejected)) > room
        kept.append(_cut(pair, room))
    if long and (overflow == "refuse" or not kept):
        raise BadInput(
            f"the prompts of {len(long)} of {len(records)} pairs have {max_length} tokens or more "
            f"and leave no room for a response: {_some(long)}",
            file=file,
            remedy="Raise training.max_length, or set training.prompt_overflow to drop.",
        )
    return TokenPairs(kept, {code: dict(count) for code, count in sorted(counts.items())})


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:5]) + (", ..." if len(keys) > 5 else "")


def _cut(pair: TokenPair, room: int) -> TokenPair:
    return replace(pair, chosen=pair.chosen[:room], rejected=pair.rejected[:room])


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
            pair_key(pair),
            pair.prompt_id,
            pair.language,
            self._prompt(pair.prompt),
            self._chat.encode(pair.chosen[-1]["content"]) + end,
            self._chat.encode(pair.rejected[-1]["content"]) + end,
        )

    def _prompt(self, messages: list[Message]) -> list[int]:
        key = repr(messages)  # the dominant language asks the same once per other language
        if key not in self._prompts:
            self._prompts[key] = self._chat.render(ChatRequest("", messages))
        return self._prompts[key]

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
