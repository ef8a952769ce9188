from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidr.components.shared.core.text import (
    is_repetitive,
    one_line,
    printable,
    printable_line,
    valid_unicode,
)


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


@pytest.mark.parametrize(
    "text",
    [
        "12\u202f000\u00a0€",
        "東京\u3000大阪",
        "می\u200cخواهم",
        "क\u094d\u200dष",
        "👩\u200d🚀",
    ],
)
def test_text_of_any_language_is_shown_as_it_is(text):
    assert printable_line(text) == printable(text) == text
    assert one_line(text) == " ".join(text.split())


@pytest.mark.parametrize("code", ["\x1b", "\x00", "\x85", "\u202e", "\u2066", "\u2028", "\ud800"])
def test_what_steers_a_terminal_is_replaced(code):
    assert printable_line(f"a{code}b") == "a\ufffdb"
    assert code not in one_line(f"a{code}b")


def test_only_the_end_of_a_text_is_searched_for_a_loop():
    piece = "".join(map(chr, range(0x4E00, 0x4E00 + 600)))
    assert is_repetitive(piece[:500] * 4)
    assert not is_repetitive(piece * 4)
