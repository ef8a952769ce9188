"""Contracts of the tiny world's problems: shared ids, disjoint splits, right answers, language."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from lidr.components.shared.core.languages import LanguageIdentifier
from lidr.components.toy.problems import (
    DOMINANT,
    LANGUAGES,
    LARGEST,
    NAMES,
    OTHERS,
    SPLITS,
    Problem,
    draw_problems,
    has_weak_form,
    misread,
    question,
    solution,
    worked_solution,
)

EQUATION = re.compile(r"(\d+) ([+-]) (\d+) = (\d+)")


def flawed_solution(problem: Problem, language: str) -> str:
    """Return the answer that takes the weak verbs of `language` for their opposites."""
    return worked_solution(problem, language, misread(problem, language))


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return draw_problems(0, "evaluation", 1000)


def test_draws_are_reproducible_prefix_stable_and_without_repeats() -> None:
    draw = draw_problems(3, "prompts", 400)
    assert draw[:150] == draw_problems(3, "prompts", 150)
    assert len({problem.prompt_id for problem in draw}) == 400
    assert draw != draw_problems(4, "prompts", 400)


def test_splits_share_no_problem_whatever_the_seeds() -> None:
    ids = {
        split: {p.prompt_id for seed in range(3) for p in draw_problems(seed, split, 1000)}
        for split in SPLITS
    }
    assert not ids["pretrain"] & ids["prompts"]
    assert not ids["pretrain"] & ids["evaluation"]
    assert not ids["prompts"] & ids["evaluation"]
    assert sorted(bucket for buckets in SPLITS.values() for bucket in buckets) == list(range(100))


def test_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="not one of pretrain, prompts, evaluation"):
        draw_problems(0, "test", 1)


@pytest.mark.parametrize("language", LANGUAGES)
def test_solutions_write_correct_equations_and_end_in_the_answer(
    problems: list[Problem], language: str
) -> None:
    for problem in problems:
        text = solution(problem, language)
        assert _computed(text) == problem.answer
        assert re.findall(r"\d+", text)[-1] == problem.answer
        steps = EQUATION.findall(text)
        assert [sign == "+" for _, sign, _, _ in steps] == list(problem.operations)
        assert steps[0][0] == str(problem.start)
        assert question(problem, language).startswith(f"{problem.name} ")
        numbers = re.findall(r"\d+", question(problem, language))
        assert numbers == [str(problem.start), steps[0][2], steps[1][2]]


@pytest.mark.parametrize("language", OTHERS)
def test_flawed_solutions_misread_exactly_the_weak_verbs(
    problems: list[Problem], language: str
) -> None:
    flawed = [p for p in problems if misread(p, language) != p.operations]
    assert 0.45 < len(flawed) / len(problems) < 0.66  # 5/9 tell a step with a weak verb
    for problem in problems:
        text = flawed_solution(problem, language)
        assert (text == solution(problem, language)) == (problem not in flawed)
        _computed(text)  # wrong in its reading, never in its arithmetic


def test_english_has_no_weakness(problems: list[Problem]) -> None:
    assert all(misread(p, DOMINANT) == p.operations for p in problems)
    assert not any(has_weak_form(p, DOMINANT) for p in problems)


@pytest.mark.parametrize("render", [question, solution, flawed_solution])
@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_recognised_as_their_language(
    problems: list[Problem], language: str, render: Callable[[Problem, str], str]
) -> None:
    found = LanguageIdentifier(LANGUAGES).identify([render(p, language) for p in problems])
    assert found.count(language) / len(found) >= 0.995


def test_languages_share_names_and_no_other_word(problems: list[Problem]) -> None:
    words = {
        language: {
            word.lower()
            for p in problems
            for text in (question(p, language), solution(p, language))
            for word in re.findall(r"[^\W\d_]+", text)
        }
        - {name.lower() for name in NAMES}
        for language in LANGUAGES
    }
    for one in LANGUAGES:
        for other in LANGUAGES:
            assert one == other or not words[one] & words[other]


def _computed(text: str) -> str:
    """Check both equations of a solution, their chaining and bounds; return the last result."""
    (a, first_sign, b, c), (d, second_sign, e, f) = (
        (int(left), sign, int(right), int(result))
        for left, sign, right, result in EQUATION.findall(text)
    )
    assert c == (a + b if first_sign == "+" else a - b)
    assert d == c
    assert f == (d + e if second_sign == "+" else d - e)
    assert all(0 < number <= LARGEST for number in (a, b, c, e, f))
    return str(f)
