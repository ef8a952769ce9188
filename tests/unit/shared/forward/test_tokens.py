from __future__ import annotations

from array import array
from dataclasses import replace

import pytest

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.engines.base import ChatRequest
from lidr.components.shared.forward.tokens import TokenPair, TokenPairs, tokenize_pairs
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.models.chat.settings import ChatSettings
from tests.models import END, tiny_tokenizer
from tests.shapes import SHAPES, control_ids, shaped_tokenizer
from tests.unit.shared.engines.test_chat import FAMILIES, family_tokenizer
from tests.unit.train.stages import preference


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def test_the_prompt_is_what_the_engine_reads_and_the_end_of_the_turn_is_learnt(tokenizer):
    record = preference(4)
    (pair,) = tokenize_pairs([record], ChatRenderer(tokenizer), 128).pairs
    assert pair.prompt.tolist() == ChatRenderer(tokenizer).render(ChatRequest("", record.prompt))
    assert tokenizer.decode(pair.chosen) == record.chosen[0]["content"] + END
    assert tokenizer.decode(pair.rejected) == record.rejected[0]["content"] + END
    assert pair.chosen[-1] == tokenizer.eos_token_id


def test_control_tokens_spelt_out_in_text_stay_text(tokenizer):
    record = preference(4, chosen="four<|end|><|user|>more", prompt="say <|assistant|> \ud800")
    (pair,) = tokenize_pairs([record], ChatRenderer(tokenizer), 256).pairs
    control = control_ids(tokenizer)
    assert not control & set(pair.chosen[:-1])
    assert [token for token in pair.prompt if token in control] == [
        tokenizer.convert_tokens_to_ids(name) for name in ("<|user|>", END, "<|assistant|>")
    ]


def test_a_long_side_is_cut_and_a_prompt_without_room_drops_its_pair(tokenizer):
    records = [
        preference(1, "es", chosen="Nina " * 60),
        preference(2, "es"),
        preference(3, "de", prompt="Nina " * 60),
    ]
    found = tokenize_pairs(records, ChatRenderer(tokenizer), 48, "drop")
    assert [pair.prompt_id for pair in found.pairs] == ["p1", "p2"]
    assert len(found.pairs[0].prompt) + len(found.pairs[0].chosen) == 48
    assert found.languages == {
        "de": {"pairs": 0, "cut": 0, "dropped": 1},
        "es": {"pairs": 2, "cut": 1, "dropped": 0},
    }


@pytest.mark.parametrize(
    ("overflow", "by_model", "remedy"),
    [
        ("refuse", False, "Raise training.max_length, or set training.prompt_overflow to drop."),
        ("drop", False, "Raise training.max_length."),
        (
            "refuse",
            True,
            "The model reads 16 tokens at once: shorten the prompts, or set "
            "training.prompt_overflow to drop.",
        ),
        ("drop", True, "The model reads 16 tokens at once: shorten the prompts."),
    ],
)
def test_no_pair_left_is_bad_input(tokenizer, overflow, by_model, remedy):
    records = [preference(1, prompt="Nina " * 30)]
    with pytest.raises(BadInput) as raised:
        tokenize_pairs(records, ChatRenderer(tokenizer), 16, overflow, by_model=by_model)
    assert raised.value.remedy == remedy


def test_tokens_take_four_bytes_and_have_the_digest_of_lists(tokenizer):
    """Stages of log-probabilities, which earlier runs have written, are found by the digest."""
    found = tokenize_pairs([preference(1), preference(2)], ChatRenderer(tokenizer), 32)
    sides = ("prompt", "chosen", "rejected")
    assert {getattr(pair, side).itemsize for pair in found.pairs for side in sides} == {4}
    lists = [replace(pair, **{s: list(getattr(pair, s)) for s in sides}) for pair in found.pairs]
    assert found.digest == TokenPairs(lists, {}).digest
    sides = (array("i", [1, 2]), array("i", [3]), array("i", [70_000]))
    known = TokenPairs([TokenPair("k", "p", "es", *sides)], {}).digest
    assert known == "f07ddd9f26909efece73d7c0e6b1c606b2407ba23185197201d3f4247d0cff51"


def test_a_template_that_shows_no_end_of_turn_falls_back_to_the_end_token(tokenizer):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    (pair,) = tokenize_pairs([preference(1)], ChatRenderer(tokenizer), 128).pairs
    assert pair.chosen[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["bytes", "unigram"])
def test_special_tokens_among_a_model_s_words_stay_text_in_responses(kind, family):
    tokenizer = family_tokenizer(kind, family)
    added = tokenizer.added_tokens_decoder.items()
    special = {number for number, token in added if token.special and str(token) != "<unk>"}
    text = "".join(FAMILIES[family][0])
    record = preference(1, chosen=text, rejected=f"x{text}")
    pairs = tokenize_pairs([record], ChatRenderer(tokenizer), 512).pairs
    for side in (pairs[0].chosen, pairs[0].rejected):
        assert special.isdisjoint(side[:-1])
        assert text in tokenizer.decode(side, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize(
    ("name", "thinking"), [("qwen-2.5", "auto"), ("qwen-3", "auto"), ("qwen-3", "remove")]
)
def test_control_tokens_that_are_not_special_stay_text_in_responses(name, thinking):
    tokenizer = shaped_tokenizer(SHAPES[name])
    record = preference(1, chosen="use <tool_call> now", rejected="a <think> b</think><|im_end|>")
    chat = ChatRenderer(tokenizer, ChatSettings(thinking=thinking))
    [pair] = tokenize_pairs([record], chat, 512).pairs
    for side, message in ((pair.chosen, record.chosen[0]), (pair.rejected, record.rejected[0])):
        assert control_ids(tokenizer).isdisjoint(side[:-1])
        assert tokenizer.decode(side) == message["content"] + "<|im_end|>"
