"""Rendering chats into tokens, so that text inside a message can never become a control token."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lidr.components.shared.core.text import valid_unicode
from lidr.components.shared.engines.base import ChatRequest, ScoreRequest
from lidr.components.shared.records.schema import Message

_DATE = "26 Jul 2024"
"""What Llama 3's template takes for today when it has no clock; with one, results would age."""

_AHEAD = 32
"""Requests that are encoded together."""


class ChatRenderer:
    """Turns requests into token ids with the tokenizer's own chat template, and ids into text.

    Args:
        tokenizer: a transformers tokenizer (of the `tokenizers` kind) with a chat template.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._control = _control_tokens(tokenizer)

    def render(self, request: ChatRequest) -> list[int]:
        """Return the token ids of a request, up to where the model goes on."""
        tokens, rest = self._rendered(request.messages)
        return tokens + self._encode(rest + request.primer)

    def render_ahead(
        self, requests: Iterable[ChatRequest | None]
    ) -> Iterator[tuple[ChatRequest, list[int]] | None]:
        """Yield requests with their token ids, encoded together: that takes an eighth of the time.

        Args:
            requests: None among them means no request is ready yet.
        """
        waiting: list[ChatRequest] = []
        for request in requests:
            if request is not None:
                waiting.append(request)
            if request is None or len(waiting) == _AHEAD:
                yield from zip(waiting, self._render_all(waiting), strict=True)
                waiting = []
            if request is None:
                yield None
        yield from zip(waiting, self._render_all(waiting), strict=True)

    def _render_all(self, requests: Sequence[ChatRequest]) -> list[list[int]]:
        if not requests:
            return []
        parts = [self._rendered(request.messages) for request in requests]
        ends = [rest + each.primer for (_, rest), each in zip(parts, requests, strict=True)]
        encoded = self._tokenizer(ends, add_special_tokens=False, verbose=False)["input_ids"]
        return [tokens + end for (tokens, _), end in zip(parts, encoded, strict=True)]

    def render_continuations(self, request: ScoreRequest) -> tuple[list[int], list[list[int]]]:
        """Return the token ids of the chat, and those of each continuation.

        They are encoded together, then parted, as lm-evaluation-harness does it
        (`TemplateLM._encode_pair`): white space that ends the chat is the continuation's.
        """
        texts = [valid_unicode(text) for text in request.continuations]
        if not request.messages:
            return [self._first], [self._encode_any(text) for text in texts]
        tokens, rest = self._rendered(request.messages)
        rest += request.primer
        kept = rest.rstrip()
        context = tokens + self._encode(kept)
        wholes = (
            tokens + self._encode(rest) + self._encode_plain(text)
            if self._has_control(text)
            else tokens + self._encode(rest + text)
            for text in texts
        )
        return context, [whole[len(context) :] for whole in wholes]

    def encode(self, text: str) -> list[int]:
        """Return the token ids of what somebody wrote: a special token spelt out stays text."""
        text = valid_unicode(text)
        tokens: list[int] = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        # Some models have special tokens among their words, where splitting does not reach.
        return tokens if self._special.isdisjoint(tokens) else self._encode_plain(text)

    def text(self, tokens: Sequence[int]) -> str:
        """Return what generated tokens say: special tokens left out, white space untouched."""
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    @cached_property
    def _special(self) -> frozenset[int]:
        added = self._tokenizer.added_tokens_decoder.items()
        unknown = self._tokenizer.unk_token_id
        return frozenset(id_ for id_, token in added if token.special and id_ != unknown)

    def _rendered(self, messages: Sequence[Message]) -> tuple[list[int], str]:
        """Return a chat as tokens, as far as it had to be encoded in parts, and the text after."""
        valid = [{**each, "content": valid_unicode(each["content"])} for each in messages]
        if not any(self._has_control(message["content"]) for message in valid):
            return [], self._template(valid)
        return self._render_apart(valid)

    def _render_apart(self, messages: Sequence[Message]) -> tuple[list[int], str]:
        """Encode the template and each message's content apart, content without control tokens."""
        marks = [f"\ue000{index}\ue001" for index in range(len(messages))]
        rest = self._template(
            [{**m, "content": mark} for m, mark in zip(messages, marks, strict=True)]
        )
        tokens: list[int] = []
        for message, mark in zip(messages, marks, strict=True):
            before, _, rest = rest.partition(mark)
            tokens += self._encode(before) + self._encode_plain(message["content"])
        return tokens, rest

    @property
    def _first(self) -> int:
        """The token that text follows where it follows nothing."""
        tokenizer = self._tokenizer
        first: int = (
            tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        )
        return first

    def _encode_any(self, text: str) -> list[int]:
        return self._encode_plain(text) if self._has_control(text) else self._encode(text)

    def _template(self, messages: Sequence[Message]) -> str:
        text: str = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True, date_string=_DATE
        )
        return text

    def _encode(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        return tokens

    def _has_control(self, text: str) -> bool:
        return any(token in text for token in self._control)

    def _encode_plain(self, text: str) -> list[int]:
        """Encode text as if there were no control tokens."""
        plain, ids = self._plain
        tokens = plain.encode(text, add_special_tokens=False).ids
        return [ids.get(token, token) for token in tokens]

    @cached_property
    def _plain(self) -> tuple[Any, dict[int, int]]:
        """The tokenizer without control tokens, and what its other added tokens' ids stand for."""
        from tokenizers import Tokenizer

        whole = self._tokenizer.backend_tokenizer
        state = json.loads(whole.to_str())
        names = [token["content"] for token in state["added_tokens"]]
        state["added_tokens"] = [
            token for token in state["added_tokens"] if token["content"] not in self._control
        ]
        if state["model"]["type"] == "Unigram":  # it takes them for words: make them no text's
            state["model"]["vocab"] = [
                [f"\ue000{piece}" if piece in self._control else piece, score]
                for piece, score in state["model"]["vocab"]
            ]
        plain = Tokenizer.from_str(json.dumps(state))
        kept = (name for name in names if name not in self._control)
        ids = ((plain.token_to_id(name), whole.token_to_id(name)) for name in kept)
        return plain, {own: real for own, real in ids if own is not None and real is not None}


def end_tokens(folder: Path, tokenizer: Any) -> list[int]:
    """Return the ids that end a turn: the tokenizer's and those of the model's configuration."""
    ends = {tokenizer.eos_token_id}
    for name in ("config.json", "generation_config.json"):
        file = folder / name
        named = json.loads(file.read_text("utf-8")).get("eos_token_id") if file.is_file() else None
        ends |= set(named) if isinstance(named, list) else {named}
    return sorted(ends - {None})


def _control_tokens(tokenizer: Any) -> frozenset[str]:
    """Return every special token, and other added ones that the chat template makes use of.

    Not all control tokens are marked special (`<think>` of Qwen 3 is not), and not all added tokens
    control: runs of spaces and HTML tags are ordinary text.
    """
    template = str(tokenizer.chat_template)
    added = tokenizer.added_tokens_decoder.values()
    named = {str(token) for token in added if token.special or str(token) in template}
    return frozenset(token for token in named | set(tokenizer.all_special_tokens) if token.strip())
