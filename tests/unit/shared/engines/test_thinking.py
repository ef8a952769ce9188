"""Models that think, through an engine: a thought that never ends is no answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import LlamaConfig

from lidr.components.shared.engines import ChatRequest, Decoding
from lidr.components.shared.engines.transformers_engine import TransformersEngine
from lidr.components.shared.models.chat import ChatSettings
from lidr.components.shared.records.chat import TRANSLATION_PRIMER, TRANSLATION_STOP
from lidr.components.shared.records.schema import Failure
from tests.shapes import SHAPES, shaped_tokenizer, write_model

ASKED = [{"role": "user", "content": "Nina tiene 4 libros."}]
DECODING = Decoding(max_tokens=6, stop=(TRANSLATION_STOP,))
REQUESTS = [
    ChatRequest("answer", ASKED, DECODING),
    ChatRequest("translation", ASKED, DECODING, primer=TRANSLATION_PRIMER),
]


def completions(folder: Path, name: str, **settings: object) -> dict[str, Failure | None]:
    tokenizer = shaped_tokenizer(SHAPES[name])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
    )
    write_model(folder, SHAPES[name], config, tokenizer)
    engine = TransformersEngine(
        folder,
        dtype="float32",
        max_length=0,
        batch_tokens=4096,
        chat=ChatSettings(**settings),
    )
    found = {each.key: each.failure for each in engine.complete(REQUESTS)}
    engine.close()
    return found


@pytest.mark.parametrize(
    ("name", "settings", "answer", "translation"),
    [
        ("qwen-3", {}, None, None),
        ("qwen-3", {"thinking": "keep"}, None, None),
        ("gpt-oss", {}, Failure.UNCLOSED_THOUGHT, None),
        ("deepseek-r1", {}, Failure.UNCLOSED_THOUGHT, Failure.UNCLOSED_THOUGHT),
        ("llama-3", {}, None, None),
    ],
)
def test_a_thought_that_never_ends_is_a_failure_of_its_own(
    tmp_path: Path, name, settings, answer, translation
):
    found = completions(tmp_path / "model", name, **settings)
    assert found == {"answer": answer, "translation": translation}
