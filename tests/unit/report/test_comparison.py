from __future__ import annotations

from pathlib import Path

import pytest

from components.report.comparison import Evaluated, compare, evaluated, render
from components.report.flips import flips
from components.report.words import signed
from components.shared.errors import BadInput
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
    values = [result["gains"][code]["gain"]["value"] for code in ("es", "de", "fr")]
    assert result["mean_gain"]["value"] == pytest.approx(sum(values) / 3)


def test_one_model_has_scores_alone(models):
    result = compare(recipe(), models[:1])
    assert "gains" not in result
    page = render(recipe(), models[:1], result)
    assert "Average of the other languages: 46.1%" in page
    assert "flips" not in page.partition("<main>")[2].replace("data-filtered", "")


def test_other_items_are_refused(models):
    fewer = Evaluated("B", "b", models[1].counts, models[1].items[1:])
    with pytest.raises(BadInput, match=r"different items, for example \('tiny_world_en', 'en',"):
        compare(recipe(), [models[0], fewer])


def test_the_page_shows_gains_and_flipped_items(models):
    page = render(recipe(), models, compare(recipe(), models))
    gain = signed(compare(recipe(), models)["mean_gain"]["value"])
    assert f"B against A, mean over the other languages: {gain} points (+4" in page
    assert page.count('data-kind="gained"') == 118
    assert page.count('data-kind="lost"') == 2
    assert "<code>models:/tiny/2</code>" in page


def test_flips_show_both_directions_of_every_language(models):
    a, b = models
    there = flips(recipe().languages, a.items, b.items, ("A", "B"))
    back = flips(recipe().languages, b.items, a.items, ("B", "A"))
    assert there.table.rows[0][1:] == ["0", "2"]
    assert back.table.rows[0][1:] == ["2", "0"]
    assert {flip.code for flip in there.shown} == {"en", "es", "de", "fr"}
    assert len(there.shown) == 120
    assert "120 of them are shown" in there.lede


def test_models_that_agree_have_nothing_flipped(models):
    same = flips(recipe().languages, models[0].items, models[0].items, ("A", "B"))
    assert same.shown == []
    assert same.lede.startswith("0 items went from wrong to right, 0 from right to wrong.")
