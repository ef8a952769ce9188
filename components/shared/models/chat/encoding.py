"""Encodes text so that control tokens spelt out in untrusted text stay text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from lidr.components.shared.core.text import valid_unicode


class TextEncoder:
    """Encodes a template's text, with its control tokens, and untrusted text, without any.

    Args:
        tokenizer: a transformers tokenizer based on `tokenizers`.
        marks: thought marks that are not trained on, joined: `decode` keeps their special tokens.
        trained: marks of thoughts that are trained on, joined: `encode` keeps their tokens.
    """

    def __init__(self, tokenizer: Any, marks: str = "", trained: str = "") -> None:
        self._tokenizer = tokenizer
        self.control = _control_tokens(tokenizer, marks)
        self._first_characters = {token[0] for token in self.control}
        added = tokenizer.added_tokens_decoder.items()
        self._dropped_ids = {n for n, token in added if token.special and str(token) not in marks}
        self._keeps_special = any(token.special and str(token) in marks for _, token in added)
        self._split = frozenset(token for token in self.control if token not in trained)
        unknown = tokenizer.unk_token_id  # the token of any text that is not in the vocabulary
        self._split_ids = {n for n, token in added if str(token) in self._split} - {unknown}
        self._without = lru_cache(maxsize=None)(self._tokenizer_without)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of an answer: control tokens spelt out in it stay text.

        The marks of thoughts that are trained on are the exception.
        """
        text = valid_unicode(text)
        tokens: list[int] = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        # Still not split: special tokens in the vocabulary itself, and control tokens that are not
        # marked special.
        whole = self._split_ids.isdisjoint(tokens)
        return tokens if whole else self._encode_without(text, self._split)

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
        return self._encode_without(text, self.control)

    def _encode_without(self, text: str, names: frozenset[str]) -> list[int]:
        plain, real_ids = self._without(names)
        tokens = plain.encode(text, add_special_tokens=False).ids
        return [real_ids.get(token, token) for token in tokens]

    def _tokenizer_without(self, names: frozenset[str]) -> tuple[Any, dict[int, int]]:
        """Return the tokenizer without some added tokens, and the real ids of the others."""
        from tokenizers import Tokenizer

        whole = self._tokenizer.backend_tokenizer
        state = json.loads(whole.to_str())
        kept = [t for t in state["added_tokens"] if t["content"] not in names]
        state["added_tokens"] = kept
        if state["model"]["type"] == "Unigram":  # its vocabulary has them too: match no text
            state["model"]["vocab"] = [
                [f"\ue000{piece}" if piece in names else piece, score]
                for piece, score in state["model"]["vocab"]
            ]
        plain = Tokenizer.from_str(json.dumps(state))
        ids = ((plain.token_to_id(t["content"]), whole.token_to_id(t["content"])) for t in kept)
        return plain, {own: real for own, real in ids if own is not None and real is not None}


def _control_tokens(tokenizer: Any, marks: str) -> frozenset[str]:
    """Return all special tokens, and those added tokens that the template or the marks contain.

    Some control tokens are not marked special (`<think>` of Qwen 3), and some added tokens are
    ordinary text, such as runs of spaces and HTML tags.
    """
    template = f"{tokenizer.chat_template}{marks}"
    added = tokenizer.added_tokens_decoder.values()
    named = {str(token) for token in added if token.special or str(token) in template}
    return frozenset(token for token in named | set(tokenizer.all_special_tokens) if token.strip())
