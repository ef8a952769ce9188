"""An assistant's turn as a template writes it: what stands before the text, and what ends it.

The end is what the template writes after an assistant's text, up to and with the token at which
generation stops. Generation, training and evaluation stop at the same tokens: those that the
tokenizer, config.json and generation_config.json name, and the one that the template ends a turn
with.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.chat.template import MARK, ChatTemplate
from lidr.components.shared.records.kinds import Message

_NEXT: Message = {"role": "user", "content": "\ue000next\ue001"}


@dataclass(frozen=True)
class Turn:
    """How a template writes an assistant's turn after a certain kind of chat.

    Attributes:
        direct: whether a finished turn begins as one does that the model is to go on with.
        head: where so, what stands between that beginning and the text.
        end: what ends it; "" where the template writes no end.
        tokens: of the end.
    """

    direct: bool
    head: str
    end: str
    tokens: tuple[int, ...]


def named_ends(folder: Path) -> frozenset[int]:
    """Return the end tokens that a model's configuration files name."""
    found: set[object] = set()
    for name in ("config.json", "generation_config.json"):
        file = folder / name
        settings = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        for part in (settings, settings.get("text_config") or {}):
            named = part.get("eos_token_id")
            found |= {*named} if isinstance(named, list) else {named}
    return frozenset(each for each in found if isinstance(each, int))


class TurnReader:
    """Finds out how turns are written and how they end.

    Args:
        tokenizer: a transformers tokenizer of the `tokenizers` kind.
        template: its chat template.
        named: end tokens that the model's files name, the tokenizer's own included.

    Raises:
        BadInput: nothing ends a turn.
    """

    def __init__(self, tokenizer: Any, template: ChatTemplate, named: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._named = frozenset(named)
        self._added = {
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
        self.stops = self._named | {first.tokens[-1]}

    def turn(self, roles: tuple[str, ...]) -> Turn:
        """Return how a turn is written after messages of these roles."""
        if roles not in self._turns:
            self._turns[roles] = self._read(roles)
        return self._turns[roles]

    def _read(self, roles: Sequence[str]) -> Turn:
        said = [{"role": role, "content": f"\ue000{n}\ue001"} for n, role in enumerate(roles)]
        answer = {"role": "assistant", "content": MARK}
        begun = self._template.render(said)
        before, found, after = self._template.render([*said, answer], generate=False).rpartition(
            MARK
        )
        if not found:
            before, after = begun, ""
        direct = before.startswith(begun)
        end, tokens = self._end(after, self._after_with_next([*said, answer]))
        return Turn(direct, before[len(begun) :] if direct else "", end, tokens)

    def _after_with_next(self, messages: Sequence[Message]) -> str | None:
        """Return what stands between an answer and the next question; None where none may come."""
        try:
            text = self._template.render([*messages, _NEXT], generate=False)
        except BadInput:
            return None
        _, found, after = text.rpartition(MARK)
        return after.partition(_NEXT["content"])[0] if found else None

    def _end(self, last: str, middle: str | None) -> tuple[str, tuple[int, ...]]:
        """Return the end of a turn, from what stands behind the last one and behind another one."""
        shared = last if middle is None else _shared_start(last, middle)
        tries = (
            (shared, self._named),  # the same wherever the turn stands, and generation stops at it
            (shared, self._added),  # a control token that nothing but the template names
            (last, self._named),  # as in gpt-oss, whose last turn ends differently
            (last, self._added),
            (middle or "", self._named),  # as in GLM-4, where the next role ends a turn
        )
        for text, ends in tries:
            if found := self._up_to(text, ends):
                return found
        own = self._tokenizer.eos_token_id
        fallback = own if own is not None else min(self._named, default=None)
        return "", () if fallback is None else (fallback,)

    def _up_to(self, text: str, ends: Collection[int]) -> tuple[str, tuple[int, ...]] | None:
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
