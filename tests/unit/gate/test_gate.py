from __future__ import annotations

import numpy as np
import pytest

from lidr.components.gate.rule import _mean_gain, _points, decide
from lidr.components.gate.run import gate
from lidr.components.shared.config.evaluation import Gate
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.records.parquet import to_parquet
from lidr.components.shared.records.schema import EvalItem
from lidr.components.shared.stats.paired import Marks, PairedItems
from lidr.components.shared.store.stage import open_stage
from tests.fakes import finished_stage, make_recipe

LANGUAGES = ("en", "es", "de")
CLEAR = ({"en": 95, "es": 40, "de": 50}, {"en": 95, "es": 80, "de": 70})


def evaluation(
    store: str, right: dict, rates: dict | None = None, premise: dict | None = None
) -> str:
    """Return the URI of an evaluation whose first `right[code]` of 100 items are right.

    Args:
        store: where it is written.
        right: by language.
        rates: how many of 100 answers are off-target or truncated, by language.
        premise: as `check_premise` returns it; by default it holds.
    """
    off_target, truncated = ((rates or {}).get(name, {}) for name in ("off_target", "truncated"))

    def item(code: str, n: int) -> EvalItem:
        detected = "xx" if n < off_target.get(code, 0) else code
        reason = "length" if n < truncated.get(code, 0) else "stop"
        score = float(n < right[code])
        return EvalItem("t", code, str(n), "?", "!", "x", score, detected, reason, 5)

    items = [item(code, n) for code in right for n in range(100)]
    return finished_stage(
        store,
        "evaluate",
        {"items.parquet": to_parquet(items, EvalItem)},
        {"premise": premise or {"holds": True}},
        of=repr((right, rates, premise)),
    ).uri


def decision(
    store,
    before: dict,
    after: dict,
    *,
    rates: tuple[dict, dict] = ({}, {}),
    iteration: int = 1,
    bound: int = 3,
    premise: dict | None = None,
    **rules,
):
    uri = gate(
        recipe=make_recipe(gate={"resamples": 500} | rules).model_dump_json(),
        store=str(store),
        before=evaluation(str(store), before, rates[0], premise),
        after=evaluation(str(store), after, rates[1]),
        iteration=iteration,
        max_iterations=bound,
    )
    return open_stage(uri).counts()


def outcome(found: dict) -> tuple[str, str, bool]:
    return found["decision"], found["verdict"], found["promoted"]


PROMOTE = ("promote", "continue", True)
KEEP = ("keep", "continue", False)
STOP = ("stop", "stop", False)


def test_a_clear_gain_is_promoted_and_the_loop_goes_on(tmp_path):
    found = decision(tmp_path, *CLEAR)
    assert outcome(found) == PROMOTE
    assert found["mean_gain"]["value"] == pytest.approx(0.3)
    assert 0.2 < found["mean_gain"]["low"] < 0.3 < found["mean_gain"]["high"] < 0.4
    assert found["reason"].startswith("mean of es, de +30.0 [2")
    assert found["reason"].endswith(
        "above the bar of 0.0 (p = 0.002); no language fell beyond its tolerance"
    )
    assert found["languages"]["es"]["gain"]["value"] == pytest.approx(0.4)
    assert (found["languages"]["es"]["won"], found["languages"]["es"]["lost"]) == (40, 0)
    assert found["languages"]["en"]["tolerance"] == 0.02


def test_p_values_are_mcnemar_s_and_adjusted_by_holm(tmp_path):
    found = decision(tmp_path, {"en": 90, "es": 40, "de": 50}, {"en": 90, "es": 50, "de": 45})
    languages = found["languages"]
    assert languages["es"]["p"] == pytest.approx(3 * 2 * 2**-10)
    assert languages["de"]["p"] == pytest.approx(2 * 2 * 2**-5)
    assert languages["de"]["p_fall"] == pytest.approx(9 * 2**-5), "corrected with the bars"
    assert (languages["en"]["p"], languages["es"]["p_fall"]) == (1.0, 1.0)


def test_the_dominant_language_is_no_part_of_the_mean(tmp_path):
    found = decision(tmp_path, {"en": 10, "es": 50, "de": 50}, {"en": 90, "es": 50, "de": 50})
    assert found["mean_gain"]["value"] == 0
    assert not found["promoted"]


@pytest.mark.parametrize("after", [50, 52, 48])
def test_no_gain_is_a_plateau_and_stops(tmp_path, after):
    found = decision(
        tmp_path,
        {"en": 95, "es": 50, "de": 50},
        {"en": 95, "es": after, "de": 100 - after},
    )
    assert outcome(found) == STOP
    assert found["reason"].startswith("mean of es, de +0.0 [")
    assert found["reason"].endswith("not above the bar of 0.0: a plateau")


def test_a_gain_below_the_bar_is_a_plateau(tmp_path):
    assert outcome(decision(tmp_path, *CLEAR, min_gain=0.1)) == PROMOTE
    found = decision(tmp_path, *CLEAR, min_gain=0.35)
    assert outcome(found) == STOP
    assert "+30.0 [" in found["reason"]
    assert found["reason"].endswith("below the bar of 35.0: a plateau")


def test_gains_that_cancel_out_are_a_plateau_to_the_last_bit():
    gains = np.array([1, 1, 1, 0, -1, 0, -1, 0, -1, 0], dtype=float)
    paired = PairedItems([("t", str(n)) for n in range(10)], gains)
    mean, _ = _mean_gain(Gate(), [paired], 0)
    assert mean["value"] == 0


def test_a_bound_above_the_bar_is_no_reason_to_keep_but_p_is(tmp_path):
    before = {"en": 95, "es": 40}
    found = decision(tmp_path, before, before | {"es": 44})
    assert outcome(found) == KEEP and found["mean_gain"]["low"] > 0
    assert found["reason"].endswith("above the bar of 0.0 by what may be chance (p = 0.062)")


def test_a_gain_that_may_be_chance_keeps_the_old_model_and_goes_on(tmp_path):
    before = {"en": 95, "es": 40, "de": 50}
    found = decision(tmp_path, before, before | {"es": 43})
    assert outcome(found) == KEEP
    assert found["reason"].endswith("not above the bar of 0.0 with its lower bound (p = 0.12)")
    assert outcome(decision(tmp_path, before, before | {"es": 45})) == PROMOTE
    strict = decision(tmp_path, before, before | {"es": 45}, alpha=0.01)
    assert outcome(strict) == KEEP, "p is 1/32"


def test_p_value_is_said_to_be_against_no_gain_where_the_bar_is_higher(tmp_path):
    found = decision(tmp_path, *CLEAR, min_gain=0.28)
    assert outcome(found) == KEEP
    assert found["reason"].endswith(
        "not above the bar of 28.0 with its lower bound (p = 0.002 against no gain)"
    )
    found = decision(tmp_path, *CLEAR, min_gain=0.1)
    assert "above the bar of 10.0 (p = 0.002 against no gain); no language" in found["reason"]


def test_points_have_no_negative_zero():
    interval = {"value": -0.0002, "low": -0.0004, "high": -0.0001}
    assert _points(interval) == "+0.0 [0.0, 0.0]"  # type: ignore[arg-type]


def test_resamples_that_can_prove_no_fall_are_remarked(tmp_path):
    found = decision(tmp_path, *CLEAR, resamples=100)
    assert found["remarks"] == [
        "100 resamples cannot prove a fall of graded scores: set gate.resamples to 179 or more"
    ]
    assert decision(tmp_path, *CLEAR, resamples=100, max_off_target=1)["remarks"] != []
    assert decision(tmp_path, *CLEAR, resamples=180)["remarks"] == []


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_language_that_falls_too_far_is_a_regression(tmp_path, code):
    before = {"en": 90, "es": 40, "de": 40}
    after = {"en": 90, "es": 80, "de": 80} | {code: before[code] - 8}
    found = decision(tmp_path, before, after)
    assert outcome(found) == STOP
    assert found["reason"].startswith(f"{code} -8.0 [")
    assert found["reason"].endswith("beyond the tolerance of 2.0: a regression (p = 0.035)")
    assert outcome(decision(tmp_path, before, after, tolerance=0.08)) == PROMOTE
    assert outcome(decision(tmp_path, before, after, tolerances={code: 0.08})) == PROMOTE


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_fall_that_may_be_chance_is_not_promoted_either(tmp_path, code):
    before = {"en": 90, "es": 40, "de": 40}
    after = {"en": 90, "es": 80, "de": 80} | {code: before[code] - 3}
    found = decision(tmp_path, before, after)
    assert outcome(found) == KEEP
    assert found["reason"].startswith(f"{code} -3.0 [")
    assert found["reason"].endswith("tolerance of 2.0 that may be chance (p = 1)")


def test_the_dominant_language_s_fall_is_named_first(tmp_path):
    found = decision(tmp_path, {"en": 90, "es": 40, "de": 40}, {"en": 80, "es": 20, "de": 90})
    assert found["reason"].startswith("en -10.0 [")


def test_a_fall_within_the_tolerance_is_borne(tmp_path):
    found = decision(tmp_path, {"en": 90, "es": 40, "de": 40}, {"en": 88, "es": 80, "de": 80})
    assert outcome(found) == PROMOTE
    assert found["languages"]["en"]["lost"] == 2


@pytest.mark.parametrize("name", ["off_target", "truncated"])
def test_a_rate_that_is_proven_to_break_its_bar_stops(tmp_path, name):
    rates = ({name: {"es": 3}}, {name: {"es": 25}})
    found = decision(tmp_path, *CLEAR, rates=rates)
    assert (outcome(found), found["cause"]) == (STOP, name)
    word = name.replace("_", "-")
    assert found["reason"] == (
        f"es has 25.0% {word} answers (3.0% before), above the bar of 10.0% (p < 0.001)"
    )
    row = found["languages"]["es"][name]
    assert (row["before"], row["after"], row["raised"], row["lowered"]) == (0.03, 0.25, 22, 0)
    assert (row["n"], row["least"], row["bar"]) == (100, 8, 0.1)
    assert outcome(decision(tmp_path, *CLEAR, rates=rates, **{f"max_{name}": 0.2})) == PROMOTE
    assert outcome(decision(tmp_path, *CLEAR, rates=rates, **{f"max_{name}": 1})) == PROMOTE
    inherited = ({name: {"es": 30}}, {name: {"es": 30}})
    assert outcome(decision(tmp_path, *CLEAR, rates=inherited)) == PROMOTE


def test_a_bar_is_tested_exactly_above_it_and_above_the_predecessor(tmp_path):
    """12 of 100 against 10%: binomial 0.297; 3 against 12 of 100: nine wins, none lost, 2^-9."""
    found = decision(tmp_path, *CLEAR, rates=({}, {"truncated": {"es": 12}}), max_off_target=1)
    assert outcome(found) == PROMOTE
    row = found["languages"]["es"]["truncated"]
    assert row["p"] == 1.0, "six tests, and 6 x 0.297 is above 1"
    assert found["remarks"] == [
        "es has 12.0% truncated answers (0.0% before), above the bar of 10.0%, "
        "which may be chance (p = 1)"
    ]
    few = decision(tmp_path, *CLEAR, rates=({"truncated": {"es": 18}}, {"truncated": {"es": 24}}))
    assert outcome(few) == PROMOTE
    assert few["languages"]["es"]["truncated"]["p"] == pytest.approx(9 * 2**-6)


def test_nine_against_seven_of_twelve_cut_answers_stop_nothing():
    """The case that a real run was stopped on: 75.0% of 12 items against 58.3%."""
    cut = Marks(np.arange(12) < 7, np.arange(12) < 9)
    pairs = {
        code: PairedItems([("t", str(n)) for n in range(12)], np.ones(12), truncated=cut)
        for code in ("en", "es", "de")
    }
    found = decide(make_recipe(gate={"resamples": 500}), pairs, 1, 2)
    assert outcome(found) == PROMOTE
    assert found["languages"]["es"]["truncated"]["p"] == 1.0


def test_bars_that_too_few_items_can_never_break_are_named():
    cut = Marks(np.zeros(6, dtype=bool), np.ones(6, dtype=bool))
    pairs = {
        code: PairedItems([("t", str(n)) for n in range(6)], np.ones(6), cut, cut)
        for code in ("en", "es", "de")
    }
    found = decide(make_recipe(gate={"resamples": 500}), pairs, 1, 2)
    assert found["decision"] == "promote"
    assert found["remarks"][0] == (
        "gate.max_off_target cannot be tested in en, es, de: it takes 8 items"
    )


def test_the_bound_stops_a_loop_that_gains_and_says_so(tmp_path):
    last = decision(tmp_path, *CLEAR, iteration=2, bound=2)
    assert outcome(last) == ("promote", "stop", True)
    assert last["reason"].endswith("; the bound of 2 iterations is reached")
    assert decision(tmp_path, *CLEAR, iteration=2, bound=3)["verdict"] == "continue"
    same = CLEAR[0], CLEAR[0] | {"es": 42}
    assert outcome(decision(tmp_path, *same, iteration=2, bound=2)) == ("keep", "stop", False)


def test_questions_that_cannot_be_matched_are_said_and_promote_only_on_more_evidence():
    def found(*names: str) -> dict:
        gains = np.array([1.0] * 9 + [-1.0] * 2 + [0.0] * 89)
        rows = [np.roll(gains, 20 * k) for k in range(3)]
        paired = {
            code: PairedItems([(name, str(n)) for n in range(100)], own)
            for code, name, own in zip(("es", "de", "fr"), names, rows, strict=True)
        }
        languages = {"dominant": "en", "others": ["es", "de", "fr"]}
        return decide(make_recipe(languages=languages), paired, 1, 2)

    known = found("t", "t", "t")
    assert (known["decision"], known["remarks"]) == ("promote", [])
    unknown = found("t_es", "t_de", "t_fr")
    assert unknown["p"] > known["p"]
    assert unknown["mean_gain"]["low"] < known["mean_gain"]["low"]
    assert unknown["remarks"] == [
        "the questions of t_de and 2 more could not be matched between languages: "
        "the mean gain is tested as if all languages rose and fell together"
    ]


def test_the_first_verdict_says_where_the_premise_does_not_hold(tmp_path):
    premise = {
        "holds": False,
        "dominant": "en",
        "stronger": [{"language": "de", "score": 0.5, "lead": 0.1, "p": 0.003}],
        "score": {"en": 0.4, "es": 0.3, "de": 0.5},
    }
    found = decision(tmp_path, *CLEAR, premise=premise)
    assert outcome(found) == PROMOTE
    assert "the method's premise does not hold: English is not" in found["reason"]
    assert "German has 50.0% against 40.0% (+10.0, p = 0.003)" in found["reason"]
    later = decision(tmp_path, *CLEAR, premise=premise, iteration=2)
    assert "premise" not in later["reason"]


def test_other_items_cannot_be_compared(tmp_path):
    with pytest.raises(BadInput, match=r"different items.*'de'.*same recipe") as caught:
        decision(tmp_path, {"en": 1, "es": 1}, {"en": 1, "es": 1, "de": 1})
    assert caught.value.exit_code == 2


def test_without_the_other_languages_there_is_nothing_to_decide_on(tmp_path):
    with pytest.raises(BadInput, match=r"no items in the other languages.*evaluation\.tasks"):
        decision(tmp_path, {"en": 1}, {"en": 2})


def test_the_same_question_has_the_same_answer(tmp_path):
    scores = ({"en": 95, "es": 40, "de": 50}, {"en": 95, "es": 52, "de": 61})
    first = decision(tmp_path / "a", *scores)
    second = decision(tmp_path / "b", *scores)
    assert first == second


def judgements(store: str, scores: dict[str, float], *, head_to_head: float = 0.9) -> str:
    """Return the URI of a judge stage: `scores[item]` against a reference, in Spanish."""
    items = [
        EvalItem(task, "es", item, "?", "!", "x", score, "es", "stop", 5)
        for item, value in scores.items()
        for task, score in (("x_alpacaeval", value), ("head_to_head", head_to_head))
    ]
    files = {"items.parquet": to_parquet(items, EvalItem)}
    return finished_stage(store, "judge", files, of=repr((scores, head_to_head))).uri


def test_judged_items_count_as_evidence_where_both_models_have_a_verdict(tmp_path):
    store = str(tmp_path)
    same = evaluation(store, {"en": 95, "es": 40, "de": 50})
    before = {f"q{n}": 0.3 + 0.001 * n for n in range(120)}
    after = {item: value + 0.4 for item, value in before.items() if item != "q7"} | {"new": 0.5}

    def decided(**judged: str) -> dict:
        uri = gate(
            recipe=make_recipe(gate={"resamples": 500}).model_dump_json(),
            store=store,
            before=same,
            after=same,
            iteration=1,
            max_iterations=3,
            **judged,
        )
        return open_stage(uri).counts()

    assert outcome(decided()) == ("stop", "stop", False)
    found = decided(
        judged_before=judgements(store, before, head_to_head=0.1),
        judged_after=judgements(store, after),
    )
    assert found["decision"] == "promote"
    assert found["languages"]["es"]["gain"]["n"] == 100 + 119
    assert found["languages"]["es"]["gain"]["value"] == pytest.approx(0.4 * 119 / 219)
    assert found["languages"]["de"]["gain"]["n"] == 100
