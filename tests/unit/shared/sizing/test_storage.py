"""The bytes that `lidr plan` counts for models, by what training writes."""

from __future__ import annotations

from typing import Any

import pytest

from lidr.components.shared.sizing.architecture import read_architecture
from lidr.components.shared.sizing.storage import model_bytes
from tests.fakes import make_recipe

CONFIG = {
    "model_type": "llama",
    "vocab_size": 1000,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "tie_word_embeddings": False,
}
SHAPE = read_architecture(CONFIG)


@pytest.mark.parametrize(
    ("dtype", "own", "export", "gpu", "each"),
    [
        ("auto", "bfloat16", "auto", True, 2),
        ("auto", "bfloat16", "auto", False, 4),
        ("bfloat16", "bfloat16", "auto", False, 2),
        ("float32", "bfloat16", "auto", True, 4),
        ("auto", "float32", "auto", True, 4),
        ("auto", "float16", "auto", True, 4),
        ("auto", "bfloat16", "float32", True, 4),
        ("auto", "float32", "bfloat16", True, 2),
    ],
)
def test_models_take_the_bytes_of_the_type_they_are_written_in(
    dtype: str, own: str, export: str, gpu: bool, each: int
):
    recipe = make_recipe(
        model={"source": "toy", "dtype": dtype},
        training={"export": export},
        gate={"max_iterations": 3},
    )
    for key in ("dtype", "torch_dtype"):
        found = model_bytes(recipe, SHAPE, CONFIG | {key: own}, gpu=gpu)
        assert found == 3 * each * SHAPE.parameters


@pytest.mark.parametrize(("start", "ranks"), [("previous", 1 + 2 + 3), ("base", 3)])
def test_adapters_that_are_kept_apart_grow_unless_each_starts_from_m_0(start: str, ranks: int):
    training: dict[str, Any] = {"lora": {"rank": 8, "merge": False}, "start": start}
    recipe = make_recipe(training=training, gate={"max_iterations": 3})
    one = 4 * SHAPE.lora_parameters(8)
    assert model_bytes(recipe, SHAPE, CONFIG, gpu=True) == ranks * one
