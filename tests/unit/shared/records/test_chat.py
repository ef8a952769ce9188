from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidr.components.shared.records.chat import (
    TRANSLATION_STOP,
    answer_messages,
    read_translation,
    recover_translation,
    translation_messages,
)

PIECES = st.sampled_from(
    [
        "<sentence>",
        "</sentence>",
        "<translated>",
        "</translated>",
        "<",
        ">",
        "/",
        "‹",
        "›",
        "·",
        "sentence",
        "translated",
        "‹sentence›",
        "‹·sentence›",
        "‹··/translated›",
        "\n",
        "é",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join))


def sentence_of(text: str) -> str:
    [message] = translation_messages(text, "en", "es")
    return message["content"].partition("\n<sentence>")[2].removesuffix("</sentence>")


def test_the_request_names_both_languages_and_carries_the_text():
    [message] = translation_messages("Hello", "en", "de")
    assert message["role"] == "user"
    assert "from English to German" in message["content"]
    assert message["content"].endswith("<sentence>Hello</sentence>")


def test_a_prompt_is_asked_as_it_is():
    text = "<sentence> \n "
    assert answer_messages(text) == [{"role": "user", "content": text}]


@given(TEXTS)
def test_text_cannot_close_its_sentence_or_end_the_translation(text):
    inside = sentence_of(text)
    for tag in ("<sentence>", "</sentence>", "<translated>", "</translated>"):
        assert tag not in inside


@given(TEXTS)
def test_a_faithful_copy_comes_back_as_it_was(text):
    found, failure = read_translation(sentence_of(text) + TRANSLATION_STOP, "stop")
    assert (found or "") == text.strip()
    assert failure == (None if text.strip() else "empty")


@pytest.mark.parametrize(
    ("output", "finish_reason", "text", "failure"),
    [
        ("Hola</translated>", "stop", "Hola", None),
        ("  Hola \n</translated>", "stop", "Hola", None),
        ("Hola</translated> and more", "stop", "Hola", None),
        ("Hola</translated></translated>", "stop", "Hola", None),
        ("<translated>Hola</translated>", "stop", "Hola", None),
        ("<translated>\n<translated> Hola</translated>", "stop", "Hola", None),
        ("Hola mundo</sentence></translated>", "stop", "Hola mundo", None),
        ("Hola \n</sentence>\n</translated>", "stop", "Hola", None),
        ("Hola \u2039\u00b7/sentence\u203a</translated>", "stop", "Hola </sentence>", None),
        ("</sentence></translated>", "stop", None, "empty"),
        ("<sentence>Hola.</sentence></translated>", "stop", "Hola.", None),
        ("<translated><sentence>Hola.</sentence></translated>", "stop", "Hola.", None),
        ("Hola.</sentence></sentence></translated>", "stop", None, "untagged"),
        ("Hola.</sentence><translated>Hola.</translated>", "stop", None, "untagged"),
        ("Hola</translated>", "length", "Hola", None),
        ("Hola", "stop", None, "untagged"),
        ("Hola</translat", "stop", None, "untagged"),
        ("Hola", "length", None, "truncated"),
        ("</translated>", "stop", None, "empty"),
        (" \n</translated>", "stop", None, "empty"),
        ("", "stop", None, "untagged"),
        ("", "failed", None, "untagged"),
    ],
)
def test_a_translation_is_read_or_has_a_reason(output, finish_reason, text, failure):
    assert read_translation(output, finish_reason) == (text, failure)


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("Hola</translate>", ("Hola", "misspelt_tag")),
        ("Hola </translation>\n", ("Hola", "misspelt_tag")),
        ("Hola</Translated", ("Hola", "misspelt_tag")),
        ("Hola<translated/>", ("Hola", "misspelt_tag")),
        ("Hola[/translated]", ("Hola", "misspelt_tag")),
        ("Hola<\\translated>", ("Hola", "misspelt_tag")),
        ("Hola</sentence>", ("Hola", "misspelt_tag")),
        ("<translated>Hola</ translated >", ("Hola", "misspelt_tag")),
        ("<translated><translated>Hola</translate>", ("Hola", "misspelt_tag")),
        ("Hola</sentence></translate>", ("Hola", "misspelt_tag")),
        ("Hola", ("Hola", "end_of_turn")),
        ("<sentence>Hola</sentence>", ("Hola", "misspelt_tag")),
        ("Hola.</sentence></sentence></translated>", None),
        ("Hola.</sentence><translated>Hola.</translated>", None),
        ("See also: [related]", ("See also: [related]", "end_of_turn")),
        ("Hola</traslated>", ("Hola", "misspelt_tag")),
        ("Hola</tanslated>", ("Hola", "misspelt_tag")),
        ("<translated> Hola\n", ("Hola", "end_of_turn")),
        ("usa \u2039\u00b7sentence\u203a", ("usa <sentence>", "end_of_turn")),
        ("3 < 4 y <b>Hola</b>", ("3 < 4 y <b>Hola</b>", "end_of_turn")),
        ("Hola</translate> and a note", None),
        ("Hola <sentence>Hello</sentence>", None),
        ("Hola <sentence>Hello</translated>", None),
        ("Hola</sentence></sentence></translate>", None),
        ("Hola<//translate>", ("Hola<//translate>", "end_of_turn")),
        ("Hola</translate//>", None),
        ("</translate>", None),
        ("", None),
        (" \n", None),
    ],
)
def test_a_translation_is_recovered_by_a_rule_or_not_at_all(output, found):
    assert recover_translation(output) == found


@pytest.mark.parametrize("slash", ["", "/", "\\", " / ", "\n\\", "/ \t", "  "])
@pytest.mark.parametrize("end", ["", ">", "]", "/>", " \\ ]", "\n>", " /"])
@pytest.mark.parametrize("word", ["translate", "Translation", "sentence", "translated"])
def test_a_closing_tag_may_have_spaces_and_slashes_around_its_word(word, slash, end):
    for start in "<[":
        tagged = f"Hola{start}{slash}{word}{end}"
        assert recover_translation(tagged) == ("Hola", "misspelt_tag")
        assert recover_translation(f"{tagged} y m\u00e1s") is None
