from __future__ import annotations

import pytest

from lidr.components.shared.records.schema import EvalItem
from lidr.components.shared.stats.premise import check_premise, premise_text


def items(right: dict[str, int], asked: int = 100, task: str = "mgsm_{}") -> list[EvalItem]:
    return [
        EvalItem(task.format(code), code, str(n), "?", "!", "x", float(n < count), code, "stop", 5)
        for code, count in right.items()
        for n in range(asked)
    ]


def test_the_premise_holds_where_the_dominant_language_is_not_exceeded():
    found = check_premise(items({"en": 60, "es": 60, "de": 10}), "en", ["es", "de"])
    assert (found["holds"], found["stronger"], premise_text(found)) == (True, [], "")


def test_stronger_languages_come_strongest_first_with_the_paired_test_s_chance():
    found = check_premise(items({"en": 60, "es": 65, "de": 70}), "en", ["es", "de", "fr"])
    assert not found["holds"]
    assert [row["language"] for row in found["stronger"]] == ["de", "es"]
    german, spanish = found["stronger"]
    assert (german["lead"], spanish["lead"]) == (pytest.approx(0.1), pytest.approx(0.05))
    assert german["p"] == pytest.approx(2 * 2**-10), "ten won, none lost, of two tests (Holm)"
    assert spanish["p"] == pytest.approx(2**-5)
    said = premise_text(found)
    assert "English is not the strongest language on this evaluation: " in said
    assert (
        "German has 70.0% against 60.0% (+10.0, p = 0.002), "
        "Spanish has 65.0% against 60.0% (+5.0, p = 0.031)"
    ) in said


def test_a_lead_that_may_be_chance_is_called_so():
    found = check_premise(items({"en": 60, "es": 62}), "en", ["es"])
    assert "Spanish has 62.0% against 60.0% (+2.0, may be chance: p = 0.25)" in premise_text(found)


def test_languages_with_other_questions_are_compared_without_a_test():
    other = items({"es": 70}, task="include_{}")
    found = check_premise([*items({"en": 60}), *other], "en", ["es"])
    row = {"language": "es", "score": pytest.approx(0.7), "lead": pytest.approx(0.1), "p": None}
    assert found["stronger"] == [row]
    assert "Spanish has 70.0% against 60.0% (+10.0)" in premise_text(found)


def test_a_benchmark_of_one_language_alone_says_nothing_of_the_others():
    hard = items({"en": 40}, task="math500_{}")
    found = check_premise([*items({"en": 90, "es": 80}), *hard], "en", ["es"])
    assert (found["holds"], found["score"]) == (True, {"en": 0.65, "es": 0.8})
    easy = items({"en": 300}, asked=300, task="easy_{}")
    found = check_premise([*items({"en": 60, "es": 80}), *easy], "en", ["es"])
    assert found["score"]["en"] == 0.9, "of all that it was asked"
    assert [(row["score"], row["lead"]) for row in found["stronger"]] == [(0.8, 0.2)]


def test_equal_scores_are_none_that_leads():
    """0.3 + 0.2 + 0.1 is not quite 0.1 + 0.2 + 0.3."""
    found = check_premise(
        [
            EvalItem(f"mgsm_{code}", code, str(n), "?", "!", "x", score, code, "stop", 5)
            for code, scores in {"en": (0.3, 0.2, 0.1), "es": (0.1, 0.2, 0.3)}.items()
            for n, score in enumerate(scores)
        ],
        "en",
        ["es"],
    )
    assert found["holds"]


def test_without_the_dominant_language_there_is_nothing_to_compare():
    assert check_premise(items({"es": 50}), "en", ["es"])["holds"]


def test_a_task_whose_name_holds_another_language_s_code_is_paired():
    found = check_premise(items({"en": 60, "de": 70}, task="mgsm_en_cot_{}"), "en", ["de"])
    assert [row["p"] for row in found["stronger"]] == [pytest.approx(2**-10)]


def test_the_english_task_and_its_translation_are_compared_without_a_test():
    english = items({"en": 60}, task="hellaswag")
    found = check_premise([*english, *items({"es": 70}, task="hellaswag_{}")], "en", ["es"])
    assert [row["p"] for row in found["stronger"]] == [None]
