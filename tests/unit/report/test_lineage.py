"""The drawn lineage: every stage once, edges between what is drawn, and nothing of it unescaped."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lidr.components.report.history import Round
from lidr.components.report.lineage import lineage
from lidr.components.shared.store.marker import MARKER, PRUNED_MARKER
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import read_states
from tests.chains import Chain, make_chain


@pytest.fixture
def chain(tmp_path) -> Chain:
    return make_chain(str(tmp_path / "store"), 2)


def rounds_of(chain: Chain) -> list[Round]:
    return [Round(state, "") for state in read_states(open_store(chain.store), chain.run)]


def test_every_stage_is_a_box_and_every_read_an_edge(chain):
    section = lineage(rounds_of(chain))
    made = [stage for stage in chain.stages if "/register/" not in stage.uri]
    for image in (section.charts[0].image, section.charts[0].narrow):
        drawn = ElementTree.fromstring(str(image))
        assert len(drawn.findall(".//rect")) == len(made)
        reads = sum(
            name not in ("inputs", "reference")
            for stage in made
            for name in stage.identity["inputs"]
        )
        assert len(drawn.findall(".//path")) == reads
        heads = [text.text for text in drawn.findall("./text")]
        assert heads == ["M₀", "M₁", "M₂"]
    assert len(section.tables[0].rows) == len(made)


def test_a_run_that_starts_from_another_run_s_model_calls_it_m_0(chain):
    section = lineage(rounds_of(chain)[1:])
    drawn = ElementTree.fromstring(str(section.charts[0].image))
    assert [text.text for text in drawn.findall("./text")] == ["earlier", "M₀", "M₁"]
    assert {row[0].split()[0] for row in section.tables[0].rows} == {"earlier", "M₀", "M₁"}


def test_no_two_boxes_stand_on_one_another(chain):
    drawn = ElementTree.fromstring(str(lineage(rounds_of(chain)).charts[0].image))
    places = [(box.get("x"), box.get("y")) for box in drawn.findall(".//rect")]
    assert len(set(places)) == len(places)
    width, height = (float(value) for value in drawn.get("viewBox").split()[2:])
    assert all(float(x) + 92 <= width and float(y) + 40 <= height for x, y in places)


def test_what_was_pruned_is_drawn_as_such_and_what_is_gone_left_out(chain):
    pruned, gone = chain.rounds[1]["generate"], chain.rounds[1]["translate"]
    Path(chain.store, pruned.key(MARKER)).rename(Path(chain.store, pruned.key(PRUNED_MARKER)))
    shutil.rmtree(Path(chain.store, gone.prefix))
    section = lineage(rounds_of(chain))
    drawn = ElementTree.fromstring(str(section.charts[0].image))
    kinds = [box.get("class") for box in drawn.findall(".//rect")]
    assert kinds.count("stage pruned") == 1
    assert gone.digest[:8] not in "".join(drawn.itertext())
    assert [row[-1] for row in section.tables[0].rows].count("pruned") == 1


def test_without_stages_there_is_no_section(chain):
    rounds = rounds_of(chain)
    shutil.rmtree(Path(chain.store, "stages"))
    assert lineage(rounds) is None


def test_text_of_a_marker_is_escaped(chain):
    """A store may be written to by others: step names are folders there."""
    state = {"model": f"{chain.store}/stages/<script>/{'0' * 64}"}
    assert lineage([Round(state, "")]) is None
    state["evaluation"] = chain.rounds[0]["evaluate"].uri
    assert "<script>" not in str(lineage([Round(state, "")]).charts[0].image)
