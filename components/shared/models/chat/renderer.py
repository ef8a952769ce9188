"""Converts chats to token ids (prompts, answer choices, pairs), and the model's tokens to text.

Generation, translation, evaluation and training use the same renderer, in every engine. A pair's
tokens are those of the template's own rendering of the whole chat.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from lidr.components.shared.core.text import valid_unicode
from lidr.components.shared.models.chat.encoding import TextEncoder
from lidr.components.shared.models.chat.protocols import Chat, GivenAnswers
from lidr.components.shared.models.chat.settings import PLAIN_CHAT, ChatSettings
from lidr.components.shared.models.chat.template import ChatTemplate
from lidr.components.shared.models.chat.thoughts import (
    THINK,
    ThoughtMarks,
    final_channel,
    strip_thoughts,
)
from lidr.components.shared.models.chat.turns import Turn, TurnReader, eos_token_ids
from lidr.components.shared.records.chat import TRANSLATION_PRIMER
from lidr.components.shared.records.kinds import Failure, Message

_CHATS_AT_ONCE = 32
"""Chats that `render_in_batches` encodes together."""

AnyChat = TypeVar("AnyChat", bound=Chat)


@dataclass(frozen=True)
class _Prefix:
    """A chat up to where the model continues: ids of the part already encoded, then the rest."""

    tokens: list[int]
    text: str


class ChatRenderer:
    """Turns chats into token ids with the tokenizer's own chat template, and ids into text.

    Args:
        tokenizer: a transformers tokenizer (based on `tokenizers`) with a chat template.
        settings: the recipe's settings of chats.
        eos_ids: EOS tokens in the model's configuration files.

    Raises:
        BadInput: nothing ends the model's turns, or the recipe's `model.thinking` is impossible.
    """

    def __init__(
        self, tokenizer: Any, settings: ChatSettings = PLAIN_CHAT, eos_ids: Collection[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self.template = ChatTemplate(tokenizer, settings)
        self._marks = () if self._trains_thoughts else self.template.marks
        trained = self.template.marks if self._trains_thoughts else ()
        self._encoder = TextEncoder(tokenizer, _joined(self._marks), _joined(trained))
        own = {tokenizer.eos_token_id} - {None}
        self._turns = TurnReader(tokenizer, self.template, {*eos_ids, *own})
        self._prompt_ends = lru_cache(maxsize=256)(self._prompt_end)

    @classmethod
    def load(cls, folder: Path, settings: ChatSettings) -> ChatRenderer:
        """Return the renderer of a model from its files."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return cls(tokenizer, settings, eos_token_ids(folder))

    @property
    def stops(self) -> frozenset[int]:
        """Ids of the tokens that end a turn: in generation, in training and in evaluation."""
        return self._turns.stops

    @property
    def turn(self) -> Turn:
        """How the answer to a single question is written."""
        return self._turns.turn(("user",))

    def render(self, chat: Chat) -> list[int]:
        """Return the token ids of a chat, up to where the model continues."""
        prefix = self._prefix(chat)
        return prefix.tokens + self._encoder.encode_template(prefix.text)

    def render_in_batches(
        self, chats: Iterable[AnyChat | None]
    ) -> Iterator[tuple[AnyChat, list[int]] | None]:
        """Yield chats with their token ids, encoded together, which takes an eighth of the time.

        None means that no chat is ready yet, and is passed on.
        """
        waiting: list[AnyChat] = []
        for chat in chats:
            if chat is not None:
                waiting.append(chat)
            if chat is None or len(waiting) == _CHATS_AT_ONCE:
                yield from zip(waiting, self._render_all(waiting), strict=True)
                waiting = []
            if chat is None:
                yield None
        yield from zip(waiting, self._render_all(waiting), strict=True)

    def render_continuations(self, request: GivenAnswers) -> tuple[list[int], list[list[int]]]:
        """Return the token ids of the chat, and those of each continuation.

        Chat and continuation are encoded together, then split, as in lm-evaluation-harness
        (`TemplateLM._encode_pair`): white space at the end of the chat belongs to the continuation.
        Continuations are answers, so a thought before them is an empty one.
        """
        texts = [valid_unicode(text) for text in request.continuations]
        if not request.messages:
            bos = self._tokenizer.bos_token_id
            first = min(self.stops) if bos is None else int(bos)
            return [first], [self._encoder.encode_untemplated(text) for text in texts]
        prefix = self._before_text(request)
        tokens, rest = prefix.tokens, prefix.text
        encoder = self._encoder
        context = tokens + encoder.encode_template(rest.rstrip())
        wholes = (
            tokens + encoder.encode_template(rest) + encoder.encode_plain(text)
            if encoder.has_control(text)
            else tokens + encoder.encode_template(rest + text)
            for text in texts
        )
        return context, [whole[len(context) :] for whole in wholes]

    def render_answer(self, messages: Sequence[Message]) -> list[int]:
        """Return the token ids of a chat up to an answer that is trained on.

        They are the ids that the model continues from and, unless thoughts are trained on, what
        the template writes before an answer, if that is more than white space, e.g. an empty
        thought.
        """
        prefix = self._before_trained(messages)
        return prefix.tokens + self._encoder.encode_template(prefix.text)

    def encode_answer(
        self, messages: Sequence[Message], text: str, *, ended: bool = True
    ) -> list[int]:
        """Return the token ids of an answer, to follow those of `render_answer`.

        Args:
            messages: the chat that it answers.
            text: the answer; control tokens spelt out in it stay text, except the marks of
                thoughts that are trained on.
            ended: whether the turn ends after it; False for an answer that was cut off.
        """
        text = valid_unicode(text)
        turn = self._turn_after(messages)
        head = "" if self._trains_thoughts else turn.head
        if head.strip() or text.startswith(head):
            head = ""
        if ended:  # the text may already hold the white space that the template puts before the end
            text = text.removesuffix(turn.end[: -len(turn.end.lstrip())])
        if not self._encoder.has_control(text):
            before, prefix = self._prompt_ends(_roles(messages))
            end = turn.end if ended else ""
            whole = self._encoder.encode_template(before + head + text + end)
            fits = not ended or tuple(whole[-1:]) == turn.tokens[-1:]
            if whole[: len(prefix)] == prefix and fits and len(whole) > len(prefix):
                return whole[len(prefix) :]
        return self._encoder.encode(head + text) + (list(turn.tokens) if ended else [])

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of generated tokens without special tokens; white space is untouched.

        Thought marks stay, for `parse_answer`.
        """
        return self._encoder.decode(tokens)

    def primed(self, chat: Chat) -> bool:
        """Tell whether the prompt ends with the primer; not if that would be inside a thought."""
        direct = self._turn_after(chat.messages).direct
        return bool(chat.primer) and (direct or not self.template.opened)

    def thinks(self, chat: Chat) -> bool:
        """Tell whether a thought may precede the answer and is removed.

        Stop strings in such a thought do not count.
        """
        thinking = self.template.thinking
        removed = thinking == "remove" or (thinking == "keep" and bool(chat.primer))
        return removed and not self.primed(chat)

    @property
    def needs_tokens(self) -> bool:
        """Whether a server's text lacks the thought marks, so that answers need its token ids."""
        return bool(self._marks and self.template.special_marks)

    def parse_answer(
        self, chat: Chat, text: str, stop: Sequence[str] = ()
    ) -> tuple[str, Failure | None, bool]:
        """Return an answer without thoughts, why there is none, and whether a stop string ended it.

        Args:
            chat: the request.
            text: what the model wrote, from `decode`.
            stop: strings that end an answer; the engine ignored them if the model might think.
        """
        answer = self._without_thoughts(chat, text)
        if answer is None:
            return "", Failure.UNCLOSED_THOUGHT, False
        if chat.primer and not self.primed(chat):  # the model may write the primer itself
            _, found, rest = answer.partition(chat.primer)
            # Only requests for translations ask for their primer; without it there is no answer.
            answer = rest if found or chat.primer == TRANSLATION_PRIMER else answer
        ends = [answer.find(s) + len(s) for s in stop if s in answer] if self.thinks(chat) else []
        return (answer[: min(ends)], None, True) if ends else (answer, None, False)

    def _without_thoughts(self, chat: Chat, text: str) -> str | None:
        if self.template.thinking == "keep" and not chat.primer:
            return text
        if self.template.harmony:
            return text if self.primed(chat) else final_channel(text)
        marks = self.template.marks
        if not marks and text.lstrip().startswith(THINK.opening):
            marks = (THINK,)
        opened = self.template.opened and not self.primed(chat)
        return strip_thoughts(text, marks, opened=opened)

    def _render_all(self, chats: Sequence[Chat]) -> list[list[int]]:
        if not chats:
            return []
        prefixes = [self._prefix(chat) for chat in chats]
        encoded = self._encoder.encode_templates([each.text for each in prefixes])
        return [each.tokens + rest for each, rest in zip(prefixes, encoded, strict=True)]

    def _prefix(self, chat: Chat) -> _Prefix:
        if chat.primer and self.primed(chat):
            return self._before_text(chat)
        return self._rendered(chat.messages)

    def _before_text(self, chat: Chat) -> _Prefix:
        """Return a chat up to the text of an answer, with its primer as the template writes it."""
        prefix, head = self._before_answer(chat.messages), self._turn_after(chat.messages).head
        space = head if chat.primer and not head.strip() else ""
        return _Prefix(prefix.tokens, prefix.text + space + chat.primer)

    @property
    def _trains_thoughts(self) -> bool:
        """Whether training includes thoughts, as the model wrote them."""
        return self.template.thinking == "keep"

    def _turn_after(self, messages: Sequence[Message]) -> Turn:
        return self._turns.turn(_roles(messages))

    def _before_answer(self, messages: Sequence[Message]) -> _Prefix:
        """Return a chat up to where the text of an answer begins, except for white space."""
        turn = self._turn_after(messages)
        if not turn.direct:
            return self._rendered(messages, finished=True)
        prefix = self._rendered(messages)
        return _Prefix(prefix.tokens, prefix.text + (turn.head if turn.head.strip() else ""))

    def _before_trained(self, messages: Sequence[Message]) -> _Prefix:
        """Return a chat up to the text that is trained on."""
        return self._rendered(messages) if self._trains_thoughts else self._before_answer(messages)

    def _prompt_end(self, roles: tuple[str, ...]) -> tuple[str, list[int]]:
        """Return the end of a prompt, from its last control token on, as text and token ids."""
        text = self._before_trained([{"role": role, "content": "a"} for role in roles]).text
        end = text[self._encoder.last_control(text) :]
        return end, self._encoder.encode_template(end)

    def _rendered(self, messages: Sequence[Message], *, finished: bool = False) -> _Prefix:
        """Return a chat, encoded in parts only if its messages spell out control tokens.

        Args:
            messages: the chat.
            finished: whether it ends as before an answer choice, not as before generation.
        """
        render = self.template.before_answer if finished else self.template.render
        valid = [{**each, "content": valid_unicode(each["content"])} for each in messages]
        if not any(self._encoder.has_control(message["content"]) for message in valid):
            return _Prefix([], render(valid))
        return self._render_in_parts(valid, render)

    def _render_in_parts(
        self, messages: Sequence[Message], render: Callable[[Sequence[Message]], str]
    ) -> _Prefix:
        """Encode the template's text and the messages' contents separately."""
        places = [f"\ue000{index}\ue001" for index in range(len(messages))]
        rest = render([{**m, "content": place} for m, place in zip(messages, places, strict=True)])
        tokens: list[int] = []
        for message, place in zip(messages, places, strict=True):
            before, _, rest = rest.partition(place)
            tokens += self._encoder.encode_template(before)
            tokens += self._encoder.encode_plain(message["content"])
        return _Prefix(tokens, rest)


def _joined(marks: Iterable[ThoughtMarks]) -> str:
    return "".join(each.opening + each.closing for each in marks)


def _roles(messages: Sequence[Message]) -> tuple[str, ...]:
    return tuple(message["role"] for message in messages)
