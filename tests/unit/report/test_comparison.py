from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lidr.components.report.blocks import Section
from lidr.components.report.common_languages import paired_items
from lidr.components.report.comparison import Evaluated, compare, evaluated, render
from lidr.components.report.flips import flips
from lidr.components.report.words import signed
from lidr.components.shared.stats import paired
from tests.unit.report.runs import recipe, state_of, write_run


@pytest.fixture
def models(tmp_path: Path) -> list[Evaluated]:
    """The start of a run, and the model it ends with."""
    store = write_run(tmp_path)
    return [
        evaluated(name, f"models:/tiny/{t}", state_of(store, t)["evaluation"])
        for name, t in (("A", 0), ("B", 2))
    ]


def test_two_models_are_compared_item_by_item(models):
    result = compare(recipe(), models)
    assert [each["source"] for each in result["models"]] == ["models:/tiny/0", "models:/tiny/2"]
    gain = result["gains"]["es"]
    assert gain["won"] - gain["lost"] == round(0.99 * 300) - round(0.447 * 300)
    assert gain["gain"]["value"] == pytest.approx((gain["won"] - gain["lost"]) / 300)
    assert gain["gain"]["low"] < gain["gain"]["value"] < gain["gain"]["high"]
    assert result["gains"]["en"]["lost"] == 2
    assert result["gains"]["en"]["p"] == pytest.approx(0.5), "2 of 2 lost, by McNemar"
    assert result["p"] < 0.001
    values = [result["gains"][code]["gain"]["value"] for code in ("es", "de", "fr")]
    assert result["mean_gain"]["value"] == pytest.approx(sum(values) / 3)


def test_comparison_reads_no_items_twice(models, monkeypatch):
    monkeypatch.setattr(paired, "read_items", lambda uri: pytest.fail(f"{uri} is read again"))
    assert set(compare(recipe(), models)["gains"]) == {"en", "es", "de", "fr"}
    assert set(paired_items(*models)) == {"en", "es", "de", "fr"}


def test_items_with_equal_ids_and_other_answers_are_not_the_same(models):
    first, second = models
    other = [
        replace(item, target=f"{item.target}0") if item.language == "es" else item
        for item in second.items
    ]
    assert set(paired_items(first, replace(second, items=other))) == {"en", "de", "fr"}


def test_one_model_has_scores_alone(models):
    result = compare(recipe(), models[:1])
    assert "gains" not in result
    page = render(recipe(), models[:1], result)
    assert "Average of the other languages: 46.1%" in page
    assert 'id="flips"' not in page


def test_the_page_shows_gains_and_flipped_items(models):
    page = render(recipe(), models, compare(recipe(), models))
    gain = signed(compare(recipe(), models)["mean_gain"]["value"])
    assert f"B against A, mean over the other languages: {gain} points (+4" in page
    assert page.count('"change":"gained"') == 478
    assert page.count('"change":"lost"') == 2
    assert "<code><bdi>models:/tiny/2</bdi></code>" in page


def test_the_gains_name_their_level_and_which_p_values_are_corrected(models):
    settings = recipe(gate={"confidence": 0.995})
    page = render(settings, models, compare(settings, models))
    assert "with 99.5% intervals by paired bootstrap" in page
    assert "corrected for the number of languages (Holm), that of the mean is not" in page


def entries(section: Section) -> list[dict]:
    return json.loads(section.browser.data)["entries"]


def test_flips_show_both_directions_of_every_language(models):
    a, b = models
    there = flips(recipe().languages, a.items, b.items, ("A", "B"))
    back = flips(recipe().languages, b.items, a.items, ("B", "A"))
    assert [row[1] for row in there.tables[0].rows] == ["0", "163", "157", "158"]
    assert [row[-1] for row in there.tables[0].rows] == ["2", "0", "0", "0"]
    assert [row[-1] for row in back.tables[0].rows] == ["0", "163", "157", "158"]
    shown = entries(there)
    assert {entry["language"] for entry in shown[:4]} == {"en", "es", "de", "fr"}
    assert len(shown) == 480


def test_few_bytes_hold_some_of_every_language(models):
    a, b = models
    section = flips(recipe().languages, a.items, b.items, ("A", "B"), budget=9000)
    shown = entries(section)
    assert 8 < len(shown) < 20
    assert {entry["language"] for entry in shown} == {"en", "es", "de", "fr"}
    assert f"{len(shown)} of them are shown." in section.lede


def test_gains_say_what_was_wrong_before(models):
    a, b = models
    before = [replace(item, detected_language="en") for item in a.items if item.language == "es"]
    before[200] = replace(before[200], detected_language="es", finish_reason="length")
    section = flips(recipe().languages, before, b.items, ("A", "B"))
    assert list(section.tables[0].columns[2:5]) == [
        "before: in another language",
        "before: cut at the token limit",
        "before: wrong",
    ]
    assert list(section.tables[0].rows[0][1:]) == ["163", "162", "1", "0", "0"]


def test_models_that_agree_have_nothing_flipped(models):
    same = flips(recipe().languages, models[0].items, models[0].items, ("A", "B"))
    assert same.browser is None
    assert same.lede.startswith("0 items went from wrong to right, 0 from right to wrong.")
