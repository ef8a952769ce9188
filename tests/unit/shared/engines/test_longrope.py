"""The transformers engine on a model whose rotary embedding depends on how long a text is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.engines import ChatRequest, Decoding, ScoreRequest
from lidr.components.shared.engines.transformers_engine import TransformersEngine
from lidr.components.shared.models.rotary import check_context, longrope_threshold
from tests.models import shaped_model, tiny_tokenizer
from tests.unit.train.models import longrope

SWITCH = 40
WRITTEN = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = longrope(SWITCH, initializer_range=0.4)
    return shaped_model(tmp_path_factory.mktemp("longrope"), config)


def engine(folder: Path) -> TransformersEngine:
    return TransformersEngine(folder, dtype="float32", max_length=0, batch_tokens=10_000)


def chat(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "Nina has 4 books. " * (1 + number)}]


def greedy(model, prompt: list[int]) -> list[int]:
    """Continue by whole forward passes, without a cache."""
    ids, ends = list(prompt), tiny_tokenizer().eos_token_id
    while len(ids) < len(prompt) + WRITTEN and (ids == prompt or ids[-1] != ends):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        ids.append(int(logits.argmax()))
    return ids[len(prompt) :]


def test_longrope_batches_give_what_each_prompt_gives_alone(folder: Path):
    """Some prompts stay below the switch, some begin above it, some get there while they write."""
    requests = [ChatRequest(f"r{n}", chat(n), Decoding(max_tokens=WRITTEN)) for n in range(8)]
    together = {each.key: each for each in engine(folder).complete(requests)}
    lengths = [together[each.key].prompt_tokens for each in requests]
    ends = [
        length + together[r.key].output_tokens for length, r in zip(lengths, requests, strict=True)
    ]
    assert any(end <= SWITCH for end in ends)
    assert any(length > SWITCH for length in lengths)
    assert any(length <= SWITCH < end - 1 for length, end in zip(lengths, ends, strict=True))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = tiny_tokenizer()
    for request in requests:
        (alone,) = engine(folder).complete([request])
        assert together[request.key] == alone
        prompt = tokenizer.apply_chat_template(
            request.messages, add_generation_prompt=True, return_dict=False
        )
        with torch.no_grad():
            written = greedy(model, prompt)
        assert len(written) == alone.output_tokens
        text = tokenizer.decode([t for t in written if t != tokenizer.eos_token_id])
        assert alone.text == text


def test_longrope_scores_are_those_of_each_text_alone(folder: Path):
    requests = [
        ScoreRequest(f"r{n}", chat(n), ("6 books.", "Nina loses 3. " * 5)) for n in range(6)
    ]
    together = {each.key: each.logprobs for each in engine(folder).score(requests)}
    for request in requests:
        for place, text in enumerate(request.continuations):
            one = ScoreRequest("one", request.messages, (text,))
            (alone,) = engine(folder).score([one])
            assert together[request.key][place] == pytest.approx(alone.logprobs[0], abs=1e-4)


def test_rotary_scaling_that_grows_with_what_was_read_is_refused():
    scaling = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    config = LlamaConfig(max_position_embeddings=64, rope_parameters=scaling)
    assert longrope_threshold(config) == 0
    check_context(config, 64)
    with pytest.raises(BadInput, match=r"dynamic rotary .* Set model\.max_length to 64 or less"):
        check_context(config, 65)
