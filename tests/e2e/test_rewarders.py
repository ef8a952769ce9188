"""The loop with each of the other rewarders: real engine, scores, grades and training.

Both runs share M_0 and its answers, so that the second one makes neither.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lidr.components.shared.records.schema import PreferencePair, Score
from lidr.components.shared.records.scores import SCORES_FILE
from lidr.components.shared.store.stage import open_stage
from tests.e2e.runs import run_command, small
from tests.judges import Asked, Says, ScriptedJudge

pytestmark = pytest.mark.slow

SETTINGS = (
    "languages.others=[es]",
    "generation.samples=3",
    "generation.temperature=1.0",
    "gate.max_iterations=1",
)


def run(store: Path, name: str, *settings: str, **machine: object) -> dict[str, Any]:
    command = small(store, *SETTINGS, *settings, **machine)
    command[command.index("small")] = name
    done = run_command(command, store.parent)
    assert done.returncode == 0, done.stderr
    state: dict[str, Any] = json.loads((store / f"runs/{name}/iteration-1/state.json").read_text())
    return state


def pairs_of(state: dict[str, Any]) -> list[PreferencePair]:
    return open_stage(state["pairs"]).read_records(["pairs.parquet"], PreferencePair)


def scores_of(uri: str) -> dict[tuple[str, str, int], float]:
    found: list[Score] = open_stage(uri).read_records([SCORES_FILE], Score)
    return {
        (each.prompt_id, each.language, each.sample): each.value
        for each in found
        if each.value is not None
    }


def short(asked: Asked) -> Says:
    """Grade by brevity."""
    return Says(f"Score: {max(0, 10 - len(asked.block('answer')) // 20)}")


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("rewarders")
    store = folder / "store"
    server = ScriptedJudge(short)
    state = run(
        store,
        "judged",
        "pairing.rewarder=judge",
        "judge={endpoint: {model: scripted}}",
        judge={"url": server.url},
    )
    server.close()
    return store, state


def test_judge_s_best_sample_is_learnt_without_a_translation(judged):
    store, state = judged
    assert not (store / "stages" / "translate").exists()
    scores = scores_of(state["grades"])
    assert len(scores) > 60
    pairs = pairs_of(state)
    assert {pair.language for pair in pairs} == {"en", "es"}
    for pair in pairs:
        own = [scores.get((pair.prompt_id, pair.language, n), -1.0) for n in range(3)]
        assert own[pair.sample] == max(own)
    page = (store / "runs/judged/report.html").read_text()
    assert "by a judge&#39;s grades" in page or "by a judge's grades" in page
    assert "not verifiable here, as this rewarder makes no translations" in page


def test_implicit_reward_s_best_sample_is_learnt(judged):
    """The reference is M_0 with its weights shaken: what M_0 alone knows, it makes less likely."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    store, before = judged
    reference = store.parent / "reference"
    start = Path(before["inputs"]) / "model"
    model = AutoModelForCausalLM.from_pretrained(start)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.02 * torch.randn_like(weight)
    model.save_pretrained(reference)
    AutoTokenizer.from_pretrained(start).save_pretrained(reference)
    named = f"pairing={{filters: paper, rewarder: icr, icr: {{reference: {reference}}}}}"
    state = run(store, "implicit", named, "pairing.reward.on_stop=train")
    assert state["responses"] == before["responses"], "M_0's answers are those of the other run"
    scores, counts = scores_of(state["scores"]), open_stage(state["pairs"]).counts()
    assert set(counts["length_penalty"]) == {"en", "es"}
    assert counts["rewarder"] == "icr"
    assert all(abs(value) < 100 for value in scores.values())
    assert len(pairs_of(state)) > 12
    scored = open_stage(state["scores"]).marker()["identity"]["inputs"]
    assert scored["policy"] == open_stage(before["inputs"]).digest
    result = json.loads((store / "runs/implicit/result.json").read_text())
    assert [entry["iteration"] for entry in result["iterations"]] == [0, 1]
