"""What the report says of rewarders that translate nothing, out of what the pair step wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidr.components.report.blocks import Section
from lidr.components.report.history import Round
from lidr.components.report.pair_sections import pairs
from lidr.components.report.reward_section import reward_check
from lidr.components.report.samples import samples
from lidr.components.shared.store.stage import open_stage
from tests.unit.pair.rewarders.test_samples import ANSWERS, NO_STEPS, many
from tests.unit.pair.scored import run, scored_recipe, write


@pytest.fixture(scope="module")
def sections(tmp_path_factory) -> list[Section]:
    """The reward check, the pairs and the pair browser of an iteration of icr."""
    folder: Path = tmp_path_factory.mktemp("icr")
    settings = scored_recipe(**NO_STEPS)
    given = write(folder, many("Son 4.", "Son 5."), ANSWERS)
    uri = run(given, settings)
    state = {"iteration": 1, "pairs": uri, "evaluation": ""}
    markers = {"pair": open_stage(uri).marker(), "score": open_stage(given["rewards"]).marker()}
    rounds = [Round(state, "", markers)]
    found = [
        reward_check(settings, rounds),
        pairs(settings, rounds),
        samples(settings.languages, rounds),
    ]
    assert None not in found
    return [each for each in found if each is not None]


def test_reward_section_says_what_needs_a_translation(sections: list[Section]):
    reward = sections[0]
    assert reward.title == "Can the reward be trusted? Yes"
    assert "is not verifiable here, as this rewarder makes no translations" in reward.lede
    [table] = reward.tables
    assert table.columns[0] == "Language"
    assert "chrF of round trips" not in table.columns
    assert [row[0] for row in table.rows] == ["English", "Spanish", "German", "All"]
    shown = dict(zip(table.columns, table.rows[1], strict=True))
    assert "100%" in shown["The one right side is chosen"]
    assert [chart.caption for chart in reward.charts] == [
        "Pairs of M₀ with one right side: how often that side is chosen, in percent"
    ]


@pytest.mark.parametrize(
    ("bar", "marks"), [(0.5, {0.5: "tolerance"}), (0.8, {0.8: "tolerance"}), (0, {})]
)
def test_a_chart_of_the_check_shows_its_own_bar(tmp_path, monkeypatch, bar: float, marks):
    drawn = []
    monkeypatch.setattr(
        "lidr.components.report.rows.dots", lambda heading, lines, *axis: drawn.append(axis)
    )
    settings = scored_recipe(**NO_STEPS)
    uri = run(write(tmp_path, many("Son 4.", "Son 5."), ANSWERS), settings)
    rules = settings.pairing.reward.model_copy(update={"min_agreement": bar})
    pairing = settings.pairing.model_copy(update={"reward": rules})
    rounds = [
        Round(
            {"iteration": 1, "pairs": uri, "evaluation": ""}, "", {"pair": open_stage(uri).marker()}
        )
    ]
    assert reward_check(settings.model_copy(update={"pairing": pairing}), rounds)
    [(domain, found)] = drawn
    assert found == marks
    assert domain[0] <= bar or not bar
    assert domain[0] > 0, "a bar that is off does not stretch the axis"


def test_pair_section_shows_what_was_scored(sections: list[Section]):
    section = sections[1]
    assert "best of a prompt's samples over the worst, by their implicit reward" in section.lede
    [scores] = [table for table in section.tables if "Implicit rewards" in table.caption]
    assert scores.rows[0][1:4] == ["60 of 60", "0.5", "1"]


def test_browser_says_what_stands_against_each_other(sections: list[Section]):
    browser = sections[2].browser
    assert browser is not None
    assert "best Spanish sample over the worst" in browser.data
