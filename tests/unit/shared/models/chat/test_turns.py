"""Where turns end: the same in generation, training and evaluation, for families of all shapes."""

from __future__ import annotations

import json

import pytest

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.forward.tokens import tokenize_pairs
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.models.chat.settings import ChatSettings
from lidr.components.shared.models.chat.turns import eos_token_ids
from tests.models import SENTENCES
from tests.shapes import SHAPES, Shape, ends_of, shaped_tokenizer
from tests.unit.train.stages import preference

TEXTS = (SENTENCES[1], "Nina a 4 livres.\n\nEt 2.", "2")


def renderer(shape: Shape, **settings) -> ChatRenderer:
    tokenizer = shaped_tokenizer(shape)
    return ChatRenderer(tokenizer, ChatSettings(**settings), ends_of(shape, tokenizer))


@pytest.mark.parametrize("name", SHAPES)
def test_the_end_that_is_learnt_is_the_template_s_up_to_where_generation_stops(name):
    shape = SHAPES[name]
    chat, tokenizer = renderer(shape), shaped_tokenizer(shape)
    record = preference(4, chosen=SENTENCES[1], rejected="4")
    [pair] = tokenize_pairs([record], chat, 512).pairs
    for side, text in ((pair.chosen, SENTENCES[1]), (pair.rejected, "4")):
        decoded = tokenizer.decode(pair.prompt + side, clean_up_tokenization_spaces=False)
        assert decoded.endswith(text + shape.end)
        assert side[-1] in chat.stops
        assert not chat.stops & set(side[:-1]), "generation would have stopped before"


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("text", TEXTS)
def test_the_tokens_of_a_pair_are_the_template_s_own_rendering(name, text):
    shape = SHAPES[name]
    chat, tokenizer = renderer(shape, date="2024-07-26"), shaped_tokenizer(shape)
    record = preference(4, prompt="Nina?", chosen=text, rejected=text)
    [pair] = tokenize_pairs([record], chat, 512).pairs
    asked = [*record.prompt, {"role": "assistant", "content": text}]
    whole = tokenizer(chat.template.render(asked, generate=False), add_special_tokens=False)
    found = [*pair.prompt, *pair.chosen]
    if name.startswith("glm-4"):  # the next role ends a turn
        found = found[:-1]
    assert whole["input_ids"][: len(found)] == found


def test_stops_are_those_of_template_tokenizer_and_configuration():
    shape = SHAPES["llama-3"]
    tokenizer = shaped_tokenizer(shape)
    stops = {tokenizer.convert_ids_to_tokens(token) for token in renderer(shape).stops}
    assert stops == {"<|end_of_text|>", "<|eot_id|>"}


def test_gpt_oss_does_not_stop_between_its_channels():
    shape = SHAPES["gpt-oss"]
    tokenizer = shaped_tokenizer(shape)
    stops = {tokenizer.convert_ids_to_tokens(token) for token in renderer(shape).stops}
    assert stops == {"<|return|>", "<|endoftext|>", "<|call|>"}


def test_a_model_whose_turns_nothing_ends_is_refused():
    shape = Shape("{%- for m in messages -%}{{- m.content -}}{%- endfor -%}", (), "")
    with pytest.raises(BadInput, match="nothing ends the model's turns") as refusal:
        renderer(shape)
    assert "eos_token_id" in refusal.value.remedy


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (1, {1}),
        ([1, 2], {1, 2}),
        ([[1]], set()),
        ([True, 2, "3"], {2}),
        (True, set()),
        (None, set()),
    ],
)
def test_eos_token_ids_are_whole_numbers(tmp_path, named, found):
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": named}))
    assert eos_token_ids(tmp_path) == found


def test_a_cut_side_has_no_end():
    from lidr.components.shared.records.samples import CutSide, pair_key

    chat = renderer(SHAPES["gemma-3"])
    record = preference(4, chosen=SENTENCES[1], rejected="At first")
    cut = [CutSide(pair_key(record), "rejected")]
    [pair] = tokenize_pairs([record], chat, 512, cut=cut).pairs
    assert pair.chosen[-1] in chat.stops
    assert pair.rejected.tolist() == chat.encode_answer(record.prompt, "At first", ended=False)
    assert pair.rejected[-1] not in chat.stops


def test_system_text_goes_where_the_template_has_no_role_for_it(capsys):
    chat = renderer(SHAPES["gemma-3"])
    told = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Nina?"}]
    folded = [{"role": "user", "content": "Be brief.\n\nNina?"}]
    assert chat.render_answer(told) == chat.render_answer(folded)
    assert chat.encode_answer(told, "4") == chat.encode_answer(folded, "4")
    assert capsys.readouterr().err.count("the chat template has no system role") == 1


def test_a_chat_that_the_template_refuses_is_bad_input():
    chat = renderer(SHAPES["gemma-3"])
    with pytest.raises(BadInput, match=r"refuses a chat of the roles user, user: .*alternate"):
        chat.render_answer([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}])
