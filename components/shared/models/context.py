"""A model's context length in tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import one_line

_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
"""Keys of the context length; Bloom's configuration has none: ALiBi has no position embeddings."""

_NO_LIMIT = 1 << 24
"""Tokens; a tokenizer without a limit says 10^30."""

_MAX_SAID_CHARS = 300
"""Longest part of a library's error message that a refusal quotes."""


def context_length(config: Any, folder: Path, unlimited: int = 0) -> int:
    """Return a model's context length in tokens, prompt and answer together.

    Args:
        config: transformers' configuration of the model, or of the text model inside it.
        folder: the model's files; the tokenizer's limit counts if the configuration has none.
        unlimited: tokens to return if neither has a limit; 0 refuses the model.

    Raises:
        BadInput: neither has a limit, and `unlimited` is 0; or the tokenizer does not load.
    """
    text = config.get_text_config()
    for key in _KEYS:
        if isinstance(found := getattr(text, key, None), int):
            return found
    limit = load_tokenizer(folder).model_max_length
    if limit < _NO_LIMIT:
        return int(limit)
    if unlimited:
        return unlimited
    raise BadInput(
        "the model's files do not say how many tokens it reads at once",
        file=folder / "config.json",
        remedy="Set model.max_length, to the length it was trained on.",
    )


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model folder.

    Raises:
        BadInput: it does not load.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises nothing more specific
        raise BadInput(
            f"its tokenizer does not load: {one_line(str(error))[:_MAX_SAID_CHARS]}",
            file=folder,
            remedy="Add it again with tokenizer.save_pretrained(folder).",
        ) from error
