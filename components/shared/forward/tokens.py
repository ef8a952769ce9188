"""Preference pairs as tokens, exactly as the inference engine reads and writes them.

The engines' renderer renders prompts and responses, so training sees what inference sees. Control
tokens that are spelt out in a response stay text. The end of the turn is learnt, too, except after
a response that was cut.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import some_of
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.records.samples import CutSide, pair_key
from lidr.components.shared.records.schema import Message, PreferencePair


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A pair as token ids; `chosen` and `rejected` follow the prompt and are never empty.

    Texts are arrays of C ints: every rank holds all pairs, and a list takes 36 bytes a token.
    """

    key: str
    prompt_id: str
    language: str
    prompt: array[int]
    chosen: array[int]
    rejected: array[int]

    @property
    def tokens(self) -> int:
        """Tokens of the pair in a flat row, the prompt counted once."""
        return len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def longest(self) -> int:
        """Tokens of the longer side with its prompt."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True)
class TokenPairs:
    """All pairs that fit, and per language the numbers of `pairs`, `cut` and `dropped`."""

    pairs: list[TokenPair]
    languages: dict[str, dict[str, int]]

    @property
    def digest(self) -> str:
        """SHA-256 of all pairs' keys and tokens, in order."""
        sha = hashlib.sha256()
        for pair in self.pairs:
            sha.update(pair.key.encode())
            for part in (pair.prompt, pair.chosen, pair.rejected):
                sha.update(len(part).to_bytes(8, "little"))
                sha.update(np.asarray(part, dtype="<i8").tobytes())
        return sha.hexdigest()


def check_pairs(records: Sequence[PreferencePair], file: str) -> None:
    """Refuse pairs that cannot be trained on as they are.

    Args:
        records: the pairs.
        file: where they come from, for the error.

    Raises:
        BadInput: a chosen text is empty, or a pair appears twice.
    """
    empty = [pair_key(record) for record in records if not record.chosen[-1]["content"].strip()]
    if empty:
        raise BadInput(
            f"{len(empty)} pairs have an empty chosen text: {some_of(empty)}",
            file=file,
            remedy="Make the pairs again; pairing never keeps an empty chosen text.",
        )
    counts = Counter(map(pair_key, records))
    twice = [key for key, count in counts.items() if count > 1]
    if twice:
        raise BadInput(
            f"{len(twice)} pairs appear more than once: {some_of(twice)}",
            file=file,
            remedy="Give each pair its own prompt_id, language, other_language and kind.",
        )


def tokenize_pairs(
    records: Sequence[PreferencePair],
    chat: ChatRenderer,
    max_length: int,
    overflow: Literal["refuse", "drop"] = "refuse",
    file: str = "",
    cut: Collection[CutSide] = (),
    *,
    by_model: bool = False,
) -> TokenPairs:
    """Tokenize pairs; a side that is too long is cut.

    Args:
        records: the pairs.
        chat: the model's chat renderer.
        max_length: most tokens of prompt and response together.
        overflow: refuse or drop a pair whose prompt leaves no room for a response.
        file: where the pairs come from, for errors.
        cut: sides whose text ends where max_tokens cut it.
        by_model: whether `max_length` is the model's context, which no setting can raise.

    Raises:
        BadInput: a prompt is too long (or all are, where they are dropped).
    """
    encoder = _PairEncoder(chat, cut)
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
        kept.append(replace(pair, chosen=pair.chosen[:room], rejected=pair.rejected[:room]))
    if long and (overflow == "refuse" or not kept):
        remedy = "Raise training.max_length"
        if by_model:
            remedy = f"The model reads {max_length} tokens at once: shorten the prompts"
        raise BadInput(
            f"the prompts of {len(long)} of {len(records)} pairs have {max_length} tokens or more "
            f"and leave no room for a response: {some_of(long)}",
            file=file,
            remedy=remedy
            + (", or set training.prompt_overflow to drop." if overflow == "refuse" else "."),
        )
    return TokenPairs(kept, {code: dict(count) for code, count in sorted(counts.items())})


class _PairEncoder:
    """Encodes pairs; a prompt is rendered once, however many pairs it has."""

    def __init__(self, chat: ChatRenderer, cut: Collection[CutSide]) -> None:
        self._chat = chat
        self._cut = {(side.pair, side.side) for side in cut}
        self._prompts: dict[str, array[int]] = {}

    def encode(self, pair: PreferencePair) -> TokenPair:
        return TokenPair(
            pair_key(pair),
            pair.prompt_id,
            pair.language,
            self._prompt(pair.prompt),
            self._side(pair, "chosen"),
            self._side(pair, "rejected"),
        )

    def _side(self, pair: PreferencePair, side: Literal["chosen", "rejected"]) -> array[int]:
        text = (pair.chosen if side == "chosen" else pair.rejected)[-1]["content"]
        ended = (pair_key(pair), side) not in self._cut or not text  # no side may be empty
        return array("i", self._chat.encode_answer(pair.prompt, text, ended=ended))

    def _prompt(self, messages: list[Message]) -> array[int]:
        key = repr(messages)  # the dominant language has a pair per other language
        if key not in self._prompts:
            self._prompts[key] = array("i", self._chat.render_answer(messages))
        return self._prompts[key]
