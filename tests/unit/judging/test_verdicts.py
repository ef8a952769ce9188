from __future__ import annotations

import math

import pytest

from lidr.components.judging.verdicts import Position, read_preference, read_score
from lidr.components.shared.records.judged import JudgeFailure


def at(token: str, **shares: float) -> Position:
    """Return a token with probabilities of what could have stood there; `_7` stands for 7."""
    return Position(token, {name.strip("_"): math.log(share) for name, share in shares.items()})


@pytest.mark.parametrize("text", ["A", " A\n", "**A**", '"A"', "(A)", "A.", "<think>B?</think>\nA"])
def test_a_single_letter_is_a_verdict(text):
    assert read_preference(text, ()).value == 1


def test_the_other_letter_is_the_other_verdict():
    assert read_preference("B", ()).value == 0


@pytest.mark.parametrize(
    "text", ["", "a", "C", "AB", "A or B", "A is better", "Answer A", "Tie", "А", "Ａ", "A\nB"]
)
def test_nothing_else_is_a_verdict(text):
    verdict = read_preference(text, (at("A", A=1.0),))
    assert (verdict.value, verdict.failure) == (None, JudgeFailure.UNPARSABLE)


def test_a_preference_is_weighted_over_both_letters_however_spaced():
    verdict = read_preference(
        " A",
        (
            Position(
                " A",
                {" A": math.log(0.5), "A": math.log(0.1), "B": math.log(0.2), "C": math.log(0.2)},
            ),
        ),
    )
    assert verdict.value == pytest.approx(0.6 / 0.8)


def test_a_verdict_with_a_mark_around_it_keeps_its_weights():
    alternatives = {"(A": math.log(0.6), "B.": math.log(0.2)}
    verdict = read_preference("(A)", (Position("(A", alternatives), at(")")))
    assert verdict.value == pytest.approx(0.75)


def test_the_weights_are_those_where_the_verdict_stands():
    thought = at("A", A=0.01, B=0.99)
    verdict = read_preference("<think>A</think>B", (thought, at("</think>"), at("B", A=0.3, B=0.6)))
    assert verdict.value == pytest.approx(1 / 3)
    assert verdict.alternatives == {"A": math.log(0.3), "B": math.log(0.6)}


def test_alternatives_that_lack_the_verdict_do_not_count():
    assert read_preference("B", (at("B", A=0.5),)).value == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Score: 0", 0),
        ("It is fine.\n\nScore: 7", 7),
        ("**Score:** 10\n", 10),
        ("Score: **9**", 9),
        ("Score: 8\nthe same again\nScore: 8", 8),
        ("<think>\nScore: 2\n</think>\nScore: 3", 3),
    ],
)
def test_a_score_stands_on_the_last_line(text, value):
    assert read_score(text, ()).value == value


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("", JudgeFailure.UNPARSABLE),
        ("7", JudgeFailure.UNPARSABLE),
        ("Score: 7\nand more", JudgeFailure.UNPARSABLE),
        ("Score: 7/10", JudgeFailure.UNPARSABLE),
        ("Score: 7.5", JudgeFailure.UNPARSABLE),
        ("Score: -3", JudgeFailure.UNPARSABLE),
        ("Score: 07", JudgeFailure.UNPARSABLE),
        ("Score: ७", JudgeFailure.UNPARSABLE),
        ("Score: ７", JudgeFailure.UNPARSABLE),
        ("Score: seven", JudgeFailure.UNPARSABLE),
        ("Score: 11", JudgeFailure.OUT_OF_RANGE),
        ("Score: 100", JudgeFailure.OUT_OF_RANGE),
        ("Score: 10\nScore: 2", JudgeFailure.CONTRADICTORY),
    ],
)
def test_anything_else_is_counted_and_not_guessed(text, failure):
    assert read_score(text, ()).failure is failure


def test_a_score_is_the_expectation_over_whole_numbers():
    tokens = (
        at("Score"),
        at(":"),
        Position(
            " 7", {" 7": math.log(0.6), "8": math.log(0.2), "10": math.log(0.1), "x": math.log(0.1)}
        ),
    )
    assert read_score("Score: 7", tokens).value == pytest.approx((4.2 + 1.6 + 1.0) / 0.9)


def test_digits_that_make_ten_are_told_apart_by_what_follows():
    first = at("1", _1=0.8, _9=0.2)
    ten = read_score("Score: 10", (first, at("0", _0=0.75, end=0.25)))
    assert ten.value == pytest.approx(0.6 * 10 + 0.2 * 1 + 0.2 * 9)
    one = read_score("Score: 1", (first, at("<end>", _0=0.25, end=0.75)))
    assert one.value == pytest.approx(0.2 * 10 + 0.6 * 1 + 0.2 * 9)


def test_a_one_that_may_have_become_ten_is_left_out():
    assert read_score("Score: 9", (at("9", _9=0.6, _8=0.2, _1=0.2),)).value == pytest.approx(8.75)


def test_numbers_in_the_reasons_carry_no_weight():
    tokens = (at("3", _3=1.0), at(" reasons"), at("6", _6=0.5, _5=0.5, _10=1e-9))
    assert read_score("3 reasons\nScore: 6", tokens).value == pytest.approx(5.5)


def test_a_verdict_that_stands_in_several_tokens_weighs_one_at_most():
    ten = (
        Position("1", {"1": 0.0, " 1": 0.0, "\n1": 0.0}),
        Position("0", {"0": 0.0, " 0": 0.0, "*0": 0.0}),
    )
    assert read_score("Score: 10", ten).value == 10
    one = (Position("1", {"1": 0.0, " 1": 0.0}), Position("", {"0": 0.0, " 0": 0.0}))
    assert 0 <= read_score("Score: 1", one).value <= 10
    sure = (Position("A", {"A": 800.0, "B": -1.0}),)
    assert 0 <= read_preference("A", sure).value <= 1
