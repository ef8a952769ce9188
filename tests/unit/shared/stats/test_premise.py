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
    assert "English (60.0%) is not the strongest language on this evaluation" in said
    assert "below German 70.0% (+10.0, p = 0.002), Spanish 65.0% (+5.0, p = 0.031)" in said


def test_a_lead_that_may_be_chance_is_called_so():
    found = check_premise(items({"en": 60, "es": 62}), "en", ["es"])
    assert "Spanish 62.0% (+2.0, may be chance: p = 0.25)" in premise_text(found)


def test_languages_with_other_questions_are_compared_without_a_test():
    other = items({"es": 70}, task="include_{}")
    found = check_premise([*items({"en": 60}), *other], "en", ["es"])
    assert found["stronger"] == [{"language": "es", "lead": pytest.approx(0.1), "p": None}]
    assert "Spanish 70.0% (+10.0)" in premise_text(found)


def test_without_the_dominant_language_there_is_nothing_to_compare():
    assert check_premise(items({"es": 50}), "en", ["es"])["holds"]


def test_a_task_whose_name_holds_another_language_s_code_is_paired():
    found = check_premise(items({"en": 60, "de": 70}, task="mgsm_en_cot_{}"), "en", ["de"])
    assert [row["p"] for row in found["stronger"]] == [pytest.approx(2**-10)]


def test_the_english_task_and_its_translation_are_compared_without_a_test():
    english = items({"en": 60}, task="hellaswag")
    found = check_premise([*english, *items({"es": 70}, task="hellaswag_{}")], "en", ["es"])
    assert [row["p"] for row in found["stronger"]] == [None]
