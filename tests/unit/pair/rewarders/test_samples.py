"""Several samples of a prompt: which two become a pair, and what the reward check sees of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lidr.components.shared.core.events import listening
from lidr.components.shared.records.samples import CUT_FILE, CutSide
from lidr.components.shared.records.schema import Failure, PairKind
from lidr.components.shared.store.stage import open_stage
from tests.unit.pair.scored import Sample, Samples, run, scored_recipe, write
from tests.unit.pair.stages import OWN, TRANSLATED, dropped_of, pairs_of

BEST, MIDDLE, WORST = (f"Nina tiene {n} libros y los pone en la cocina." for n in "432")


def paired(folder: Path, samples: Samples, rewarder: str = "icr", **sections: Any) -> str:
    step = "score" if rewarder == "icr" else "grade"
    given = {name: sections.pop(name) for name in ("answers", "tasks") if name in sections}
    return run(write(folder, samples, step=step, **given), scored_recipe(rewarder, **sections))


@pytest.mark.parametrize("rewarder", ["icr", "judge"])
def test_best_sample_is_chosen_over_the_worst_in_every_language(tmp_path: Path, rewarder: str):
    samples = {
        ("p0", "es"): [Sample(MIDDLE, 0.2), Sample(WORST, -1.0), Sample(BEST, 0.7)],
        ("p0", "en"): [Sample(OWN["en"], 0.1), Sample(TRANSLATED["en"], 0.4)],
    }
    uri = paired(tmp_path, samples, rewarder)
    found = {each.language: each for each in pairs_of(uri)}
    assert found.keys() == {"en", "es"}
    spanish = found["es"]
    assert (spanish.chosen[0]["content"], spanish.rejected[0]["content"]) == (BEST, WORST)
    assert (spanish.other_language, spanish.kind, spanish.sample) == ("es", PairKind.BEST_CHOSEN, 2)
    assert spanish.prompt[0]["content"] == "Ask p0 in es?"
    assert found["en"].chosen[0]["content"] == TRANSLATED["en"]
    assert open_stage(uri).counts()["rewarder"] == rewarder


def test_of_equal_scores_the_first_sample_counts(tmp_path: Path):
    samples = {("p0", "es"): [Sample(MIDDLE, 1.0), Sample(BEST, 1.0), Sample(WORST, 0.0)]}
    [found] = pairs_of(paired(tmp_path, samples))
    assert (found.chosen[0]["content"], found.sample) == (MIDDLE, 0)


def test_drop_reasons_name_why_there_is_no_best_one(tmp_path: Path):
    cut = Sample("Nina tiene cua", None, Failure.TRUNCATED)
    samples = {
        ("tied", "es"): [Sample(BEST, 0.5), Sample(WORST, 0.5)],
        ("same", "es"): [Sample(BEST, 0.5), Sample(BEST, 0.5)],
        ("cut", "es"): [Sample(BEST, 0.5), cut],
        ("unread", "es"): [Sample(BEST, None, "unparsable"), Sample(WORST, None, "unparsable")],
        ("thought", "es"): [Sample("", None, Failure.UNCLOSED_THOUGHT)] * 2,
        ("off", "es"): [Sample(OWN["de"], 0.5), Sample(WORST, 0.1)],
        ("kept", "es"): [Sample(BEST, 0.5), Sample(OWN["de"], 0.1)],
    }
    uri = paired(tmp_path, samples)
    reasons = {key[0]: reason for key, reason in dropped_of(uri).items()}
    assert reasons == {
        "tied": "tied",
        "same": "identical",
        "cut": "truncated",
        "unread": "unscored",
        "thought": "unclosed_thought",
        "off": "off_target",
    }
    assert [each.prompt_id for each in pairs_of(uri)] == ["kept"]


def test_cut_sides_are_noted_where_they_are_kept(tmp_path: Path):
    samples = {
        ("p0", "es"): [Sample(BEST, 0.5), Sample("Nina tiene cua", 0.1, Failure.TRUNCATED)],
    }
    uri = paired(tmp_path, samples, pairing={"filters": "paper"})
    [side] = open_stage(uri).read_records([CUT_FILE], CutSide)
    assert side.side == "rejected"


def many(right: str, wrong: str) -> Samples:
    """Return 30 Spanish prompts whose first sample has the higher score."""
    return {
        (f"p{n}", "es"): [Sample(f"{BEST} {right}", 1.0), Sample(f"{BEST} {wrong}", 0.0)]
        for n in range(30)
    }


ANSWERS = {f"p{n}": "4" for n in range(30)}
NO_STEPS = {"training": {"batch_size": 1}}


def test_reward_check_counts_how_often_the_one_right_side_is_chosen(tmp_path: Path):
    uri = paired(tmp_path, many("Son 4.", "Son 5."), answers=ANSWERS, **NO_STEPS)
    reward = open_stage(uri).counts()["reward"]
    assert set(reward["places"]) == {"*", "de", "en", "es"}
    for place in ("es", "*"):
        assert reward["places"][place]["right"]["value"] == 1.0
        assert reward["places"][place]["right"]["n"] == 30
        assert "on_target" not in reward["places"][place], "there are no translations"
    assert reward["verdict"] == "train"
    assert reward["findings"] == []


def test_reward_check_stops_scores_that_prefer_the_wrong_side(tmp_path: Path):
    told: list[dict[str, Any]] = []
    with listening(told.append):
        uri = paired(tmp_path, many("Son 5.", "Son 4."), "judge", answers=ANSWERS, **NO_STEPS)
    reward = open_stage(uri).counts()["reward"]
    assert reward["verdict"] == "stop"
    assert reward["reason"] == (
        "the reward is inverted, by the reference answers: only 0% of 30 in Spanish choose the one "
        "right side; the bar is 50%"
    )
    [warning] = [each["message"] for each in told if each["event"] == "warning"]
    assert warning.endswith("take a better judge.")


def test_reward_check_says_what_it_cannot_verify(tmp_path: Path):
    uri = paired(tmp_path, many("Son 4.", "Son 5."), **NO_STEPS)
    [finding] = open_stage(uri).counts()["reward"]["findings"]
    assert (finding["level"], finding["measure"]) == ("warn", "unverifiable")
    assert "not verifiable here" in finding["text"]


def test_prompts_about_translation_may_be_answered_in_any_language(tmp_path: Path):
    samples = {("p0", "es"): [Sample(OWN["de"], 0.5), Sample(WORST, 0.1)]}
    assert len(pairs_of(paired(tmp_path, samples, tasks=["p0"]))) == 1


def test_swapped_pairs_are_the_other_way_round(tmp_path: Path):
    samples = {("p0", "es"): [Sample(BEST, 0.7), Sample(WORST, -1.0)]}
    [found] = pairs_of(paired(tmp_path, samples, pairing={"swap": True}))
    assert (found.chosen[0]["content"], found.rejected[0]["content"]) == (WORST, BEST)
