"""Encodes text so that control tokens spelt out in untrusted text stay text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from lidr.components.shared.core.text import valid_unicode


class TextEncoder:
    """Encodes a template's text, with its control tokens, and untrusted text, without any.

    Args:
        tokenizer: a transformers tokenizer based on `tokenizers`.
        marks: all thought marks, joined: `decode` keeps the special tokens among them.
    """

    def __init__(self, tokenizer: Any, marks: str = "") -> None:
        self._tokenizer = tokenizer
        self.control = _control_tokens(tokenizer, marks)
        self._first_characters = {token[0] for token in self.control}
        added = tokenizer.added_tokens_decoder.items()
        self._dropped_ids = {n for n, token in added if token.special and str(token) not in marks}
        self._keeps_special = any(token.special and str(token) in marks for _, token in added)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of untrusted text: special tokens spelt out in it stay text."""
        text = valid_unicode(text)
        tokens: list[int] = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        # Some models have special tokens in their vocabulary, which are not split.
        return tokens if self._special_ids.isdisjoint(tokens) else self.encode_plain(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of generated tokens without special tokens; white space is untouched."""
        if self._keeps_special:
            tokens = [token for token in tokens if token not in self._dropped_ids]
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=not self._keeps_special, clean_up_tokenization_spaces=False
        )
        return text

    def encode_template(self, text: str) -> list[int]:
        """Return the token ids of a template's text, in which control tokens count."""
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        return tokens

    def encode_templates(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of several templates' texts, encoded together, which is faster."""
        encoded: list[list[int]] = self._tokenizer(
            list(texts), add_special_tokens=False, verbose=False
        )["input_ids"]
        return encoded

    def encode_untemplated(self, text: str) -> list[int]:
        """Return the token ids of untrusted text outside a template."""
        return self.encode_plain(text) if self.has_control(text) else self.encode_template(text)

    def has_control(self, text: str) -> bool:
        """Tell whether control tokens are spelt out in a text."""
        # The first test is cheap: some models have hundreds of control tokens.
        return any(character in text for character in self._first_characters) and any(
            token in text for token in self.control
        )

    def last_control(self, text: str) -> int:
        """Return where the last control token of a text begins; 0 if there is none."""
        return max([0, *(text.rfind(token) for token in self.control)])

    def encode_plain(self, text: str) -> list[int]:
        """Return the token ids of a text as if there were no control tokens."""
        plain, real_ids = self._plain
        tokens = plain.encode(text, add_special_tokens=False).ids
        return [real_ids.get(token, token) for token in tokens]

    @cached_property
    def _plain(self) -> tuple[Any, dict[int, int]]:
        """The tokenizer without control tokens, and the real ids of its other added tokens."""
        from tokenizers import Tokenizer

        whole = self._tokenizer.backend_tokenizer
        state = json.loads(whole.to_str())
        names = [token["content"] for token in state["added_tokens"]]
        state["added_tokens"] = [
            token for token in state["added_tokens"] if token["content"] not in self.control
        ]
        if state["model"]["type"] == "Unigram":  # also in its vocabulary: make them match no text
            state["model"]["vocab"] = [
                [f"\ue000{piece}" if piece in self.control else piece, score]
                for piece, score in state["model"]["vocab"]
            ]
        plain = Tokenizer.from_str(json.dumps(state))
        kept = (name for name in names if name not in self.control)
        ids = ((plain.token_to_id(name), whole.token_to_id(name)) for name in kept)
        return plain, {own: real for own, real in ids if own is not None and real is not None}

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        added = self._tokenizer.added_tokens_decoder.items()
        unknown = self._tokenizer.unk_token_id
        return frozenset(id_ for id_, token in added if token.special and id_ != unknown)


def _control_tokens(tokenizer: Any, marks: str) -> frozenset[str]:
    """Return all special tokens, and those added tokens that the template or the marks contain.

    Some control tokens are not marked special (`<think>` of Qwen 3), and some added tokens are
    ordinary text, such as runs of spaces and HTML tags.
    """
    template = f"{tokenizer.chat_template}{marks}"
    added = tokenizer.added_tokens_decoder.values()
    named = {str(token) for token in added if token.special or str(token) in template}
    return frozenset(token for token in named | set(tokenizer.all_special_tokens) if token.strip())
