"""Thoughts never get into texts, unless a recipe keeps them."""

from __future__ import annotations

import pytest

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.engines.base import ChatRequest, ScoreRequest
from lidr.components.shared.models.chat.thoughts import THINK, find_marks, strip_thoughts
from lidr.components.shared.records.chat import TRANSLATION_PRIMER, TRANSLATION_STOP
from lidr.components.shared.records.schema import Failure
from tests.shapes import CHATML, SHAPES, Shape, control_ids, shaped_tokenizer
from tests.unit.shared.models.chat.test_turns import renderer

ASKED = ChatRequest("", [{"role": "user", "content": "Nina?"}])
TRANSLATED = ChatRequest("", ASKED.messages, primer=TRANSLATION_PRIMER)


def rendered(name: str, request: ChatRequest = ASKED, **settings) -> str:
    tokens = renderer(SHAPES[name], **settings).render(request)
    return shaped_tokenizer(SHAPES[name]).decode(tokens, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize(
    ("name", "settings", "thinking"),
    [
        ("qwen-3", {}, "off"),
        ("qwen-3", {"thinking": "remove"}, "remove"),
        ("qwen-3", {"thinking": "keep"}, "keep"),
        ("qwen-3", {"arguments": {"enable_thinking": True}}, "remove"),
        ("qwen-3", {"arguments": {"enable_thinking": False}}, "off"),
        ("deepseek-r1", {}, "remove"),
        ("deepseek-v3.1", {}, "off"),
        ("deepseek-v3.1", {"arguments": {"thinking": True}}, "remove"),
        ("glm-4.5", {}, "off"),
        ("qwen-3 instruct", {}, "none"),
        ("gpt-oss", {}, "remove"),
        ("gpt-oss", {"arguments": {"reasoning_effort": "high"}}, "remove"),
        ("llama-3", {}, "none"),
        ("llama-3", {"thinking": "keep"}, "none"),
    ],
)
def test_what_becomes_of_thoughts_is_decided_on_the_template(name, settings, thinking):
    assert renderer(SHAPES[name], **settings).template.thinking == thinking


def test_the_switch_turns_thoughts_off_in_every_render():
    empty = "<think>\n\n</think>\n\n"
    assert rendered("qwen-3").endswith(f"assistant\n{empty}")
    assert rendered("qwen-3", thinking="remove").endswith("assistant\n")
    chat = renderer(SHAPES["qwen-3"])
    assert chat.render(ASKED) == chat.render_answer(ASKED.messages)


def test_white_space_before_an_answer_is_learnt_once():
    chat = renderer(SHAPES["glm-4.5"])
    written = chat.encode_answer(ASKED.messages, "\n4")  # as the model has learnt to begin
    assert chat.encode_answer(ASKED.messages, "4") == written


def test_a_variable_that_is_written_out_is_no_switch():
    told = "{{- 'Effort: ' ~ (reasoning_effort if reasoning_effort is defined else 'low') -}}"
    shape = Shape(told + CHATML, ("<|im_start|>", "<|im_end|>"), "<|im_end|>")
    assert renderer(shape).template.switch == {}


def test_template_arguments_are_in_every_render():
    assert "Reasoning: low." in rendered("gpt-oss", arguments={"reasoning_effort": "low"})
    low = renderer(SHAPES["gpt-oss"], arguments={"reasoning_effort": "low"})
    text = shaped_tokenizer(SHAPES["gpt-oss"]).decode(low.render_answer(ASKED.messages))
    assert "Reasoning: low." in text


@pytest.mark.parametrize(
    ("name", "settings", "end"),
    [
        ("llama-3", {}, "<|end_header_id|>\n\n<translated>"),
        ("qwen-3", {}, "<think>\n\n</think>\n\n<translated>"),
        ("qwen-3", {"thinking": "remove"}, "assistant\n<think>\n\n</think>\n\n<translated>"),
        ("qwen-3", {"thinking": "keep"}, "assistant\n<think>\n\n</think>\n\n<translated>"),
        ("gpt-oss", {}, "<|start|>assistant<|channel|>final<|message|><translated>"),
        ("deepseek-r1", {}, "<|Assistant|><think>\n"),
        ("deepseek-v3.1", {}, "<|Assistant|></think><translated>"),
        ("deepseek-v3.1", {"arguments": {"thinking": True}}, "<|Assistant|><think>"),
        ("glm-4.5", {}, "<|assistant|>\n<think></think>\n<translated>"),
        ("glm-4.5", {"thinking": "remove"}, "<|assistant|>\n<think></think>\n<translated>"),
        ("llama-2", {}, " [/INST] <translated>"),
    ],
)
def test_the_primer_is_the_answer_s_beginning_or_not_used(name, settings, end):
    assert rendered(name, TRANSLATED, **settings).endswith(end)


@pytest.mark.parametrize("thinking", ["remove", "keep"])
def test_what_follows_an_unused_primer_is_read_from_the_answer(thinking):
    chat = renderer(SHAPES["deepseek-r1"], thinking=thinking)
    stop = (TRANSLATION_STOP,)
    thought = "I write <translated> and </translated>.\n</think>\n\n"
    assert chat.thinks(TRANSLATED)
    said = chat.parse_answer(TRANSLATED, f"{thought}Here: <translated>4</translated> Done.", stop)
    assert said == ("4</translated>", None, True)
    assert chat.parse_answer(TRANSLATED, f"{thought}4", stop) == ("", None, False)
    assert chat.parse_answer(TRANSLATED, "I write", stop) == ("", Failure.UNCLOSED_THOUGHT, False)


def test_an_answer_without_an_unused_primer_is_whole_where_no_instruction_asks_for_it():
    chat = renderer(SHAPES["deepseek-r1"])
    asked = ChatRequest("", ASKED.messages, primer="The best answer is")
    thought = "B?\n</think>\n\n"
    said = chat.parse_answer(asked, f"{thought}The correct answer is B.\n\nQ:", ("Q:",))
    assert said == ("The correct answer is B.\n\nQ:", None, True)
    said = chat.parse_answer(asked, f"{thought}The best answer is B.")
    assert said == (" B.", None, False)


def test_a_primed_answer_is_read_as_it_is():
    chat = renderer(SHAPES["gpt-oss"])
    assert not chat.thinks(TRANSLATED)
    assert chat.parse_answer(TRANSLATED, "4</translated>") == ("4</translated>", None, False)


def test_the_final_channel_alone_is_said():
    shape = SHAPES["gpt-oss"]
    chat, tokenizer = renderer(shape), shaped_tokenizer(shape)
    written = (
        "<|channel|>analysis<|message|>English thoughts.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Nina tiene 4."
    )
    text = chat.decode(tokenizer(written, add_special_tokens=False)["input_ids"])
    assert chat.parse_answer(ASKED, text) == ("Nina tiene 4.", None, False)
    thought = written.partition("<|start|>")[0]
    text = chat.decode(tokenizer(thought, add_special_tokens=False)["input_ids"])
    assert chat.parse_answer(ASKED, text) == ("", Failure.UNCLOSED_THOUGHT, False)
    assert chat.needs_tokens


def test_a_pair_of_gpt_oss_is_trained_in_the_final_channel():
    shape = SHAPES["gpt-oss"]
    chat, tokenizer = renderer(shape), shaped_tokenizer(shape)
    assert tokenizer.decode(chat.render_answer(ASKED.messages)).endswith(
        "<|start|>assistant<|channel|>final<|message|>"
    )
    assert tokenizer.decode(chat.encode_answer(ASKED.messages, "4")) == "4<|return|>"


def test_kept_thoughts_are_learnt_as_they_were_written():
    shape = SHAPES["qwen-3"]
    chat, tokenizer = renderer(shape, thinking="keep"), shaped_tokenizer(shape)
    text = "<think>\nFour.\n</think>\n\n4"
    assert chat.parse_answer(ASKED, text) == (text, None, False)
    assert chat.render_answer(ASKED.messages) == chat.render(ASKED)
    assert tokenizer.decode(chat.encode_answer(ASKED.messages, text)) == f"{text}<|im_end|>"


def test_thoughts_are_kept_with_their_marks_and_no_other_control_token():
    shape = SHAPES["qwen-3"]
    chat, tokenizer = renderer(shape, thinking="keep"), shaped_tokenizer(shape)
    text = "<think>\nUse <tool_call><|im_end|>.\n</think>\n\n4"
    tokens = chat.encode_answer(ASKED.messages, text)
    assert tokenizer.decode(tokens) == f"{text}<|im_end|>"
    found = [token for token in tokens if token in control_ids(tokenizer)]
    assert tokenizer.convert_ids_to_tokens(found) == ["<think>", "</think>", "<|im_end|>"]
    asked = chat.render(ChatRequest("", [{"role": "user", "content": text}]))
    assert tokenizer.convert_tokens_to_ids("<think>") not in asked


def test_stop_strings_end_answers_and_not_thoughts():
    chat = renderer(SHAPES["qwen-3"], thinking="remove")
    assert chat.thinks(ASKED)
    said = chat.parse_answer(ASKED, "<think>\nQ: a\n</think>\n\nIt is 4. Q: b", ("Q:",))
    assert said == ("It is 4. Q:", None, True)
    assert not renderer(SHAPES["qwen-3"]).thinks(ASKED)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4", "4"),
        (" 4 ", " 4 "),
        ("<think>\na\n</think>\n\n4\n", "4\n"),
        ("a\n</think>\n\n4", "4"),
        ("<think>a</think><think>b</think>4", "4"),
        ("It is <think>a</think> 4", "It is 4"),
        ("It is <think>a</think>4", "It is 4"),
        ("4 <think>a</think>", "4"),
        ("x\n\n<think>a</think>y", "x\n\ny"),
        ("<think>a", None),
        ("4 <think>a", None),
        ("", ""),
    ],
)
def test_thoughts_are_taken_out(text, said):
    assert strip_thoughts(text, [THINK]) == said


def test_a_thought_that_the_prompt_began_is_taken_out():
    assert strip_thoughts("a\n</think>\n\n4", [THINK], opened=True) == "4"
    assert strip_thoughts("4", [THINK], opened=True) is None


def test_an_answer_that_begins_with_a_thought_loses_it_whatever_the_files_show():
    chat = renderer(SHAPES["llama-3"])
    assert chat.parse_answer(ASKED, "<think>a</think>\n4") == ("4", None, False)
    assert chat.parse_answer(ASKED, "The tag <think> is HTML") == (
        "The tag <think> is HTML",
        None,
        False,
    )
    assert chat.parse_answer(ASKED, "<think>a") == ("", Failure.UNCLOSED_THOUGHT, False)


@pytest.mark.parametrize(
    "pair",
    [
        ("<think>", "</think>"),
        ("<seed:think>", "</seed:think>"),
        ("[THINK]", "[/THINK]"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
        ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
        ("<|channel>thought", "<channel|>"),
    ],
)
def test_marks_of_many_families_are_found(pair):
    opening, closing = pair
    [found] = find_marks(f"{{{{ content.split('{closing}') }}}}", [opening])
    assert (found.opening, found.closing) == pair


def test_thoughts_that_cannot_be_treated_as_asked_are_refused():
    with pytest.raises(BadInput, match="no switch"):
        renderer(SHAPES["deepseek-r1"], thinking="off")
    with pytest.raises(BadInput, match=r"special tokens .*, so thoughts cannot be kept"):
        renderer(SHAPES["gpt-oss"], thinking="keep")
    switch = "{%- if thinking -%}{{- 'Think aloud.' -}}{%- endif -%}"
    hidden = Shape(switch + CHATML, ("<|im_start|>", "<|im_end|>"), "<|im_end|>")
    assert renderer(hidden).template.thinking == "off"
    with pytest.raises(BadInput, match=r"arguments\.thinking lets .* shows where a thought ends"):
        renderer(hidden, arguments={"thinking": True})
    with pytest.raises(BadInput, match=r"model\.thinking lets .* shows where a thought ends"):
        renderer(hidden, thinking="remove")


@pytest.mark.parametrize("name", ["qwen-3", "glm-4.5"])
def test_thoughts_that_are_off_and_turned_on_by_an_argument_are_refused(name):
    on = {"enable_thinking": True}
    with pytest.raises(BadInput, match=r"off, but .*enable_thinking turns"):
        renderer(SHAPES[name], thinking="off", arguments=on)
    off = {"enable_thinking": False}
    assert renderer(SHAPES[name], thinking="off", arguments=off).template.thinking == "off"


def test_given_answers_are_scored_as_answers():
    chat, tokenizer = renderer(SHAPES["gpt-oss"]), shaped_tokenizer(SHAPES["gpt-oss"])

    class Asked:
        messages, primer, continuations = ASKED.messages, "", (" 4", " 5")

    context, answers = chat.render_continuations(Asked())
    assert tokenizer.decode(context).endswith("<|channel|>final<|message|>")
    assert [tokenizer.decode(answer) for answer in answers] == [" 4", " 5"]


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("llama-2", "[/INST] The answer is"),
        ("glm-4.5", "<think></think>\nThe answer is"),
        ("gpt-oss", "<|channel|>final<|message|>The answer is"),
    ],
)
def test_given_answers_follow_a_primer_as_in_generation(name, end):
    asked = ScoreRequest("", ASKED.messages, (" 4", " 5"), primer="The answer is")
    chat, tokenizer = renderer(SHAPES[name]), shaped_tokenizer(SHAPES[name])
    context, answers = chat.render_continuations(asked)
    assert tokenizer.decode(context).endswith(end)
    assert context == chat.render(ChatRequest("", ASKED.messages, primer=asked.primer))
    assert [tokenizer.decode(context + each) for each in answers] == [
        tokenizer.decode(context) + text for text in asked.continuations
    ]


def test_one_day_is_told_whatever_day_it_is(monkeypatch):
    for name, written in (("llama-3.2", "03 Feb 2026"), ("gpt-oss", "2026-02-03")):
        chat = renderer(SHAPES[name], date="2026-02-03")
        assert chat.template.uses_date
        text = shaped_tokenizer(SHAPES[name]).decode(chat.render(ASKED))
        assert written in text
        assert "2024" in shaped_tokenizer(SHAPES[name]).decode(renderer(SHAPES[name]).render(ASKED))
    assert not renderer(SHAPES["llama-3"]).template.uses_date
    assert not renderer(SHAPES["llama-3.2"], arguments={"date_string": "x"}).template.uses_date
