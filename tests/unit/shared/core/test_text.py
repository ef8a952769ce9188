from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidr.components.shared.core.text import (
    is_repetitive,
    last_number,
    numbers,
    same_numbers,
    valid_unicode,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("none here", []),
        ("4 + 2 = 6.", ["4", "2", "6"]),
        ("1,000 and 1.000", ["1000", "1000"]),
        ("1\u00a0000, 1\u202f000, 1\u2009000, 1'000, 1’000", ["1000"] * 5),
        ("1.234.567,89 and 1,234,567.89", ["1234567.89", "1234567.89"]),
        ("12,34,567", ["1234567"]),
        ("3.14, 3,14, 3.1416 and 3,1416", ["3.14", "3.14", "3.1416", "3.1416"]),
        ("0.125 and 0,125", ["0.125", "0.125"]),
        ("5.0, 5,00 and 5", ["5", "5", "5"]),
        ("007 and 0", ["7", "0"]),
        ("٣ و ٤٥", ["3", "45"]),
        ("٣٫١٤ و ١٬٠٠٠", ["3.14", "1000"]),
        ("३ और १२", ["3", "12"]),
        ("３ １，０００", ["3", "1000"]),
        ("x² costs $5", ["5"]),
        ("10% of 20,5", ["10", "20.5"]),
        ("v1.2.3, CO2, H2O and 2FA", ["2"]),
        ("10 000, 8 848,86 and 50 000 000", ["10000", "8848.86", "50000000"]),
        ("2019 500 and 2 2000", ["2019", "500", "2", "2000"]),
    ],
)
def test_numbers_are_the_same_in_every_script(text, found):
    assert numbers(text) == found


def test_word_order_does_not_matter_but_how_often_does():
    assert same_numbers("3 of 12", "de 12, 3")
    assert not same_numbers("3 of 12", "3, 3 of 12")
    assert not same_numbers("3 of 12", "3 of 13")
    assert same_numbers("none", "")


def test_the_last_number_is_the_answer():
    assert last_number("6 - 3 = 3 books, of 1,000") == "1000"
    assert last_number("no number") is None


@given(st.text())
def test_any_text_has_numbers_or_none(text):
    assert all(number[0].isascii() and number[0].isdigit() for number in numbers(text))


@given(st.integers(0, 10**12))
def test_grouping_does_not_change_a_number(number):
    plain = str(number)
    for mark in ",.'\u202f":
        assert numbers(f"{number:,}".replace(",", mark)) == [plain]


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


def test_long_texts_take_no_time():
    began = time.perf_counter()
    for text in ("a" * 1_000_000, "ab c" * 250_000, "".join(map(chr, range(32, 55_000)))):
        is_repetitive(text)
    assert time.perf_counter() - began < 2


@given(st.text())
def test_valid_text_is_left_alone(text):
    assert valid_unicode(text) == text


def test_lone_surrogates_are_replaced_and_pairs_joined():
    assert valid_unicode("a\ud800é\udc00") == "a\ufffdé\ufffd"
    assert valid_unicode("\ud83d\ude00") == "😀"
