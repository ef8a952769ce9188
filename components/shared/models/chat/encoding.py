"""Text as tokens, so that what somebody wrote can never become a control token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from lidr.components.shared.core.text import valid_unicode


class TextEncoder:
    """Encodes templates' text, in which control tokens count, and people's, in which none does.

    Args:
        tokenizer: a transformers tokenizer of the `tokenizers` kind.
        marks: of thoughts, as one text: what of it are control tokens stays when tokens are
            decoded.
    """

    def __init__(self, tokenizer: Any, marks: str = "") -> None:
        self._tokenizer = tokenizer
        self.control = _control_tokens(tokenizer, marks)
        self._firsts = {token[0] for token in self.control}
        added = tokenizer.added_tokens_decoder.items()
        self._dropped = {n for n, token in added if token.special and str(token) not in marks}
        self._keeps = any(token.special and str(token) in marks for _, token in added)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of what somebody wrote: a special token spelt out stays text."""
        text = valid_unicode(text)
        tokens: list[int] = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        # Some models have special tokens among their words, where splitting does not reach.
        return tokens if self._special.isdisjoint(tokens) else self.plain(text)

    def text(self, tokens: Sequence[int]) -> str:
        """Return what generated tokens say: special tokens left out, white space untouched."""
        if self._keeps:
            tokens = [token for token in tokens if token not in self._dropped]
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=not self._keeps, clean_up_tokenization_spaces=False
        )
        return text

    def whole(self, text: str) -> list[int]:
        """Return the token ids of a template's text: control tokens in it are what they are."""
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        return tokens

    def wholes(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of several texts, encoded together: that is quicker."""
        encoded: list[list[int]] = self._tokenizer(
            list(texts), add_special_tokens=False, verbose=False
        )["input_ids"]
        return encoded

    def any(self, text: str) -> list[int]:
        """Return the token ids of what somebody wrote where nothing else was."""
        return self.plain(text) if self.has_control(text) else self.whole(text)

    def has_control(self, text: str) -> bool:
        """Tell whether control tokens are spelt out in a text."""
        first = any(character in text for character in self._firsts)  # a family has hundreds
        return first and any(token in text for token in self.control)

    def last_control(self, text: str) -> int:
        """Return where the last control token of a text begins; 0 where there is none."""
        return max([0, *(text.rfind(token) for token in self.control)])

    def plain(self, text: str) -> list[int]:
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
            token for token in state["added_tokens"] if token["content"] not in self.control
        ]
        if state["model"]["type"] == "Unigram":  # it takes them for words: make them no text's
            state["model"]["vocab"] = [
                [f"\ue000{piece}" if piece in self.control else piece, score]
                for piece, score in state["model"]["vocab"]
            ]
        plain = Tokenizer.from_str(json.dumps(state))
        kept = (name for name in names if name not in self.control)
        ids = ((plain.token_to_id(name), whole.token_to_id(name)) for name in kept)
        return plain, {own: real for own, real in ids if own is not None and real is not None}

    @cached_property
    def _special(self) -> frozenset[int]:
        added = self._tokenizer.added_tokens_decoder.items()
        unknown = self._tokenizer.unk_token_id
        return frozenset(id_ for id_, token in added if token.special and id_ != unknown)


def _control_tokens(tokenizer: Any, marks: str) -> frozenset[str]:
    """Return every special token, and other added ones of the chat template or of thoughts.

    Not all control tokens are marked special (`<think>` of Qwen 3 is not), and not all added tokens
    control: runs of spaces and HTML tags are ordinary text.
    """
    template = f"{tokenizer.chat_template}{marks}"
    added = tokenizer.added_tokens_decoder.values()
    named = {str(token) for token in added if token.special or str(token) in template}
    return frozenset(token for token in named | set(tokenizer.all_special_tokens) if token.strip())
