from __future__ import annotations

import pytest

from lidr.components.pair.candidates import Candidate
from lidr.components.pair.rewarders.lidr.candidates import candidates, read_samples
from lidr.components.shared.records.schema import DropReason, Failure, PairKind
from tests.fakes import make_recipe
from tests.unit.pair.stages import (
    LANGUAGES,
    OTHERS,
    Records,
    good_records,
    own,
    translated,
    write,
)

LANGUAGE_SETTINGS = make_recipe().languages

Found = dict[tuple[str, str, str], Candidate]


def found_in(records: Records) -> Found:
    """Return the candidates by (prompt_id, language, other language)."""
    made = candidates(LANGUAGE_SETTINGS, records.samples())
    found = {(c.prompt_id, c.language, c.other_language): c for c in made}
    assert len(found) == len(made), "a candidate appears twice"
    return found


@pytest.mark.parametrize("other", OTHERS)
def test_in_another_language_the_translated_dominant_answer_is_chosen(other):
    candidate = found_in(good_records("p0"))["p0", other, "en"]
    assert candidate.kind is PairKind.TRANSLATION_CHOSEN
    assert candidate.chosen == translated("p0", "en", other)
    assert candidate.rejected == own("p0", other)
    assert candidate.prompt == f"Ask p0 in {other}?"


@pytest.mark.parametrize("other", OTHERS)
def test_in_the_dominant_language_the_own_answer_is_chosen_over_each_other_one(other):
    candidate = found_in(good_records("p0"))["p0", "en", other]
    assert candidate.kind is PairKind.OWN_CHOSEN
    assert candidate.chosen == own("p0", "en")
    assert candidate.rejected == translated("p0", other, "en")
    assert candidate.prompt == "Ask p0 in en?"


def test_every_prompt_has_two_candidates_for_each_other_language():
    found = found_in(good_records("p0", "p1", "p2"))
    ways = [way for other in OTHERS for way in ((other, "en"), ("en", other))]
    assert set(found) == {(f"p{n}", *way) for n in range(3) for way in ways}
    assert {c.missing for c in found.values()} == {None}


def test_the_dominant_language_need_not_be_english():
    languages = make_recipe().languages.model_copy(update={"dominant": "es", "others": ("en",)})
    made = candidates(languages, good_records("p0").samples())
    assert [(c.language, c.chosen, c.rejected) for c in made] == [
        ("en", translated("p0", "es", "en"), own("p0", "en")),
        ("es", own("p0", "es"), translated("p0", "en", "es")),
    ]


def test_records_meet_by_id_whatever_their_order_and_files(tmp_path):
    records = good_records(*(f"p{n}" for n in range(7)))
    records.move_back("p3", "en", "es", "back again")
    settings = make_recipe()
    read = []
    for order, chunk in ((1, 2), (-1, 3)):
        inputs = write(tmp_path, records, order, chunk)
        found = read_samples(settings, inputs.world, inputs.responses, inputs.translations)
        assert found == records.samples()
        read.append(
            {
                (c.prompt_id, c.language, c.other_language): c
                for c in candidates(settings.languages, found)
            }
        )
    assert read[0] == read[1] == found_in(records)


def test_languages_in_different_order_still_meet_by_id():
    records = good_records("p0", "p1", "p2")
    expected = found_in(records)
    spanish = {key: row for key, row in records.responses.items() if key[1] == "es"}
    rest = {key: row for key, row in records.responses.items() if key[1] != "es"}
    records.responses = dict(reversed(spanish.items())) | rest
    records.translations = dict(reversed(records.translations.items()))
    assert found_in(records) == expected


@pytest.mark.parametrize(
    "failure",
    [
        Failure.UNTAGGED,
        Failure.TRUNCATED,
        Failure.EMPTY,
        Failure.PROMPT_TOO_LONG,
        Failure.ENGINE_REJECTED,
    ],
)
def test_a_failed_translation_spoils_only_the_pair_it_belongs_to(failure):
    records = good_records("p0", "p1")
    records.move("p0", "en", "es", failure=failure)
    failed = {key: c.missing for key, c in found_in(records).items() if c.missing}
    assert failed == {("p0", "es", "en"): DropReason.TRANSLATION_FAILED}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure.TRUNCATED, DropReason.TRUNCATED),
        (Failure.EMPTY, DropReason.EMPTY),
        (Failure.PROMPT_TOO_LONG, DropReason.MISSING_PARTNER),
        (Failure.ENGINE_REJECTED, DropReason.MISSING_PARTNER),
    ],
)
def test_a_translation_without_a_source_has_the_reason_of_the_source(failure, reason):
    records = good_records("p0")
    records.answer("p0", "en", "", failure)
    for other in OTHERS:
        records.move("p0", "en", other, failure=Failure.SOURCE_FAILED)
    found = found_in(records)
    assert {found["p0", other, "en"].missing for other in OTHERS} == {reason}


@pytest.mark.parametrize("failure", [Failure.PROMPT_TOO_LONG, Failure.ENGINE_REJECTED])
def test_an_answer_that_never_was_is_a_missing_partner(failure):
    records = good_records("p0")
    records.answer("p0", "es", "", failure)
    records.move("p0", "es", "en", failure=Failure.SOURCE_FAILED)
    failed = {key: c.missing for key, c in found_in(records).items() if c.missing}
    assert failed == {
        ("p0", "es", "en"): DropReason.MISSING_PARTNER,
        ("p0", "en", "es"): DropReason.MISSING_PARTNER,
    }


@pytest.mark.parametrize(("absent", "lost"), [("es", ["es"]), ("en", ["es", "de"])])
def test_an_absent_answer_takes_its_pairs_with_it(absent, lost):
    records = good_records("p0", "p1")
    del records.responses["p0", absent]
    for key in [key for key in records.translations if key[:2] == ("p0", absent)]:
        del records.translations[key]
    failed = {key: c.missing for key, c in found_in(records).items() if c.missing}
    expected = {("p0", code, "en") for code in lost} | {("p0", "en", code) for code in lost}
    assert failed == dict.fromkeys(expected, DropReason.MISSING_PARTNER)


def test_an_absent_translation_is_a_missing_partner():
    records = good_records("p0")
    del records.translations["p0", "de", "en"]
    failed = {key: c.missing for key, c in found_in(records).items() if c.missing}
    assert failed == {("p0", "en", "de"): DropReason.MISSING_PARTNER}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure.TRUNCATED, DropReason.TRUNCATED),
        (Failure.REPETITION, DropReason.REPETITION),
    ],
)
def test_a_cut_answer_marks_the_candidates_that_come_from_it(failure, reason):
    records = good_records("p0", "p1")
    records.answer("p0", "es", "Nina tiene cua", failure)
    cut = {key: c.cut for key, c in found_in(records).items() if c.cut}
    assert cut == {("p0", "es", "en"): reason, ("p0", "en", "es"): reason}
    assert found_in(records)["p0", "es", "en"].rejected == "Nina tiene cua"


def test_the_answer_to_a_translation_task_is_not_translated():
    found = found_in(good_records("p0", "p1", tasks=["p0"]))
    for other in OTHERS:
        task = found["p0", other, "en"]
        assert (task.chosen, task.rejected) == (own("p0", "en"), own("p0", other))
        assert (task.untranslated, task.missing) == (True, None)
        back = found["p0", "en", other]
        assert (back.untranslated, back.missing) == (False, DropReason.TRANSLATION_TASK)
        assert not found["p1", other, "en"].untranslated


def test_a_cut_answer_to_a_translation_task_is_marked():
    records = good_records("p0", tasks=["p0"])
    records.answer("p0", "en", "cut o", Failure.TRUNCATED)
    assert all(found_in(records)["p0", other, "en"].cut for other in OTHERS)


@pytest.mark.parametrize(
    ("chosen", "rejected", "same"),
    [
        ("one two", " one\n\ttwo ", True),
        ("one two", "one  two.", False),
        ("One", "one", False),
        ("onetwo", "one two", False),
    ],
)
def test_white_space_alone_makes_no_difference(chosen, rejected, same):
    records = good_records("p0")
    records.move("p0", "en", "es", chosen)
    records.answer("p0", "es", rejected)
    assert found_in(records)["p0", "es", "en"].identical == same


def test_exchanging_the_sides_twice_changes_nothing():
    [candidate, *_] = candidates(LANGUAGE_SETTINGS, good_records("p0").samples())
    turned = candidate.swapped()
    assert (turned.chosen, turned.rejected) == (candidate.rejected, candidate.chosen)
    assert (turned.prompt, turned.language) == (candidate.prompt, candidate.language)
    assert turned.swapped() == candidate


def test_a_translate_stage_without_any_file_leaves_nothing_to_pair(tmp_path):
    records = good_records("p0", tasks=["p0"])
    inputs = write(tmp_path, records)
    [found] = read_samples(make_recipe(), inputs.world, inputs.responses, inputs.translations)
    assert found.translations == found.round_trips == {}
    assert {key[1] for key in found.responses} == set(LANGUAGES)
