from __future__ import annotations

from dataclasses import replace

import pytest

from lidr.components.pair.candidates import Candidate
from lidr.components.pair.run import decide, languages_of
from lidr.components.shared.config.pairing import Filters, Pairing
from lidr.components.shared.core.languages import LanguageIdentifier
from lidr.components.shared.records.schema import DropReason, PairKind
from tests.unit.pair.stages import LANGUAGES, LOOP, OWN, TRANSLATED

GOOD = Candidate(
    prompt_id="p0",
    language="es",
    other_language="en",
    kind=PairKind.TRANSLATION_CHOSEN,
    prompt="¿Cuántos libros tiene Nina?",
    chosen=TRANSLATED["es"],
    rejected=OWN["es"],
)
BAD: dict[str, Candidate] = {
    "empty": replace(GOOD, rejected=" \n"),
    "truncated": replace(GOOD, cut=DropReason.TRUNCATED),
    "identical": replace(GOOD, chosen=f" {OWN['es']}\n"),
    "off_target": replace(GOOD, chosen=TRANSLATED["en"]),
    "repetition": replace(GOOD, chosen=LOOP, rejected=OWN["es"] * 3),
    "length_ratio": replace(GOOD, rejected=OWN["es"] * 5),
}
"""For each filter the candidate that it alone drops."""


@pytest.fixture(scope="module")
def identifier() -> LanguageIdentifier:
    return LanguageIdentifier(LANGUAGES)


def reason_of(
    candidate: Candidate, identifier: LanguageIdentifier, **settings: object
) -> DropReason | None:
    detected = languages_of([candidate], identifier)
    [(same, reason)] = decide(Pairing.model_validate(settings), [candidate], detected)
    assert same is candidate
    return reason


def test_every_filter_has_an_example_here():
    assert set(BAD) == set(Filters.model_fields)


def test_a_good_candidate_becomes_a_pair(identifier):
    assert reason_of(GOOD, identifier) is None


@pytest.mark.parametrize("name", BAD)
def test_all_filters_drop_with_the_reason_that_bears_their_name(identifier, name):
    assert reason_of(BAD[name], identifier, filters="all") == DropReason(name)


@pytest.mark.parametrize("name", BAD)
def test_a_filter_works_on_its_own(identifier, name):
    only = dict.fromkeys(BAD, False) | {name: True}
    assert reason_of(BAD[name], identifier, filters=only) == DropReason(name)
    for other in set(BAD) - {name}:
        assert reason_of(BAD[other], identifier, filters=only) is None


@pytest.mark.parametrize("name", BAD)
def test_a_filter_can_be_switched_off_on_its_own(identifier, name):
    assert reason_of(BAD[name], identifier, filters={name: False}) is None
    for other in set(BAD) - {name}:
        assert reason_of(BAD[other], identifier, filters={name: False}) == DropReason(other)


@pytest.mark.parametrize("name", BAD)
def test_the_paper_keeps_whatever_was_translated(identifier, name):
    assert reason_of(BAD[name], identifier, filters="paper") is None


@pytest.mark.parametrize("filters", ["all", "paper"])
@pytest.mark.parametrize(
    "failure",
    [DropReason.TRANSLATION_FAILED, DropReason.MISSING_PARTNER, DropReason.TRANSLATION_TASK],
)
def test_no_setting_keeps_a_candidate_that_lacks_a_side(identifier, filters, failure):
    lacking = replace(GOOD, chosen=None, failure=failure)
    assert reason_of(lacking, identifier, filters=filters) == failure


@pytest.mark.parametrize("filters", ["all", "paper"])
@pytest.mark.parametrize("chosen", ["", " \n\t"])
def test_no_setting_keeps_an_empty_chosen_text(identifier, filters, chosen):
    assert reason_of(replace(GOOD, chosen=chosen), identifier, filters=filters) == "empty"


def test_the_swap_keeps_no_text_that_would_be_an_empty_chosen_one(identifier):
    empty = replace(GOOD, rejected=" ")
    assert reason_of(empty, identifier, filters="paper") is None
    assert reason_of(empty, identifier, filters="paper", swap=True) == "empty"


def test_only_the_first_reason_counts(identifier):
    worst = replace(GOOD, cut=DropReason.TRUNCATED, chosen=OWN["en"], rejected=OWN["en"])
    assert reason_of(worst, identifier) == "truncated"
    assert reason_of(worst, identifier, filters={"truncated": False}) == "identical"
    off = {"truncated": False, "identical": False}
    assert reason_of(worst, identifier, filters=off) == "off_target"


def test_the_reason_is_the_first_cause_in_the_pipeline_s_order(identifier):
    """What went wrong when generating comes before what went wrong when translating."""
    never = replace(GOOD, unanswered=DropReason.MISSING_PARTNER)
    failed = {"chosen": None, "failure": DropReason.TRANSLATION_FAILED}
    assert reason_of(replace(never, cut=DropReason.TRUNCATED), identifier) == "missing_partner"
    assert reason_of(replace(GOOD, rejected="", **failed), identifier) == "empty"
    looped = replace(GOOD, cut=DropReason.REPETITION, **failed)
    assert reason_of(looped, identifier) == "repetition"
    assert reason_of(looped, identifier, filters={"truncated": False}) == "translation_failed"
    assert reason_of(looped, identifier, filters="paper") == "translation_failed"


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ("4 + 2 = 6", None),
        ("```python\nprint(4 + 2)\n```", None),
        ("尼娜有四本书，又在厨房里找到了两本。", "off_target"),
        (TRANSLATED["de"], "off_target"),
    ],
)
def test_a_text_is_off_target_only_where_it_shows_another_language(identifier, chosen, reason):
    assert reason_of(replace(GOOD, chosen=chosen), identifier) == reason


def test_the_rejected_text_may_be_in_any_language(identifier):
    assert reason_of(replace(GOOD, rejected=OWN["en"]), identifier) is None


def test_the_answer_to_a_translation_task_may_be_in_any_language(identifier):
    task = replace(GOOD, chosen=OWN["de"], untranslated=True)
    assert reason_of(task, identifier) is None


@pytest.mark.parametrize(
    ("chosen", "rejected", "ratio", "reason"),
    [
        (400, 100, 4.0, None),
        (401, 100, 4.0, "length_ratio"),
        (100, 401, 4.0, "length_ratio"),
        (401, 100, 4.1, None),
        (100, 1, 4.0, None),
        (101, 1, 4.0, "length_ratio"),
    ],
)
def test_lengths_are_compared_where_a_text_is_over_a_hundred(
    identifier, chosen, rejected, ratio, reason
):
    text = " ".join(f"{OWN['es']} ({number})" for number in range(10))
    candidate = replace(GOOD, chosen=text[:chosen], rejected=text[:rejected])
    assert reason_of(candidate, identifier, max_length_ratio=ratio) == reason


def test_no_candidates_are_no_problem(identifier):
    assert decide(Pairing(), [], identifier) == []
