"""A model's chats as tokens: prompts, given answers, pairs; and what the model wrote as text.

One renderer serves generation, translation, evaluation and training of a run, whatever the engine.
A pair's tokens are those of the template's own rendering of the whole chat.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from lidr.components.shared.core.text import valid_unicode
from lidr.components.shared.models.chat.encoding import TextEncoder
from lidr.components.shared.models.chat.protocols import Chat, GivenAnswers
from lidr.components.shared.models.chat.settings import PLAIN_CHAT, ChatSettings
from lidr.components.shared.models.chat.template import ChatTemplate
from lidr.components.shared.models.chat.thoughts import COMMON, final_channel, strip_thoughts
from lidr.components.shared.models.chat.turns import Turn, TurnReader, named_ends
from lidr.components.shared.records.kinds import Failure, Message

_AHEAD = 32
"""Requests that are encoded together."""


AnyChat = TypeVar("AnyChat", bound=Chat)


@dataclass(frozen=True)
class _Begun:
    """A chat up to where the model goes on: as tokens so far as it was encoded apart, then text."""

    tokens: list[int]
    text: str


class ChatRenderer:
    """Turns chats into token ids with the tokenizer's own chat template, and ids into text.

    Args:
        tokenizer: a transformers tokenizer (of the `tokenizers` kind) with a chat template.
        settings: what the recipe says of chats.
        named: end tokens that the model's configuration files name.

    Raises:
        BadInput: nothing ends the model's turns, or its thoughts cannot be treated as asked.
    """

    def __init__(
        self,
        tokenizer: Any,
        settings: ChatSettings = PLAIN_CHAT,
        named: Collection[int] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self.template = ChatTemplate(tokenizer, settings)
        self._marks = () if self.template.thinking == "keep" else self.template.marks
        marks = "".join(each.opening + each.closing for each in self._marks)
        self._encoder = TextEncoder(tokenizer, marks)
        own = {tokenizer.eos_token_id} - {None}
        self._turns = TurnReader(tokenizer, self.template, {*named, *own})
        self._parts = lru_cache(maxsize=256)(self._begun_answer)

    @classmethod
    def load(cls, folder: Path, settings: ChatSettings) -> ChatRenderer:
        """Return the renderer of a model from its files."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return cls(tokenizer, settings, named_ends(folder))

    @property
    def stops(self) -> frozenset[int]:
        """Ids of the tokens that end a turn: in generation, in training and in evaluation."""
        return self._turns.stops

    @property
    def turn(self) -> Turn:
        """How the answer to a single question is written."""
        return self._turns.turn(("user",))

    def render(self, chat: Chat) -> list[int]:
        """Return the token ids of a chat, up to where the model goes on."""
        begun = self._begun(chat)
        return begun.tokens + self._encoder.whole(begun.text)

    def render_ahead(
        self, chats: Iterable[AnyChat | None]
    ) -> Iterator[tuple[AnyChat, list[int]] | None]:
        """Yield chats with their token ids, encoded together: that takes an eighth of the time.

        Args:
            chats: None among them means none is ready yet.
        """
        waiting: list[AnyChat] = []
        for chat in chats:
            if chat is not None:
                waiting.append(chat)
            if chat is None or len(waiting) == _AHEAD:
                yield from zip(waiting, self._render_all(waiting), strict=True)
                waiting = []
            if chat is None:
                yield None
        yield from zip(waiting, self._render_all(waiting), strict=True)

    def render_continuations(self, request: GivenAnswers) -> tuple[list[int], list[list[int]]]:
        """Return the token ids of the chat, and those of each continuation.

        They are encoded together, then parted, as lm-evaluation-harness does it
        (`TemplateLM._encode_pair`): white space that ends the chat is the continuation's. What is
        scored is an answer, so a thought that the template begins with is an empty one.
        """
        texts = [valid_unicode(text) for text in request.continuations]
        if not request.messages:
            return [self._first], [self._encoder.any(text) for text in texts]
        begun = self._answer(request.messages)
        tokens, rest = begun.tokens, begun.text + request.primer
        encoder = self._encoder
        context = tokens + encoder.whole(rest.rstrip())
        wholes = (
            tokens + encoder.whole(rest) + encoder.plain(text)
            if encoder.has_control(text)
            else tokens + encoder.whole(rest + text)
            for text in texts
        )
        return context, [whole[len(context) :] for whole in wholes]

    def render_answer(self, messages: Sequence[Message]) -> list[int]:
        """Return the token ids of a chat up to an answer of it that is learnt.

        They are the ones the model goes on from, and what the template writes before an answer
        where that is more than white space: an empty thought, the final channel.
        """
        begun = self._learnt(messages)
        return begun.tokens + self._encoder.whole(begun.text)

    def encode_answer(
        self, messages: Sequence[Message], text: str, *, ended: bool = True
    ) -> list[int]:
        """Return the token ids of an answer: they follow those of `render_answer`.

        Args:
            messages: what it answers.
            text: the answer; control tokens spelt out in it stay text.
            ended: whether the turn ends with it; not where it was cut.
        """
        text = valid_unicode(text)
        roles = tuple(message["role"] for message in messages)
        turn = self._turns.turn(roles)
        head = "" if self._learns_as_written else turn.head
        if head.strip() or text.startswith(head):
            head = ""
        if ended:  # the white space that the template puts before the end may be there already
            text = text.removesuffix(turn.end[: -len(turn.end.lstrip())])
        if not self._encoder.has_control(text):
            before, prefix = self._parts(roles)
            whole = self._encoder.whole(before + head + text + (turn.end if ended else ""))
            fits = not ended or tuple(whole[-len(turn.tokens) :])[-1:] == turn.tokens[-1:]
            if whole[: len(prefix)] == prefix and fits and len(whole) > len(prefix):
                return whole[len(prefix) :]
        return self._encoder.encode(head + text) + (list(turn.tokens) if ended else [])

    def encode(self, text: str) -> list[int]:
        """Return the token ids of what somebody wrote: a special token spelt out stays text."""
        return self._encoder.encode(text)

    def text(self, tokens: Sequence[int]) -> str:
        """Return what generated tokens say: special tokens left out, white space untouched.

        Marks of thoughts stay, for `answer` to find.
        """
        return self._encoder.text(tokens)

    def primed(self, chat: Chat) -> bool:
        """Tell whether an answer begins with the primer: the template must not begin a thought."""
        direct = self._turn_after(chat.messages).direct
        return bool(chat.primer) and (direct or not self.template.opened)

    def thinks(self, chat: Chat) -> bool:
        """Tell whether a thought comes before the answer, in which nothing ends a text early."""
        return self.template.thinking == "remove" and not self.primed(chat)

    @property
    def needs_tokens(self) -> bool:
        """Whether an answer can be read from its tokens only, not from a server's text."""
        return bool(self._marks and self.template.special_marks)

    def answer(
        self, chat: Chat, text: str, stop: Sequence[str] = ()
    ) -> tuple[str, Failure | None, bool]:
        """Return an answer without thoughts, why there is none, and whether a stop string ended it.

        Args:
            chat: what was asked.
            text: what the model wrote, as `text` has it.
            stop: strings that end an answer; they were not heeded while the model might think.
        """
        said = self._said(chat, text)
        if said is None:
            return "", Failure.UNCLOSED_THOUGHT, False
        if chat.primer and not self.primed(chat):  # the model was to write it itself
            said = said.partition(chat.primer)[2]
        ends = [said.find(s) + len(s) for s in stop if s in said] if self.thinks(chat) else []
        return (said[: min(ends)], None, True) if ends else (said, None, False)

    def _said(self, chat: Chat, text: str) -> str | None:
        thinking = self.template.thinking
        if thinking == "keep" and not chat.primer:
            return text
        if self.template.harmony:
            return text if self.primed(chat) else final_channel(text)
        marks = self.template.marks
        if not marks and text.lstrip().startswith(COMMON.opening):
            marks = (COMMON,)
        opened = self.template.opened and not self.primed(chat)
        return strip_thoughts(text, marks, opened=opened)

    def _render_all(self, chats: Sequence[Chat]) -> list[list[int]]:
        if not chats:
            return []
        begun = [self._begun(chat) for chat in chats]
        encoded = self._encoder.wholes([each.text for each in begun])
        return [each.tokens + rest for each, rest in zip(begun, encoded, strict=True)]

    def _begun(self, chat: Chat) -> _Begun:
        if chat.primer and self.primed(chat):
            begun, turn = self._answer(chat.messages), self._turn_after(chat.messages)
            space = turn.head if turn.direct and not turn.head.strip() else ""
            return _Begun(begun.tokens, begun.text + space + chat.primer)
        return self._rendered(chat.messages)

    @property
    def _learns_as_written(self) -> bool:
        """Whether thoughts are learnt, as the model wrote them."""
        return self.template.thinking == "keep"

    def _turn_after(self, messages: Sequence[Message]) -> Turn:
        return self._turns.turn(tuple(message["role"] for message in messages))

    def _answer(self, messages: Sequence[Message]) -> _Begun:
        """Return a chat up to where the text of an answer begins, but for white space."""
        turn = self._turn_after(messages)
        if not turn.direct:
            return self._rendered(messages, finished=True)
        begun = self._rendered(messages)
        return _Begun(begun.tokens, begun.text + (turn.head if turn.head.strip() else ""))

    def _learnt(self, messages: Sequence[Message]) -> _Begun:
        """Return a chat up to what is learnt to follow it."""
        as_written = self._learns_as_written
        return self._rendered(messages) if as_written else self._answer(messages)

    def _begun_answer(self, roles: tuple[str, ...]) -> tuple[str, list[int]]:
        """Return the end of a prompt, from its last control token on, and its token ids."""
        text = self._learnt([{"role": role, "content": "a"} for role in roles]).text
        end = text[self._encoder.last_control(text) :]
        return end, self._encoder.whole(end)

    def _rendered(self, messages: Sequence[Message], *, finished: bool = False) -> _Begun:
        """Return a chat as tokens, as far as it had to be encoded in parts, and the text after.

        Args:
            messages: the chat.
            finished: whether it ends as before an answer that is there, not one that is to come.
        """
        valid = [{**each, "content": valid_unicode(each["content"])} for each in messages]
        if not any(self._encoder.has_control(message["content"]) for message in valid):
            return _Begun([], self._template_text(valid, finished))
        return self._render_apart(valid, finished)

    def _render_apart(self, messages: Sequence[Message], finished: bool) -> _Begun:
        """Encode the template and each message's content apart, content without control tokens."""
        marks = [f"\ue000{index}\ue001" for index in range(len(messages))]
        rest = self._template_text(
            [{**m, "content": mark} for m, mark in zip(messages, marks, strict=True)], finished
        )
        tokens: list[int] = []
        for message, mark in zip(messages, marks, strict=True):
            before, _, rest = rest.partition(mark)
            tokens += self._encoder.whole(before) + self._encoder.plain(message["content"])
        return _Begun(tokens, rest)

    def _template_text(self, messages: Sequence[Message], finished: bool) -> str:
        if not finished:
            return self.template.render(messages)
        return self.template.before_answer(messages)

    @property
    def _first(self) -> int:
        """The token that text follows where it follows nothing."""
        first = self._tokenizer.bos_token_id
        return min(self.stops) if first is None else int(first)
