"""Charts as files of their own."""

from __future__ import annotations

from xml.etree import ElementTree

from lidr.components.report.blocks import Chart, Section
from lidr.components.report.plots import plots
from lidr.components.report.svg import Heading, figure, text


def test_a_chart_is_an_image_that_stands_alone():
    hostile = "</style><script>alert(1)</script>"
    image = figure(Heading("a", "Loss", "from 1 to 0"), (40, 30), text(1, 2, hostile, "label"))
    section = Section("training", "Training", "", charts=[Chart("Reward / margin", image)])
    [(name, data)] = plots([section])
    assert name == "training-1-reward-margin.svg"
    root = ElementTree.fromstring(data)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    style, *rest = root
    assert style.tag.endswith("style")
    assert "--ink" in style.text
    assert not [each for each in root.iter() if "script" in each.tag]
    assert rest[-1].text == hostile
