"""A whole run in a network namespace that holds nothing but the store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cut_off import CATEGORIES, LANGUAGES, MMLU

ROOT = Path(__file__).parents[2]
ALONE = ["unshare", "--net", "--map-root-user"]


def namespaces_work() -> bool:
    try:
        made = subprocess.run([*ALONE, "ip", "link", "set", "lo", "up"], capture_output=True)
    except FileNotFoundError:
        return False
    return made.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not namespaces_work(), reason="no network namespaces here (unshare --net)")
def test_a_run_completes_where_nothing_but_the_store_can_be_reached(tmp_path: Path):
    program = [sys.executable, "-m", "tests.e2e.cut_off", str(tmp_path)]
    done = subprocess.run([*ALONE, *program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for label in ("model.source", "prompts.translation_tasks", "evaluation.data.mgsm", MMLU):
        assert label in done.stdout
    items = {"mgsm_paper": 2, "harness": len(CATEGORIES)}
    scored = {f"{task}_{code}": count for code in LANGUAGES for task, count in items.items()}
    m0, m1 = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    assert m0 == m1 == scored, "every item, ours and the harness's own, from the store"
