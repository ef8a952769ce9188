"""An assistant's turn as a template writes it: what precedes the text, and what ends it.

The end is what the template writes after the text, including the token at which generation stops.
Generation, training and evaluation stop at the same tokens: the EOS tokens of the tokenizer,
config.json and generation_config.json, and the token with which the template ends a turn.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.chat.template import ANSWER, PLACEHOLDER, ChatTemplate
from lidr.components.shared.records.kinds import Message

_NEXT: Message = {"role": "user", "content": "\ue000next\ue001"}


@dataclass(frozen=True)
class Turn:
    """How a template writes an assistant's turn after messages of certain roles.

    Attributes:
        direct: whether a finished chat starts with the text that the model continues from.
        head: if direct, what comes between that text and the answer; else "".
        end: what ends the turn; "" if the template writes no end.
        tokens: token ids of the end.
    """

    direct: bool
    head: str
    end: str
    tokens: tuple[int, ...]


def eos_token_ids(folder: Path) -> frozenset[int]:
    """Return the EOS token ids in a model's configuration files."""
    found: list[object] = []
    for name in ("config.json", "generation_config.json"):
        file = folder / name
        settings = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        for part in (settings, settings.get("text_config") or {}):
            ids = part.get("eos_token_id")
            found += ids if isinstance(ids, list) else [ids]
    return frozenset(each for each in found if type(each) is int)  # true is an int to Python


class TurnReader:
    """Finds out how turns are written and how they end.

    Args:
        tokenizer: a transformers tokenizer based on `tokenizers`.
        template: its chat template.
        eos_ids: EOS token ids of the model's files and the tokenizer.

    Raises:
        BadInput: nothing ends a turn.
    """

    def __init__(self, tokenizer: Any, template: ChatTemplate, eos_ids: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._eos_ids = frozenset(eos_ids)
        self._added_ids = {
            number for number, token in tokenizer.added_tokens_decoder.items() if str(token).strip()
        }
        self._turns: dict[tuple[str, ...], Turn] = {}
        first = self.turn(("user",))
        if not first.tokens:
            raise BadInput(
                "nothing ends the model's turns: neither its chat template, nor its tokenizer, nor "
                "its configuration names a token for it",
                remedy="Name eos_token_id in generation_config.json.",
            )
        self.stops = self._eos_ids | {first.tokens[-1]}

    def turn(self, roles: tuple[str, ...]) -> Turn:
        """Return how a turn is written after messages of these roles."""
        if roles not in self._turns:
            self._turns[roles] = self._read_turn(roles)
        return self._turns[roles]

    def _read_turn(self, roles: Sequence[str]) -> Turn:
        chat = [{"role": role, "content": f"\ue000{n}\ue001"} for n, role in enumerate(roles)]
        start, answered = self._template.render(chat), [*chat, ANSWER]
        finished = self._template.render(answered, generate=False)
        before, found, after = finished.rpartition(PLACEHOLDER)
        if not found:
            before, after = start, ""
        direct = before.startswith(start)
        end, tokens = self._find_end(after, self._before_next_question(answered))
        return Turn(direct, before[len(start) :] if direct else "", end, tokens)

    def _before_next_question(self, messages: Sequence[Message]) -> str | None:
        """Return the text between an answer and the next question; None if none can follow."""
        try:
            text = self._template.render([*messages, _NEXT], generate=False)
        except BadInput:
            return None
        _, found, after = text.rpartition(PLACEHOLDER)
        return after.partition(_NEXT["content"])[0] if found else None

    def _find_end(self, last: str, middle: str | None) -> tuple[str, tuple[int, ...]]:
        """Return the end of a turn, given the texts after the last answer and an earlier one."""
        shared = last if middle is None else _shared_start(last, middle)
        tries = (
            (shared, self._eos_ids),  # the same for every turn, and generation stops at it
            (shared, self._added_ids),  # a control token that only the template names
            (last, self._eos_ids),  # as in gpt-oss, whose last turn ends differently
            (last, self._added_ids),
            (middle or "", self._eos_ids),  # as in GLM-4, where the next role ends a turn
        )
        for text, ends in tries:
            if found := self._cut_at(text, ends):
                return found
        own = self._tokenizer.eos_token_id
        fallback = own if own is not None else min(self._eos_ids, default=None)
        return "", () if fallback is None else (fallback,)

    def _cut_at(self, text: str, ends: Collection[int]) -> tuple[str, tuple[int, ...]] | None:
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        tokens = encoded["input_ids"]
        for place, token in enumerate(tokens):
            if token in ends:
                end = encoded["offset_mapping"][place][1]
                return text[:end], tuple(tokens[: place + 1])
        return None


def _shared_start(one: str, other: str) -> str:
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(character for character, _ in alike)
