"""The whole loop with a judge: real engine and training, a scripted server that judges."""

from __future__ import annotations

import json

import pytest

from lidr.components.shared.records.schema import Answer, EvalItem
from lidr.components.shared.steps import step_named
from lidr.components.shared.store.stage import open_stage
from tests.e2e.runs import run_command, small
from tests.judges import Asked, Says, ScriptedJudge, prefers

pytestmark = pytest.mark.slow
LANGUAGES = ("en", "es", "de", "fr")


def decide(asked: Asked) -> Says:
    return prefers(len)(asked) if "A or B" in asked.text else Says("Fine.\nScore: 7")


def test_every_model_is_judged_in_every_language(tmp_path):
    for code in LANGUAGES:
        rows = [{"id": n, "turns": [f"{code} {n}?", "And?"]} for n in range(2)]
        (tmp_path / f"bench.{code}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        rows = [{"id": n, "instruction": f"{code} {n}?", "response": "x" * 20} for n in range(3)]
        (tmp_path / f"alpaca.{code}.json").write_text(json.dumps(rows))
    server = ScriptedJudge(decide)
    bench, alpaca = (str(tmp_path / f"{name}.{{language}}") for name in ("bench", "alpaca"))
    tasks = [
        {"name": "mt_bench", "questions": f"{bench}.jsonl", "max_tokens": 24},
        {
            "name": "x_alpacaeval",
            "questions": f"{alpaca}.json",
            "references": f"{alpaca}.json",
            "max_tokens": 24,
        },
        {"name": "head_to_head"},
    ]
    section = json.dumps({"endpoint": {"model": "scripted"}, "tasks": tasks})
    store = tmp_path / "store"
    judge = {"url": server.url}
    command = small(store, "gate.max_iterations=1", f"judge={section}", judge=judge)
    done = run_command(command, tmp_path)
    server.close()
    assert done.returncode == 0, done.stderr
    states = [
        json.loads((store / f"runs/small/iteration-{t}/state.json").read_text()) for t in (0, 1)
    ]
    answers = open_stage(states[1]["evaluation"]).read_records(["answers.parquet"], Answer)
    assert len(answers) == 4 * (2 * 2 + 3)
    tasks_of = [open_stage(state["judgements"]).counts()["tasks"] for state in states]
    assert list(tasks_of[0]) == ["mt_bench", "x_alpacaeval"]
    assert list(tasks_of[1]) == ["head_to_head", "mt_bench", "x_alpacaeval"]
    for found in tasks_of:
        assert found["mt_bench"]["average"]["value"] == pytest.approx(0.7)
        assert set(found["x_alpacaeval"]["languages"]) == set(LANGUAGES)
    items = open_stage(states[1]["judgements"]).read_records(["items.parquet"], EvalItem)
    assert len(items) == 4 * (2 + 3 + 3)
    assert all(0 <= item.score <= 1 for item in items)
    for marker in store.glob("stages/*/*/_SUCCESS"):
        inputs = open_stage(str(marker.parent)).marker()["identity"]["inputs"]
        stages = {name for name in inputs if name != "prompts"}  # a digest of evaluate's own
        assert stages <= step_named(marker.parts[-3]).reads.keys(), marker
    page = (store / "runs/small/report.html").read_text()
    assert 'id="judged"' in page
    assert "Head to head: win rate against the model&#39;s predecessor" in page
