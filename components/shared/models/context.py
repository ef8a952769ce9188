"""How many tokens a model reads at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput

_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
"""By which configurations name it; Bloom's, whose attention knows no positions, names none."""

_NO_LIMIT = 1 << 24
"""Tokens; a tokenizer without a length of its own says 10^30."""


def context_of(config: Any, folder: Path, unlimited: int = 0) -> int:
    """Return a model's context in tokens, prompt and answer together.

    Args:
        config: transformers' configuration; of the text model inside, where it reads images too.
        folder: the model's, whose tokenizer may say it where the configuration does not.
        unlimited: what is returned where neither says it; 0 refuses the model.

    Raises:
        BadInput: neither says it.
    """
    text = config.get_text_config()
    for key in _KEYS:
        if isinstance(found := getattr(text, key, None), int):
            return found
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(folder, trust_remote_code=False).model_max_length
    if own < _NO_LIMIT:
        return int(own)
    if unlimited:
        return unlimited
    raise BadInput(
        "the model's files do not say how many tokens it reads at once",
        file=folder / "config.json",
        remedy="Set model.max_length, to the length it was trained on.",
    )
