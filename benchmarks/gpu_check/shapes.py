"""The models and pairs that are measured: random weights of real shapes, texts of real lengths."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.training import draw_pair, word_tokenizer, write_pairs
from lidr.components.shared.models.stages import model_stage
from lidr.components.shared.store.local import LocalStore

Result = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """A model's sizes, and what is done with it.

    Attributes:
        width: of the hidden state.
        inner: of the MLP.
        layers: how many.
        heads: of queries.
        groups: of keys and values.
        tied: embeddings and head are one.
        vocabulary: tokens.
        length: tokens of a side at most, with its prompt.
        pairs: in an optimizer step.
        steps: optimizer steps, the first of which warms up.
        requests: chats that are continued.
        output: tokens of each continuation at most.
    """

    width: int
    inner: int
    layers: int
    heads: int
    groups: int = 8
    tied: bool = True
    vocabulary: int = 128_256
    length: int = 1024
    pairs: int = 32
    steps: int = 5
    requests: int = 256
    output: int = 128


SHAPES = {
    "1b": Shape(2048, 8192, 16, 32),
    "8b": Shape(4096, 14336, 4, 32, tied=False),
    "tiny": Shape(
        64, 128, 2, 2, 1, vocabulary=512, length=96, pairs=8, steps=2, requests=4, output=8
    ),
}
"""Llama-3.2-1B whole; of Llama-3-8B four layers of 32, with its embeddings and head; a test."""


def prepare(folder: Path, shape: Shape) -> Result:
    """Write a random model and pairs into a store below a folder; return how large the model is."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = LlamaForCausalLM(config_of(shape))
    finally:
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder / "model")
    word_tokenizer(shape.vocabulary).save_pretrained(folder / "model")
    store = LocalStore(folder / "store")
    rng = random.Random(0)
    count = shape.pairs * shape.steps
    pairs = [draw_pair(rng, number, shape.vocabulary, shape.length) for number in range(count)]
    uris = {
        "model": model_stage(store, str(folder / "model")),
        "pairs": write_pairs(store, pairs),
    }
    (folder / "uris.json").write_text(json.dumps(uris))
    return {"parameters": model.num_parameters()}


def uris_of(folder: Path) -> dict[str, str]:
    """Return the URIs of the stages that `prepare` has left: model and pairs."""
    uris: dict[str, str] = json.loads((folder / "uris.json").read_text())
    return uris


def config_of(shape: Shape) -> Any:
    """Return the configuration of a Llama of a shape."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.groups,
        max_position_embeddings=2 * shape.length,
        tie_word_embeddings=shape.tied,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
