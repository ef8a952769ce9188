"""Scores, intervals and counts against cases worked out by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from lidr.components.judge.cases import Item, ItemsToJudge
from lidr.components.judge.summary import Judged, items_of, score_of, summarise
from lidr.components.judging.outcomes import JudgementOutcome
from lidr.components.shared.config.judge import JudgedTask, Price
from lidr.components.shared.inputs.questions import Question
from lidr.components.shared.records.judged import JudgeFailure, Order
from lidr.components.shared.records.schema import Answer
from lidr.components.shared.stats.intervals import macro_average, wilson

DUEL = JudgedTask.model_validate({"name": "head_to_head", "questions": "q.{language}"})
BENCH = JudgedTask.model_validate({"name": "mt_bench", "questions": "q.{language}"})
FREE = Price()
ORDERS = (Order.CANDIDATE_FIRST, Order.CANDIDATE_SECOND)


def judged(
    task: JudgedTask, language: str, *rows: tuple[float | None, ...], length: int = 10
) -> Judged:
    """Return items with the outcomes of their judgements; a value of None failed to parse."""
    pairs = []
    for n, values in enumerate(rows):
        turns = 1 if task.is_pairwise else len(values)
        answers = [
            Answer(task.name, language, str(n), turn, "?", "a" * length, "stop", 5, language)
            for turn in range(turns)
        ]
        item = Item(task, language, Question(str(n), ("?",) * turns), answers, "b" * 10)
        each = [
            JudgementOutcome(
                turn=0 if task.is_pairwise else at,
                order=ORDERS[at] if task.is_pairwise else Order.ALONE,
                value=value,
                failure=JudgeFailure.UNPARSABLE if value is None else None,
                input_tokens=1000,
                output_tokens=2,
            )
            for at, value in enumerate(values)
        ]
        pairs.append((item, each))
    return pairs


def summary(*groups: Judged, price: Price = FREE, others=("es", "de")) -> dict:
    pairs = [pair for group in groups for pair in group]
    return summarise(ItemsToJudge([item for item, _ in pairs]), pairs, others, price, 0)


def place(*rows: tuple[float | None, ...], task: JudgedTask = DUEL) -> dict:
    return summary(judged(task, "es", *rows))["tasks"][task.name]["languages"]["es"]


def test_wins_ties_and_losses_by_both_orders():
    found = place((0.9, 0.6), (0.8, 0.3), (0.2, 0.1), (0.4, 0.7), (1.0, 1.0))
    assert (found["won"], found["tied"], found["lost"]) == (2, 2, 1)
    assert found["score"]["value"] == pytest.approx((0.75 + 0.55 + 0.15 + 0.55 + 1.0) / 5)
    assert found["flipped"] == 0.4
    firsts = [0.9, 0.4, 0.8, 0.7, 0.2, 0.9, 0.4, 0.3, 1.0, 0.0]
    assert found["first_preference"] == pytest.approx(sum(firsts) / 10)


def test_without_taste_for_length_the_controlled_rate_is_the_win_rate():
    found = place((0.9, 0.6), (0.2, 0.1), (0.6, 0.6))
    assert found["length_controlled"]["value"] == pytest.approx(0.5, abs=1e-6)


def test_an_item_needs_all_its_judgements():
    found = place((1.0, None), (None, None), (1.0, 1.0))
    assert (found["left_out"], found["score"]) == (2, wilson(1, 1))
    assert found["failures"] == {"unparsable": 3}
    (item, outcomes), *_ = judged(DUEL, "es", (1.0, None))
    assert score_of(item, outcomes) is None
    assert items_of([(item, outcomes)]) == []


@pytest.mark.parametrize(("task", "target"), [(DUEL, ""), (BENCH, "known")])
def test_a_comparison_s_target_is_the_other_answer_even_if_empty(task, target):
    (item, outcomes), *_ = judged(task, "es", (1.0, 1.0))
    item = replace(item, rival="", question=replace(item.question, reference="known"))
    assert [each.target for each in items_of([(item, outcomes)])] == [target]


def test_a_conversation_has_the_mean_of_its_turns():
    found = place((8.0, 6.0), (10.0, 3.0), (5.0, None), task=BENCH)
    assert found["score"]["value"] == pytest.approx((0.7 + 0.65) / 2)
    assert found["left_out"] == 1
    assert found["turns"]["1"] == {"value": pytest.approx(23 / 30), "n": 3}
    assert found["turns"]["2"] == {"value": pytest.approx(0.45), "n": 2}


def test_nothing_valid_is_not_measured_and_no_zero_in_the_average():
    counts = summary(judged(DUEL, "es", (None, None)), judged(DUEL, "de", (1.0, 1.0), (0.0, 0.0)))[
        "tasks"
    ]["head_to_head"]
    assert counts["languages"]["es"]["score"]["n"] == 0
    assert counts["average"] == macro_average([wilson(1, 2)])


def test_the_dominant_language_is_no_part_of_the_average():
    counts = summary(judged(DUEL, "en", (1.0, 1.0)), judged(DUEL, "es", (0.0, 0.0)))
    assert counts["tasks"]["head_to_head"]["average"]["value"] == 0


def test_tokens_and_dollars_add_up():
    groups = judged(DUEL, "es", (1.0, 1.0)), judged(BENCH, "de", (3.0, None))
    counts = summary(*groups, price=Price(input=2, output=10))
    assert (counts["judgements"], counts["input_tokens"], counts["output_tokens"]) == (4, 4000, 8)
    assert counts["dollars"] == pytest.approx(4000 * 2e-6 + 8 * 10e-6)
    parts = [row["languages"] for row in counts["tasks"].values()]
    assert sum(row["dollars"] for part in parts for row in part.values()) == pytest.approx(
        counts["dollars"]
    )


def test_a_judge_that_cannot_decide_calls_it_a_tie():
    found = place((0.5, 0.5), (0.9, 0.5), (0.1, 0.2))
    assert (found["won"], found["tied"], found["lost"], found["flipped"]) == (0, 2, 1, 0.0)


def test_conversations_without_an_answer_are_counted_as_what_they_are():
    nothing = ItemsToJudge([], Counter({("mt_bench", "th"): 2}))
    found = summarise(nothing, [], ("th",), FREE, 0)["tasks"]["mt_bench"]["languages"]["th"]
    assert found["unanswered"] == 2 and found["turns"] == {} and "won" not in found
