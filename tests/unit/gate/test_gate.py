from __future__ import annotations

import pytest

from components.gate.run import gate
from components.shared.errors import BadInput
from components.shared.records import EvalItem, to_parquet
from components.shared.stage import open_stage
from tests.fakes import finished_stage, make_recipe

LANGUAGES = ("en", "es", "de")


def evaluation(store: str, **right: int) -> str:
    """Return the URI of an evaluation whose first `right[code]` of 100 items are right."""
    items = [
        EvalItem("t", code, str(n), "?", "!", "x", float(n < right[code]), code, "stop", 5)
        for code in right
        for n in range(100)
    ]
    return finished_stage(
        store, "evaluate", {"items.parquet": to_parquet(items, EvalItem)}, of=repr(right)
    ).uri


def decision(store, before: dict, after: dict, *, iteration: int = 1, bound: int = 3, **rules):
    uri = gate(
        recipe=make_recipe(gate={"resamples": 500} | rules).model_dump_json(),
        store=str(store),
        before=evaluation(str(store), **before),
        after=evaluation(str(store), **after),
        iteration=iteration,
        max_iterations=bound,
    )
    return open_stage(uri).counts()


def test_a_clear_gain_is_promoted_and_the_loop_goes_on(tmp_path):
    found = decision(tmp_path, {"en": 95, "es": 40, "de": 50}, {"en": 95, "es": 80, "de": 70})
    assert (found["verdict"], found["promoted"]) == ("continue", True)
    assert found["mean_gain"]["value"] == pytest.approx(0.3)
    assert 0.2 < found["mean_gain"]["low"] < 0.3 < found["mean_gain"]["high"] < 0.4
    assert "+30.0%" in found["reason"]
    assert found["languages"]["es"]["gain"]["value"] == pytest.approx(0.4)
    assert (found["languages"]["es"]["won"], found["languages"]["es"]["lost"]) == (40, 0)
    assert found["languages"]["en"]["tolerance"] == 0.02


def test_the_dominant_language_is_no_part_of_the_mean(tmp_path):
    found = decision(tmp_path, {"en": 10, "es": 50, "de": 50}, {"en": 90, "es": 50, "de": 50})
    assert found["mean_gain"]["value"] == 0
    assert not found["promoted"]


@pytest.mark.parametrize("after", [50, 52, 48])
def test_no_clear_gain_is_a_plateau_and_stops(tmp_path, after):
    found = decision(
        tmp_path,
        {"en": 95, "es": 50, "de": 50},
        {"en": 95, "es": after, "de": 100 - after},
    )
    assert (found["verdict"], found["promoted"]) == ("stop", False)
    assert found["reason"].startswith("plateau: ")
    assert "+0.0%" in found["reason"]


def test_a_gain_below_the_bar_is_a_plateau(tmp_path):
    scores = ({"en": 95, "es": 40, "de": 50}, {"en": 95, "es": 80, "de": 70})
    assert decision(tmp_path, *scores, min_gain=0.1)["promoted"]
    assert not decision(tmp_path, *scores, min_gain=0.28)["promoted"]


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_language_that_falls_too_far_is_a_regression(tmp_path, code):
    before = {"en": 90, "es": 40, "de": 40}
    after = {"en": 90, "es": 80, "de": 80} | {code: before[code] - 3}
    found = decision(tmp_path, before, after)
    assert (found["verdict"], found["promoted"]) == ("stop", False)
    assert found["reason"].startswith(f"regression: {code} fell by 3.0%")
    assert "2.0%" in found["reason"]
    assert decision(tmp_path, before, after, tolerance=0.03)["promoted"]


def test_a_fall_within_the_tolerance_is_borne(tmp_path):
    found = decision(tmp_path, {"en": 90, "es": 40, "de": 40}, {"en": 88, "es": 80, "de": 80})
    assert found["promoted"]
    assert found["languages"]["en"]["lost"] == 2


def test_the_bound_stops_a_loop_that_gains_and_says_so(tmp_path):
    scores = ({"en": 95, "es": 40, "de": 50}, {"en": 95, "es": 80, "de": 70})
    last = decision(tmp_path, *scores, iteration=2, bound=2)
    assert (last["verdict"], last["promoted"]) == ("stop", True)
    assert "bound of 2 iterations" in last["reason"]
    assert decision(tmp_path, *scores, iteration=2, bound=3)["verdict"] == "continue"


def test_other_items_cannot_be_compared(tmp_path):
    store = str(tmp_path)
    with pytest.raises(BadInput, match=r"different items.*'de'.*same recipe") as caught:
        gate(
            recipe=make_recipe().model_dump_json(),
            store=store,
            before=evaluation(store, en=1, es=1),
            after=evaluation(store, en=1, es=1, de=1),
            iteration=1,
            max_iterations=2,
        )
    assert caught.value.exit_code == 2


def test_the_same_question_has_the_same_answer(tmp_path):
    scores = ({"en": 95, "es": 40, "de": 50}, {"en": 95, "es": 52, "de": 61})
    first = decision(tmp_path / "a", *scores)
    second = decision(tmp_path / "b", *scores)
    assert first == second
