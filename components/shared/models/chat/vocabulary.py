"""Whether every token that can occur in a text has an embedding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput


def without_embedding(tokenizer: Any, rows: int) -> tuple[list[str], list[str]]:
    """Return the tokens of a tokenizer for which a model has no embedding.

    A special token other than BOS and EOS cannot occur unless the chat template writes it: spelt
    out in a text, it stays text.

    Args:
        tokenizer: a transformers tokenizer.
        rows: number of the model's embeddings.

    Returns:
        Those that can occur, and those that cannot, each sorted by id.
    """
    added = tokenizer.added_tokens_decoder
    written = f"{tokenizer.chat_template}"
    over = sorted((n, token) for token, n in tokenizer.get_vocab().items() if n >= rows)
    never = {
        n for n, _ in over if n in added and added[n].special and str(added[n]) not in written
    } - {tokenizer.eos_token_id, tokenizer.bos_token_id}
    return [t for n, t in over if n not in never], [t for n, t in over if n in never]


def require_embedded(tokenizer: Any, config: Any, folder: Path) -> str:
    """Refuse a tokenizer whose tokens lack embeddings.

    Returns:
        How many tokens there are, how many are embedded, and which need no embedding.

    Raises:
        BadInput: with the tokens that can occur without an embedding.
    """
    rows = config.get_text_config().vocab_size
    occurring, others = without_embedding(tokenizer, rows)
    if occurring:
        raise BadInput(
            f"the tokenizer has {len(tokenizer)} tokens, but the model embeds only {rows}: a text "
            f"can become {_some(occurring)}",
            file=folder / "config.json",
            remedy="Take the tokenizer that belongs to the model, or resize its embeddings.",
        )
    absent = f"; without embedding, and never in a text: {_some(others)}" if others else ""
    return f"{len(tokenizer):,} tokens, {rows:,} embedded{absent}"


def _some(tokens: list[str]) -> str:
    return ", ".join(tokens[:3]) + (f" and {len(tokens) - 3} more" if len(tokens) > 3 else "")
