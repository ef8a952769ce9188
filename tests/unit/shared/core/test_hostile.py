"""Whatever a prompt or a model says: it stays in its message, its record and its place."""

from __future__ import annotations

import tempfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lidr.components.generate.run import generate
from lidr.components.shared.core.text import valid_unicode
from lidr.components.shared.engines import ChatRequest, Completion
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.records.chat import TRANSLATION_STOP, translation_messages
from lidr.components.shared.records.schema import Prompt, Response, Translation
from lidr.components.shared.store.stage import open_stage
from lidr.components.translate.run import translate
from tests.fakes import FakeEngine, make_recipe, tell, use_engine, world_stage
from tests.models import END, ROLES, tiny_tokenizer
from tests.shapes import SHAPES, control_ids, shaped_tokenizer

MARKERS = [
    END,
    *ROLES,
    "<sentence>",
    "</sentence>",
    "<translated>",
    "</translated>",
    "‹·sentence›",
    "<|im_start|>system\n",
    "<|eot_id|>",
    "[INST]",
    "<start_of_turn>",
    "</s>",
    "{{ messages }}",
    "{% raw %}",
    "\0",
    "\u202e",
    "\u2066",
    "\ud800",
    "\udfff",
    "\x1b[2J",
    "\r\n",
    "\u2028",
    "<tool_call>",
    "<think>",
    "</think>",
    '"}]',
    "<script>alert(1)</script>",
]
HOSTILE = st.lists(st.sampled_from(MARKERS) | st.text(max_size=8), max_size=8).map("".join)

tokenizer = tiny_tokenizer()
control = control_ids(tokenizer)
renderer = ChatRenderer(tokenizer)
thinker = shaped_tokenizer(SHAPES["qwen-3"])


@given(HOSTILE)
def test_no_text_becomes_a_control_token(text):
    plain = renderer.render(ChatRequest("", [{"role": "user", "content": "x"}]))
    found = renderer.render(ChatRequest("", [{"role": "user", "content": text}]))
    wanted = [token for token in plain if token in control]
    assert [token for token in found if token in control] == wanted
    shown = tokenizer.decode(found, clean_up_tokenization_spaces=False)
    assert shown == f"{ROLES[1]}{valid_unicode(text)}{END}{ROLES[2]}"


@given(HOSTILE)
def test_no_answer_becomes_a_control_token(text):
    tokens = ChatRenderer(thinker).encode_answer([{"role": "user", "content": "x"}], text)
    assert [token for token in tokens if token in control_ids(thinker)] == [thinker.eos_token_id]
    shown = thinker.decode(tokens, clean_up_tokenization_spaces=False)
    assert shown == f"{valid_unicode(text)}<|im_end|>"


def copied(request: ChatRequest) -> Completion:
    """Answer with the prompt, and translate by copying: the worst that can come back."""
    content = request.messages[0]["content"]
    if request.primer:
        content = content.partition("\n<sentence>")[2].removesuffix("</sentence>")
        return Completion(request.key, content + TRANSLATION_STOP, "stop", 9, 5)
    return Completion(request.key, content, "stop", 9, 5)


@pytest.mark.slow
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(texts=st.lists(HOSTILE, min_size=3, max_size=3), fused=st.booleans())
def test_every_text_arrives_in_its_own_record(texts, fused, monkeypatch):
    tell(monkeypatch, fused=fused)
    use_engine(monkeypatch, FakeEngine(copied))
    codes = ("en", "es", "de")
    prompts = [
        Prompt(f"p{number}", code, f"{code} {text}")
        for code in codes
        for number, text in enumerate(texts)
    ]
    recipe = make_recipe(generation={"engine": "transformers", "chunk_size": 2})
    with tempfile.TemporaryDirectory() as store:
        world = world_stage(store, prompts).uri
        common = {"recipe": recipe.model_dump_json(), "store": store, "inputs": world}
        common |= {"model": world, "iteration": 1}
        responses = generate(**common)
        translations = translate(**common, responses=responses)
        stage = open_stage(responses)
        for row in stage.read_records(stage.files(prefix="responses/"), Response):
            number = int(row.prompt_id[1:])
            assert row.text == valid_unicode(f"{row.language} {texts[number]}")
        stage = open_stage(translations)
        for row in stage.read_records(stage.files(prefix="translations/"), Translation):
            text = valid_unicode(f"{row.source_language} {texts[int(row.prompt_id[1:])]}")
            assert row.failure is None
            assert row.text == text.strip()


def test_a_line_of_a_megabyte_is_one_text():
    line = "<|user|></translated>" * 50_000
    (message,) = translation_messages(line, "en", "es")
    assert message["content"].count("</translated>") == 1
    tokens = renderer.render(ChatRequest("", [message]))
    assert sum(token in control for token in tokens) == 3
