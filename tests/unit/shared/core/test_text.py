from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidr.components.shared.core.text import is_repetitive, valid_unicode


@pytest.mark.parametrize(
    "text",
    [
        "I like it. " * 10,
        "Well, " + "ha" * 40,
        "First this.\n" + "- the same line again\n" * 4,
        "abc" + "!" * 60,
        "好" * 60,
        "start " + "0123456789" * 30 + "  \n",
    ],
)
def test_a_loop_at_the_end_is_repetitive(text):
    assert is_repetitive(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " " * 200,
        "no no no no",
        "The cat sat on the mat. " * 3,
        "haha " * 20 + "and then it ends well, after all, as every good story does in the end.",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24",
        "!" * 59,
    ],
)
def test_ordinary_text_is_not(text):
    assert not is_repetitive(text)


def test_long_texts_are_judged_too():
    assert is_repetitive("a" * 1_000_000)
    assert is_repetitive("ab c" * 250_000)
    assert not is_repetitive("".join(map(chr, range(32, 55_000))))


@given(st.text())
def test_valid_text_is_left_alone(text):
    assert valid_unicode(text) == text


def test_lone_surrogates_are_replaced_and_pairs_joined():
    assert valid_unicode("a\ud800é\udc00") == "a\ufffdé\ufffd"
    assert valid_unicode("\ud83d\ude00") == "😀"
