"""The overview of a report as Kubeflow's page shows it: in a frame that may run scripts alone."""

import json
from pathlib import Path

import pytest

from lidr.components.report.run import report
from tests.unit.report.runs import RUN, recipe, write_run

FRAME = """<!doctype html><title>Kubeflow</title><link rel="icon" href="data:,">
<body style="margin: 0">
<iframe src="about:blank" sandbox="allow-scripts" style="width: 100%; height: 600px"></iframe>
<script>document.querySelector("iframe").srcdoc = CONTENT</script>"""
"""What Kubeflow's HTMLViewer does (frontend/src/components/viewers/HTMLViewer.tsx)."""


@pytest.fixture(scope="module")
def overview(tmp_path_factory) -> Path:
    store = write_run(tmp_path_factory.mktemp("run"))
    report(recipe=recipe().model_dump_json(), store=store, run=RUN)
    return Path(store, "runs", RUN, "overview.html")


def test_overview_in_a_frame_asks_for_nothing_and_nothing_complains(browser, overview, tmp_path):
    content = json.dumps(overview.read_text()).replace("</", "<\\/")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.replace("CONTENT", content))
    browser.open(frame.as_uri(), width=1000)
    assert browser.complaints() == []
    assert [each for each in browser.requests() if not each.startswith("about:")] == [
        frame.as_uri()
    ]


@pytest.mark.parametrize("width", [360, 600, 1280])
def test_overview_fits_and_leads_nowhere(browser, overview, width):
    browser.open(overview.as_uri(), width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("document.querySelectorAll('a[href]').length") == 0
    assert browser.evaluate("document.querySelector('h1').textContent").startswith("Average of")
    assert browser.evaluate("document.querySelectorAll('section').length") >= 8
    assert browser.complaints() == []
