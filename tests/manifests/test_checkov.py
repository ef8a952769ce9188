"""checkov over every overlay: `make lint-manifests` makes its environment, which is its own.

Without that environment it is skipped. Figures in manifests/README.md must be those found here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.manifests.rendering import OVERLAYS, ROOT, needs_kubectl, overlay

CHECKOV = ROOT.parent / ".checkov" / "bin" / "checkov"

pytestmark = [
    needs_kubectl,
    pytest.mark.slow,
    pytest.mark.skipif(not CHECKOV.is_file(), reason="no .checkov: run make lint-manifests"),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, list[dict]]:
    """checkov's results by outcome, of one run over all overlays."""
    folder = tmp_path_factory.mktemp("rendered")
    for name in OVERLAYS:
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(overlay(name)))
    return scan(folder)


def scan(folder: Path) -> dict[str, list[dict]]:
    command = [str(CHECKOV), "--directory", str(folder), "--framework", "kubernetes"]
    command += ["--compact", "--output", "json", "--soft-fail", "--skip-download"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)["results"]


def figures(results: dict[str, list[dict]]) -> list[str]:
    """Return the README's rows: overlay, passed, failed, skipped."""
    return [
        f"| {name} | "
        + " | ".join(
            str(sum(each["file_path"] == f"/{name}.yaml" for each in results[f"{outcome}_checks"]))
            for outcome in ("passed", "failed", "skipped")
        )
        + " |"
        for name in OVERLAYS
    ]


def test_no_check_fails(results: dict[str, list[dict]]):
    failed = [(each["check_id"], each["resource"]) for each in results["failed_checks"]]
    assert failed == []
    assert len(results["passed_checks"]) > 1000


def test_every_skip_has_a_reason(results: dict[str, list[dict]]):
    for each in results["skipped_checks"]:
        assert len(each["check_result"]["suppress_comment"].split()) >= 6, each["resource"]


def test_the_readme_has_these_figures(results: dict[str, list[dict]]):
    rows = figures(results)
    print("\n" + "\n".join(rows))
    text = (ROOT / "README.md").read_text("utf-8")
    assert re.findall(rf"^\| (?:{'|'.join(OVERLAYS)}) \|.*\|$", text, re.MULTILINE) == rows


def test_a_pod_that_runs_as_root_would_fail(tmp_path: Path):
    pod = {"containers": [{"name": "a", "image": "a:1"}], "hostNetwork": True}
    item = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod}
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(item))
    found = {each["check_id"] for each in scan(tmp_path)["failed_checks"]}
    assert {"CKV_K8S_19", "CKV_K8S_20", "CKV_K8S_22"} <= found
