from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lidr.components.pair.candidates import Candidate, candidates
from lidr.components.pair.faithfulness import direction_faithfulness, reward_agreement, warnings_of
from lidr.components.shared.records.schema import Failure
from lidr.components.shared.stats.intervals import wilson
from tests.fakes import make_recipe
from tests.unit.pair.stages import OTHERS, Records, good_records

SETTINGS = make_recipe().languages
FAITHFUL = {"numbers_preserved": wilson(50, 50), "round_trip": {"value": 90.0, "n": 50}}
TRUSTED = {"agree": wilson(20, 20), "inverted": False}


def measured(records: Records) -> dict[str, Any]:
    return direction_faithfulness(SETTINGS, records.sources())


def with_numbers(texts: list[tuple[str, str | None]]) -> Records:
    """Return prompts with these English answers and Spanish translations; None is a failed one."""
    records = good_records(*(f"p{n}" for n in range(len(texts))))
    for number, (answer, moved) in enumerate(texts):
        records.answer(f"p{number}", "en", answer)
        failure = Failure.UNTAGGED if moved is None else None
        records.move(f"p{number}", "en", "es", moved, failure)
    return records


def test_every_direction_is_measured():
    assert set(measured(good_records("p0"))) == {"en-es", "en-de", "es-en", "de-en"}


def test_numbers_count_as_preserved_however_they_are_written():
    records = with_numbers(
        [
            ("1,000.5 books of 12", "12 libros de 1.000,5"),
            ("3 books", "３ libros"),
            ("3 books", "tres libros"),
            ("3 books", "4 libros"),
            ("3 books", "3 de 3 libros"),
            ("3 books and 5", "5 libros y 3"),
        ]
    )
    kept = measured(records)["en-es"]["numbers_preserved"]
    assert kept == wilson(4, 6)


def test_texts_without_numbers_and_failed_translations_do_not_count():
    records = with_numbers([("no number", "hay 3"), ("3 books", None), ("3 books", "3 libros")])
    kept = measured(records)["en-es"]["numbers_preserved"]
    assert kept == wilson(1, 1)


def test_a_direction_is_not_mixed_up_with_its_opposite():
    records = with_numbers([("3 books", "4 libros")])
    records.answer("p0", "es", "5 libros")
    records.move("p0", "es", "en", "5 books")
    found = measured(records)
    assert found["en-es"]["numbers_preserved"] == wilson(0, 1)
    assert found["es-en"]["numbers_preserved"] == wilson(1, 1)
    assert found["en-de"]["numbers_preserved"] == wilson(0, 1), "the German translation has no 3"
    assert found["de-en"]["numbers_preserved"] == wilson(0, 0)


def test_a_round_trip_is_compared_with_the_answer_it_began_with():
    records = good_records("p0", "p1")
    records.move_back("p0", "en", "es", records.responses["p0", "en"].text)
    records.move_back("p1", "en", "es", "zzz")
    records.move_back("p0", "es", "en", records.responses["p0", "es"].text)
    found = {way: row["round_trip"] for way, row in measured(records).items()}
    assert found["en-es"]["n"] == 2
    assert 50 <= found["en-es"]["value"] < 55
    assert found["es-en"] == {"value": pytest.approx(100.0), "n": 1}
    assert found["en-de"] == found["de-en"] == {"value": 0.0, "n": 0}


def test_a_failed_way_back_does_not_count():
    records = good_records("p0")
    records.move_back("p0", "en", "es", records.responses["p0", "en"].text)
    failed = replace(
        records.round_trips["p0", "en", "es"], text=None, failure=Failure.TRUNCATED.value
    )
    records.round_trips["p0", "en", "es"] = failed
    assert measured(records)["en-es"]["round_trip"] == {"value": 0.0, "n": 0}


def voters(votes: str) -> tuple[Records, list[Candidate]]:
    """Return a prompt per letter: `c` only chosen agrees, `r` only rejected, `b` both, `n` none."""
    records = good_records(*(f"p{n}" for n in range(len(votes))))
    for number, vote in enumerate(votes):
        records.answer(f"p{number}", "en", "So 2 + 4 = 6 books.")
        records.move(f"p{number}", "en", "es", "Son 6." if vote in "cb" else "Son 7.")
        records.answer(f"p{number}", "es", "Total: 6" if vote in "rb" else "Total: 8")
    return records, candidates(SETTINGS, records.sources())


def agreement(votes: str) -> dict[str, Any]:
    records, found = voters(votes)
    return reward_agreement(SETTINGS, records.sources(), found)["es"]


def test_a_pair_votes_where_exactly_one_side_agrees():
    assert agreement("ccrbbnn")["agree"] == wilson(2, 3)


@pytest.mark.parametrize(
    ("votes", "inverted"),
    [
        ("r" * 10, True),
        ("r" * 9, False),
        ("r" * 9 + "bn" * 20, False),
        ("c" * 2 + "r" * 18, True),
        ("c" * 4 + "r" * 6, False),
        ("c" * 20, False),
        ("", False),
    ],
)
def test_a_reward_is_inverted_only_with_enough_evidence(votes, inverted):
    assert agreement(votes)["inverted"] == inverted


def test_languages_vote_apart_and_the_dominant_one_not_at_all():
    records, found = voters("r" * 12)
    for number in range(12):
        records.move(f"p{number}", "en", "de", "Es sind 6.")
    found = candidates(SETTINGS, records.sources())
    agreed = reward_agreement(SETTINGS, records.sources(), found)
    assert set(agreed) == set(OTHERS)
    assert agreed["es"]["inverted"]
    assert agreed["de"] == {"agree": wilson(12, 12), "inverted": False}


def test_a_dominant_answer_without_a_number_gives_no_vote():
    records, _ = voters("rc")
    records.answer("p0", "en", "No number here.")
    found = candidates(SETTINGS, records.sources())
    assert reward_agreement(SETTINGS, records.sources(), found)["es"]["agree"] == wilson(1, 1)


def test_exchanging_all_sides_inverts_the_reward():
    records, found = voters("c" * 15)
    turned = [candidate.exchanged() for candidate in found]
    agreed = reward_agreement(SETTINGS, records.sources(), turned)["es"]
    assert agreed == {"agree": wilson(0, 15), "inverted": True}


def counted(
    kept: tuple[int, int] = (50, 50), inverted: bool = False, identical: float = 0.0
) -> dict[str, Any]:
    agree = wilson(2, 20) if inverted else wilson(18, 20)
    return {
        "reward": {"es": {"agree": agree, "inverted": inverted}, "de": TRUSTED},
        "directions": {
            "en-es": FAITHFUL | {"numbers_preserved": wilson(*kept)},
            "es-en": FAITHFUL,
        },
        "identical_share": identical,
    }


@pytest.mark.parametrize(
    "counts",
    [
        counted(),
        counted(kept=(0, 0)),
        counted(kept=(0, 9)),
        counted(kept=(44, 50)),
        counted(identical=0.6),
    ],
)
def test_what_is_in_order_or_without_evidence_gives_no_warning(counts):
    assert warnings_of(counts) == []


@pytest.mark.parametrize(
    ("counts", "warning"),
    [
        (
            counted(inverted=True),
            "the reward looks inverted in es: where the sides disagree, the chosen text agrees "
            "with the dominant answer in only 10% of 20",
        ),
        (counted(kept=(5, 10)), "translations en-es keep the numbers in only 50% of 10 texts"),
        (
            counted(identical=0.61),
            "61% of the pairs have identical sides: little is left to learn",
        ),
    ],
)
def test_what_is_not_in_order_is_told_in_a_sentence(counts, warning):
    assert warnings_of(counts) == [warning]


def test_several_troubles_are_all_told():
    assert len(warnings_of(counted(kept=(5, 10), inverted=True, identical=0.9))) == 3
