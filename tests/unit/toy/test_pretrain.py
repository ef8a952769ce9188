"""Contracts of M_0: its tokenizer, its chat template, its files, its determinism."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lidr.components.shared.records.chat import (
    TRANSLATION_PRIMER,
    TRANSLATION_STOP,
    translation_messages,
)
from lidr.components.toy.pretrain import build_base_model, build_tokenizer
from lidr.components.toy.problems import LANGUAGES, OTHERS, draw_problems, question, solution

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SMALL = {"solutions": 64, "weak_solutions": 16, "translations": 8}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


@pytest.fixture(scope="module")
def texts() -> list[str]:
    found = [
        render(problem, language)
        for problem in draw_problems(1, "evaluation", 300)
        for language in LANGUAGES
        for render in (question, solution)
    ]
    for language in OTHERS:
        found.append(translation_messages(found[0], "en", language)[0]["content"])
        found.append(translation_messages(found[0], language, "en")[0]["content"])
    return [*found, TRANSLATION_PRIMER + TRANSLATION_STOP]


def test_tokenizer_round_trips_any_text(
    tokenizer: PreTrainedTokenizerFast, texts: list[str]
) -> None:
    for text in [*texts, "naïve \t 日本 ?\n\n 😀  x", "<sentence>¿a ?</sentence>"]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_every_word_number_and_sign_is_one_token(
    tokenizer: PreTrainedTokenizerFast, texts: list[str]
) -> None:
    for text in texts:
        pieces = re.findall(r" ?[^\W\d_]+| ?\d+| ?[^\w\s]|\s+", text)
        assert len(tokenizer(text)["input_ids"]) == len(pieces), text


def test_vocabulary_is_tiny_and_special_tokens_are_set(tokenizer: PreTrainedTokenizerFast) -> None:
    assert 600 < len(tokenizer) < 800
    assert tokenizer.eos_token == "<|end|>"
    assert tokenizer.pad_token == "<|pad|>"
    assert tokenizer.eos_token_id != tokenizer.pad_token_id


def test_chat_template_writes_roles_and_opens_the_answer(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    chat = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == "<|system|>a<|end|><|user|>b<|end|><|assistant|>"
    opened = tokenizer(text)["input_ids"]
    answered = tokenizer.apply_chat_template(
        [*chat, {"role": "assistant", "content": "Nina has 4 books."}], return_dict=False
    )
    assert answered[: len(opened)] == opened  # what preference trainers rely on
    assert answered[-1] == tokenizer.eos_token_id


def test_chat_template_continues_a_primed_answer(tokenizer: PreTrainedTokenizerFast) -> None:
    request = translation_messages("At first there are 4 books.", "en", "de")
    primed = tokenizer.apply_chat_template(
        [*request, {"role": "assistant", "content": TRANSLATION_PRIMER}],
        tokenize=False,
        continue_final_message=True,
    )
    opened = tokenizer.apply_chat_template(request, tokenize=False, add_generation_prompt=True)
    assert primed == opened + TRANSLATION_PRIMER


def test_saved_model_loads_from_safetensors_and_is_reproducible(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    seen: list[tuple[int, int]] = []
    facts = build_base_model(
        tmp_path / "one", 0, report=lambda step, steps, _: seen.append((step, steps)), **SMALL
    )
    before = torch.random.get_rng_state()
    again = build_base_model(tmp_path / "two", 0, **SMALL)

    assert facts == again
    assert torch.equal(before, torch.random.get_rng_state())
    assert seen == [(step, len(seen)) for step in range(1, len(seen) + 1)]
    assert facts["steps"] == len(seen)
    assert facts["examples"] == 64 + 3 * (16 + 2 * 8)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
    assert not [*(tmp_path / "one").glob("*.bin"), *(tmp_path / "one").glob("*.pt")]

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "one", use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "one")
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert tokenizer.chat_template
