"""The small parts of the page: numbers in words, scales, labels, marked differences."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidr.components.report import svg, words
from lidr.components.report.blocks import Cell
from lidr.components.report.browser import shortened, within
from lidr.components.report.curves import _thinned
from lidr.components.report.history import Round
from lidr.components.report.imbalance import _shaded
from lidr.components.report.pair_sections import _left_out
from lidr.components.report.result import outcome
from lidr.components.report.words import CONTROLS, visible
from lidr.components.shared.config.budget import plain_amount
from tests.unit.report.runs import recipe

SHARES = st.floats(0, 1)


@pytest.mark.parametrize(
    ("fraction", "written"), [(1.0, "100%"), (0.0, "0%"), (0.9996, "100.0%"), (0.4611, "46.1%")]
)
def test_shares_are_written_in_percent(fraction, written):
    assert words.percent(fraction) == written


def test_differences_carry_a_real_minus_sign():
    assert words.points(-0.007) == "−0.7 points"
    assert words.points(0.5311) == "+53.1 points"
    assert words.signed(-0.0001) == "0.0"
    assert words.limits({"low": -0.02, "high": 0.02}) == "−2.0 to 2.0"
    assert words.limits({"low": -0.0004, "high": 0.02}) == "0.0–2.0"
    assert (words.percent(-0.0004), words.plain(-0.0)) == ("0.0%", "0")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (12345.6, "12,346"),
        (-20_000, "−20,000"),
        (9999.4, "9999"),
        (1.2345, "1.234"),
        (0.0048, "0.0048"),
    ],
)
def test_numbers_keep_all_digits_before_the_point(value, written):
    assert words.plain(value) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(2.34, "2.3 s"), (59.2, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_fit_their_size(seconds, written):
    assert words.duration(seconds) == written


def test_lists_of_names_read_as_english():
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed(["a"]) == "a"


def test_prompts_that_were_left_out_are_told_where_they_were_to_be():
    counts = {"prompts": 1980, "duplicates": {"exact": 12, "near": 1008}}
    start = Round({"iteration": 0}, "m", {"prepare": {"counts": counts}})
    assert _left_out([start]) == (
        " Of 3,000 prompts, 12 exact and 1,008 near duplicates of an earlier one were left out."
    )
    assert _left_out([Round({"iteration": 0}, "m", {"prepare": {"counts": {"prompts": 5}}})]) == ""


def test_elements_escape_text_and_attributes():
    drawn = svg.tag("text", '<b a="1">', class_='"x"')
    assert drawn == '<text class="&#34;x&#34;">&lt;b a=&#34;1&#34;&gt;</text>'


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e6))
def test_ticks_lie_within_the_domain(low, width):
    domain = svg.rounded_domain(low, low + width)
    marks = svg.ticks(*domain)
    slack = (domain[1] - domain[0]) * 1e-6
    assert domain[0] <= low + slack
    assert domain[1] >= low + width - slack
    assert all(domain[0] - slack <= mark <= domain[1] + slack for mark in marks)
    assert len(marks) <= 12


@given(st.lists(st.floats(20, 300), min_size=1, max_size=12))
def test_labels_keep_their_distance(positions):
    placed = sorted(svg.spread_labels(positions, 16, 0, 320))
    assert all(after - before >= 16 - 1e-9 for before, after in pairwise(placed))
    assert placed[-1] <= 320


def test_more_labels_than_there_is_room_for_stay_within_it():
    placed = svg.spread_labels([100.0] * 30, 16, 16, 202)
    assert min(placed) >= 16 - 1e-9 and max(placed) <= 202 + 1e-9


def test_gpu_hours_have_three_digits_or_more_and_no_exponent():
    found = [words.hours(3600 * hours) for hours in (0.5, 12.345, 999.4, 999.6, 12_345.6)]
    assert found == ["0.5", "12.3", "999", "1,000", "12,346"]
    assert [plain_amount(value) for value in (2_500_000, 12.5)] == ["2,500,000", "12.5"]


def test_long_texts_are_cut_with_a_count():
    assert shortened("x" * 3500).endswith("… (500 more characters)")


@given(st.text())
def test_entries_are_json_that_cannot_leave_their_element(text):
    [encoded] = within([{"prompt": text}], 10**6)
    assert json.loads(encoded)["prompt"].encode("utf-8", "replace") == text.encode(
        "utf-8", "replace"
    )
    assert "<" not in encoded
    assert not CONTROLS.search(encoded)


def test_entries_are_taken_in_order_while_there_is_room():
    entries = [{"prompt": "é" * 100}] * 50
    taken = within(entries, 2000)
    assert len(taken) == 9, "216 bytes each"
    assert sum(len(text.encode()) for text in taken) <= 2000


@given(st.text())
def test_visible_text_holds_no_markup_and_no_control(text):
    shown = visible(text)
    plain = shown.replace('<span class="control">', "").replace("</span>", "")
    assert "<" not in plain
    assert not set(shown) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\x00\x1b")


def test_long_curves_are_thinned_by_means():
    thin = _thinned([(float(step), 2.0) for step in range(10_000)])
    assert len(thin) <= 300
    assert {value for _, value in thin} == {2.0}


def test_many_languages_are_counted_in_the_headline():
    codes = ["es", "de", "fr", "it", "pt"]
    scores = {code: {"accuracy": {"value": 0.9}} for code in ["en", *codes]}
    counts = {"average": {"value": 0.4}, "languages": scores}
    state = {"iteration": 0, "promoted": True, "evaluation": "evaluate/1"}
    start = Round(state, "/models/chat", {"evaluate": {"counts": counts}})
    settings = recipe(
        languages={"others": codes},
        model={"source": "/models/chat"},
        prompts={"files": {code: f"{code}.jsonl" for code in ["en", *codes]}},
    )
    assert outcome(settings, [start]).endswith("Average of 5 languages: 40.0%, English 90.0%.")
    for code in ["es", "de", "it"]:
        del scores[code]
    assert "Average of French and Portuguese: 40.0%" in outcome(settings, [start])


@pytest.mark.parametrize("last", [1, 2, 3, 6, 7, 9, 10, 57, 1234])
def test_optimizer_steps_have_no_halves(last):
    marks = svg.ticks(0, last, 4, whole=True)
    assert all(float(mark).is_integer() for mark in marks)
    assert 2 <= len(marks) <= 6


def test_a_dot_at_the_edge_keeps_its_whisker_inside():
    scale = svg.Scale(0.0, 1.0, 50.0, 250.0)
    assert (scale(-0.2), scale(0.5), scale(1.2)) == (50.0, 150.0, 250.0)


@pytest.mark.parametrize(
    ("gap", "shown", "shade"),
    [
        (0.3 - 0.1, "20.0", "behind4"),  # 0.19999999999999998
        (0.1996, "20.0", "behind4"),
        (0.0996, "10.0", "behind3"),
        (0.00996, "1.0", "behind1"),
        (0.0094, "0.9", "even"),
        (0.1 - 0.15, "−5.0", "ahead2"),  # -0.04999999999999999
        (-0.0096, "−1.0", "ahead1"),
    ],
)
def test_the_map_shades_the_number_that_it_shows(gap, shown, shade):
    assert _shaded(gap) == Cell(shown, shade)
