"""Alert rules and the dashboard: expressions that Prometheus can read, about things that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import promql_parser
import pytest

from tests.manifests.rendering import ROOT, Object, named, needs_kubectl, overlay
from tests.yaml_text import read_yaml

FOLDER = ROOT / "components" / "monitoring"
RULES = read_yaml((FOLDER / "alerts.yaml").read_text("utf-8"))["spec"]["groups"]
DASHBOARD = json.loads((FOLDER / "run.json").read_text("utf-8"))
ALERTS = {rule["alert"]: rule for group in RULES for rule in group["rules"]}


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in ALERTS.values())
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            text = target["expr"].replace("$__range", "6h")
            yield text.replace("$namespace", "lidr").replace("$run", "lidr-tiny-world-x1")


def test_every_expression_is_promql():
    found = list(expressions())
    assert len(found) > 20
    for text in found:
        promql_parser.parse(text)
    with pytest.raises(ValueError):
        promql_parser.parse("sum(rate(a[5m])")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_about_lidr_wherever_it_is_installed(name: str):
    text = ALERTS[name]["expr"]
    assert "lidr" in text and "namespace=" not in text
    for names in re.findall(r"by \(([^)]*)\)", text):
        assert "namespace" in names.split(", "), "two installations on a cluster are two alerts"


def test_a_panel_is_about_its_namespace():
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            assert "$namespace" in target["expr"] or 'cluster_queue="lidr"' in target["expr"]


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do(name: str):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert rule["annotations"]["summary"] and rule["annotations"]["remedy"]


def test_every_alert_leads_to_its_heading_and_every_heading_of_an_alert_to_one():
    page = (ROOT.parent / "docs" / "operating.md").read_text("utf-8")
    ends, _, alerts = page.partition("\n# Alerts\n")
    assert re.findall(r"^## (\w+)$", alerts, re.MULTILINE) == list(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/operating.md#{name.lower()}"
    for section in re.split(r"^## ", ends + alerts, flags=re.MULTILINE)[1:]:
        assert "- Then:" in section or "refused before" in section
        assert section.count("\n") < 25, "one screen"


@needs_kubectl
@pytest.mark.parametrize(("label", "kind"), [("deployment", "Deployment"), ("cronjob", "CronJob")])
def test_alerts_are_about_objects_that_exist(label: str, kind: str):
    objects: dict[str, Object] = named(overlay("gke"), kind)
    text = " ".join(rule["expr"] for rule in ALERTS.values())
    named_there = set(re.findall(rf'{label}=~?"([\w-]+)', text))
    assert named_there and named_there <= set(objects)


def test_panels_do_not_lie_on_each_other():
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places) == 12
    assert {each["name"] for each in DASHBOARD["templating"]["list"]} == {
        *("datasource", "namespace", "run"),
    }
