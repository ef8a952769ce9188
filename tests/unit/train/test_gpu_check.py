"""The GPU check at its tiny size on a CPU, with the few libraries that it needs and no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks.gpu_check import NEEDED, rivals
from benchmarks.gpu_check.__main__ import _is_well
from benchmarks.gpu_check.shapes import SHAPES, prepare
from benchmarks.gpu_check.table import markdown, with_shares
from benchmarks.gpu_check.training import Way

ROOT = Path(__file__).parents[3]


def closure(names: tuple[str, ...]) -> set[str]:
    """Return these libraries and what they require, as installed here."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        try:
            known = distribution(name)
        except PackageNotFoundError:
            continue
        if name in found:
            continue
        found.add(name)
        wanted = map(Requirement, known.requires or ())
        left += [
            each.name for each in wanted if not each.marker or each.marker.evaluate({"extra": ""})
        ]
    return found


def machine_with(folder: Path, names: set[str]) -> Path:
    """Return a folder that holds these libraries, as links, and no others."""
    for name in names:
        known = distribution(name)
        tops = {
            file.parts[0]
            for file in known.files or ()
            if file.parts[0] not in ("..", "__pycache__")
        }
        for top in tops:
            if not (folder / top).exists():
                (folder / top).symlink_to(known.locate_file(top))
    return folder


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> Path:
    """Return the folder in which a tiny check has left its figures."""
    site, out = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("out")
    machine_with(site, closure(NEEDED))
    command = [sys.executable, "-S", "-m", "benchmarks.gpu_check", "--shape", "tiny"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{site}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--output", str(out)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.slow
def test_gpu_check_needs_few_libraries_and_names_the_rows_that_need_more(checked):
    figures = json.loads((checked / "gpu_check-cpu.json").read_text())
    outcomes = {row["what"]: row["outcome"] for row in figures["rows"]}
    assert {what for what, outcome in outcomes.items() if outcome == "measured"} == {
        "matrix product, bfloat16",
        "flat rows against a CPU",
        "tiny, full: train step",
        "tiny, full: padded batches",
        "tiny layers, LoRA: train step",
        "tiny layers, LoRA: padded batches",
        "tiny layers, full: train step",
        "tiny, generation: transformers",
    }
    assert {what: outcome for what, outcome in outcomes.items() if outcome != "measured"} == {
        "tiny layers, full, offload: train step": "deepspeed is not installed",
        "tiny, generation: vLLM": "vllm is not installed",
        "tiny, full: TRL": "trl is not installed",
        "tiny layers, LoRA: TRL": "trl is not installed",
    }
    assert (figures["card"], figures["versions"]["deepspeed"]) == ("CPU", "absent")


@pytest.mark.slow
def test_gpu_check_compares_flat_rows_with_plain_passes_in_both_precisions(checked):
    figures = json.loads((checked / "gpu_check-cpu.json").read_text())
    (row,) = [row for row in figures["rows"] if "agrees" in row]
    assert row["agrees"]
    assert row["float32"]["loss_difference"] < 1e-6
    assert 0.999 < row["bfloat16"]["gradient_cosine"] < 0.9999999, "it is another precision"


@pytest.mark.slow
def test_gpu_check_tables_name_the_card_and_every_row(checked):
    figures = json.loads((checked / "gpu_check-cpu.json").read_text())
    page = (checked / "gpu_check-cpu.md").read_text()
    assert page.startswith("# CPU\n")
    assert all(f"| {row['what']} |" in page for row in figures["rows"])
    assert "| trl is not installed |" in page


def test_gpu_check_names_what_it_lacks():
    command = [sys.executable, "-S", "-m", "benchmarks.gpu_check"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"gpu_check needs {', '.join(NEEDED)}. ")


def test_gpu_check_fails_where_a_row_failed_or_the_card_disagrees():
    good = {"outcome": "measured", "agrees": True}
    absent = {"outcome": "trl is not installed"}
    assert _is_well({"rows": [good, absent, {"outcome": "no time was left"}]})
    assert not _is_well({"rows": [good, {"outcome": "failed: OutOfMemoryError: ..."}]})
    assert not _is_well({"rows": [{**good, "agrees": False}]})


def test_gpu_check_shares_are_of_the_product_and_of_the_plan():
    rows = [
        {"what": "product", "outcome": "measured", "flops_per_second": 8e14, "memory_gib": 80},
        {
            "what": "train step",
            "outcome": "measured",
            "flops_per_second": 2e14,
            "peak_gib": 30.0,
            "plan_gib": 40.0,
            "tokens_per_second": 12345.6,
        },
    ]
    product, step = with_shares(rows)
    assert (step["mfu"], step["peak_of_plan"]) == (0.25, 0.75)
    assert "mfu" not in product
    figures = {"card": "Card 80", "python": "3.12", "versions": {}, "seconds": 60.0}
    page = markdown({**figures, "rows": [product, step]})
    assert "| train step | 12,346 |  | 25.0% | 30.0 | 40.0 | 0.75 |  |" in page
    assert "| product |  |  |  |  |  |  | 800.0 TFLOP/s, 80 GiB |" in page


@pytest.mark.slow
@pytest.mark.long
def test_gpu_check_measures_trl_on_the_same_pairs(tmp_path):
    prepare(tmp_path, SHAPES["tiny"])
    found = rivals.trl(tmp_path, SHAPES["tiny"], Way())
    assert found["tokens_per_second_with_reference"] > 0
    assert found["flops_per_second"] > 0
