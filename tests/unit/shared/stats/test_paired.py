from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from lidr.components.shared.stats.paired import (
    PairedItems,
    by_question,
    question_of,
    unmatched_tasks,
)
from lidr.components.shared.stats.significance import sign_flip


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("mgsm_en_cot_en", "en", "0"), ("mgsm_en_cot_de", "de", "0")),
        (("m_mmlu_en", "en", "anatomy/test/1"), ("m_mmlu_es", "es", "anatomy/test/1")),
        (("tiny_world_es", "es", "e0"), ("tiny_world_fr", "fr", "e0")),
        (("mine_spanish_stem", "es", "a"), ("mine_german_stem", "de", "a")),
        (("care", "es", "a"), ("care", "de", "a")),
    ],
)
def test_a_question_is_the_same_in_every_language_of_a_task(first, second):
    assert question_of(first) == question_of(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("hellaswag", "en", "24"), ("hellaswag_es", "es", "24")),
        (("truthfulqa_mc1", "en", "0"), ("truthfulqa_es_mc1", "es", "0")),
        (("arc_es", "es", "Mercury_1"), ("m_mmlu_es", "es", "Mercury_1")),
        (("mine_es", "es", "es:0"), ("mine_de", "de", "de:0")),
    ],
)
def test_items_of_different_data_sets_are_different_questions(first, second):
    assert question_of(first) != question_of(second)


def group(task: str, ids: str, gains: tuple[float, ...] = ()) -> PairedItems:
    """Return items whose ids are the letters of `ids`."""
    return PairedItems([(task, name) for name in ids], np.array(gains or (0.0,) * len(ids)))


def joined(*parts: PairedItems) -> PairedItems:
    questions = [question for part in parts for question in part.questions]
    return PairedItems(questions, np.concatenate([part.gains for part in parts]))


@pytest.mark.parametrize(
    ("groups", "tasks"),
    [
        ([group("t", "abc"), group("t", "bcd"), group("t", "ac")], []),
        ([joined(group("t", "abc"), group("only", "a"))], []),
        ([group("t", "ab"), group("t", "xy")], ["t"]),
        ([group("t", "ab"), group("t", "ab"), group("t", "xy")], ["t"]),
        ([group("t", "ab"), joined(group("t", "ab"), group("only", "a"))], ["only"]),
        ([group("arc_challenge", "ab"), group("arc_{language}", "ab")],
            ["arc_challenge", "arc_{language}"]),
    ],
    ids=["matched", "one language", "rows", "rows of one", "of one language", "translated"],
)  # fmt: skip
def test_tasks_are_unmatched_unless_all_languages_share_questions(groups, tasks):
    assert unmatched_tasks(groups) == tasks


def test_the_mean_gain_is_split_by_question_where_questions_match():
    groups = [group("t", "ab", (1.0, -1.0)), group("t", "bc", (1.0, 1.0))]
    parts, values = by_question(groups)
    assert parts.tolist() == [0.25, 0.0, 0.25]
    assert values.mean() == pytest.approx(0.5)


def test_without_matching_questions_gains_go_with_gains_and_losses_with_losses():
    groups = [group("t", "abcd", (0.0, 1.0, -1.0, 1.0)), group("u", "xyz", (-1.0, 0.0, 1.0))]
    parts, values = by_question(groups)
    assert parts.tolist() == pytest.approx([1 / 8 + 1 / 6, 1 / 8, 0.0, -1 / 8 - 1 / 6])
    assert values.mean() == pytest.approx(parts.sum()) == pytest.approx(1 / 8)


@pytest.mark.parametrize("seed", range(4))
def test_no_hidden_match_of_questions_makes_a_copy_pass_oftener_than_alpha(seed):
    """Exact: over all exchanges of the two models' answers to seven hidden questions."""
    rng = np.random.default_rng(seed)
    hidden = rng.choice([-1.0, 0.0, 1.0], (7, 3), p=[0.2, 0.2, 0.6])
    signs = np.array(list(product((1.0, -1.0), repeat=7)))
    passed = 0
    for sign in signs:
        columns = (sign[:, np.newaxis] * hidden).T
        parts, _ = by_question(
            [group(str(k), "abcdefg", tuple(gains)) for k, gains in enumerate(columns)]
        )
        passed += _exact_p(parts) <= 0.05
    assert passed / len(signs) <= 0.05


def _exact_p(parts: np.ndarray) -> float:
    sums = np.array(list(product((1.0, -1.0), repeat=len(parts)))) @ parts
    return float((sums >= parts.sum() - 1e-9).mean())


def test_rows_that_are_one_off_do_not_make_copies_pass():
    """Paired by their numbers, shifted rows of the same questions pass in 18% of the cases."""
    passed = 0
    for seed in range(200):
        gains = np.random.default_rng(seed).choice([-1.0, 0.0, 1.0], 100, p=[0.2, 0.6, 0.2])
        shifted = [np.roll(gains, k) for k in range(4)]
        groups = [
            PairedItems([("t_{language}", f"{k}:{n}") for n in range(100)], own)
            for k, own in enumerate(shifted)
        ]
        passed += sign_flip(by_question(groups)[0], alternative="greater", resamples=500) <= 0.05
    assert passed / 200 <= 0.08
