"""How the loop goes on, stops and continues, in real kfp.local with fake steps."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from lidr.components.shared.config.budget import Account, Used
from lidr.components.shared.core.digest import digest_of_bytes
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import open_stage
from tests.layers import layer
from tests.pipelines.conftest import FakeWorld, make_world
from tests.usages import plant_usage

ROUND = ["generate", "translate", "pair", "train", "evaluate", "gate", "register"]
START = ["prepare", "evaluate", "register"]


def test_two_iterations_then_everything_is_reused(fake_world: FakeWorld):
    first = fake_world.lidr("run", "tiny_world", "--output", "json")
    assert first.returncode == 0, first.stderr
    assert fake_world.steps == START + ROUND + ROUND
    result = json.loads(first.stdout)
    assert [entry["verdict"] for entry in result["iterations"]] == ["continue", "continue", "stop"]
    assert result["final_model"] == result["iterations"][-1]["model"]

    again = fake_world.lidr("run", "tiny_world", "--output", "json")
    assert again.returncode == 0
    assert len(fake_world.work) == 17
    assert "M_2 train reused" in again.stderr
    assert json.loads(again.stdout) == result


def test_state_points_at_every_stage(one_round: FakeWorld):
    start, first = (
        json.loads((one_round.run / f"iteration-{t}" / "state.json").read_text()) for t in (0, 1)
    )
    assert datetime.fromisoformat(start.pop("finished")) <= datetime.now(UTC)
    assert Used.model_validate(start.pop("used")) == Used(account=Account())
    assert start == {
        "iteration": 0,
        "inputs": start["inputs"],
        "model": start["inputs"],
        "responses": "",
        "translations": "",
        "scores": "",
        "grades": "",
        "pairs": "",
        "evaluation": one_round.work[1],
        "judgements": "",
        "decision": "",
        "version": "fake/1",
        "verdict": "continue",
        "promoted": True,
        "reason": "the start",
    }
    stages = ("responses", "translations", "pairs", "model", "evaluation", "decision")
    assert [first[key] for key in stages] == one_round.work[3:9]
    assert (first["verdict"], first["version"]) == ("stop", "fake/2")
    recipe = json.loads((one_round.run / "recipe.json").read_text())
    assert recipe["gate"]["max_iterations"] == 1


def test_a_judge_follows_every_evaluation(fake_world: FakeWorld, tmp_path):
    place = layer(tmp_path, judge={"url": "http://judge/v1"})
    for code in ("en", "es", "de", "fr"):
        (tmp_path / f"q.{code}.jsonl").write_text('{"id": 1, "instruction": "?"}')
    task = f"{{name: care, questions: '{tmp_path}/q.{{language}}.jsonl'}}"
    section = f"judge={{endpoint: {{model: j}}, tasks: [{task}]}}"
    command = ("run", "tiny_world", "--profile", "local", "--profile", place)
    command += ("--set", section, "--set", "gate.max_iterations=1")
    done = fake_world.lidr(*command)
    assert done.returncode == 0, done.stderr
    assert Counter(fake_world.steps) == Counter([*START, *ROUND, "judge", "judge"])
    judged = [uri for uri in fake_world.work if "/judge/" in uri]
    for t in (0, 1):
        state = json.loads((fake_world.run / f"iteration-{t}" / "state.json").read_text())
        assert state["judgements"] == judged[t]
    decided = open_stage(state["decision"]).marker()["identity"]["inputs"]
    assert {name for name in decided if "judged" in name} == {"judged_before", "judged_after"}

    (tmp_path / "q.de.jsonl").unlink()
    refused = fake_world.lidr(*command, "--run", "another")
    assert refused.returncode == 2
    assert "q.de.jsonl: no such file" in refused.stderr


def test_a_stop_skips_the_rounds_after_it(fake_world: FakeWorld):
    done = fake_world.lidr("run", "tiny_world", "--set", "gate.max_iterations=3", stop=1)
    assert done.returncode == 0, done.stderr
    assert fake_world.steps == START + ROUND
    assert [entry["iteration"] for entry in fake_world.result["iterations"]] == [0, 1]


def test_loop_ends_well_before_a_training_that_the_reward_check_stops(fake_world: FakeWorld):
    rounds = ("--set", "gate.max_iterations=3")
    done = fake_world.lidr("run", "tiny_world", *rounds, distrust=2)
    assert done.returncode == 0, done.stderr
    assert fake_world.steps == [*START, *ROUND, "generate", "translate", "pair"]
    reason = "the reward check stopped the loop before training: as the test wants it"
    assert done.stdout.startswith(f"M_2 was not trained: {reason}\n")
    assert "pairing.reward.on_stop=train" in done.stdout
    result = fake_world.result
    assert [entry["iteration"] for entry in result["iterations"]] == [0, 1]
    assert result["stopped"] == {"iteration": 2, "reason": reason}
    assert result["final_model"] == result["iterations"][1]["model"]
    state = json.loads((fake_world.run / "iteration-2" / "state.json").read_text())
    assert (state["verdict"], state["promoted"], state["reason"]) == ("stop", False, reason)
    made = ("responses", "translations", "pairs")
    assert [state[name] for name in made] == fake_world.work[-3:]
    empty = ("model", "evaluation", "judgements", "decision", "version")
    assert [state[name] for name in empty] == [""] * 5
    status = fake_world.lidr("status", fake_world.run.name, "--output", "json")
    told = json.loads(status.stdout)
    assert (told["state"], told["notes"]) == ("done", [reason])
    assert {row["state"] for row in told["rows"]} == {"done"}

    again = fake_world.lidr("run", "tiny_world", *rounds)
    assert again.returncode == 0
    assert len(fake_world.work) == 13, "the stage and its verdict are there"
    on = fake_world.lidr(
        "run", "tiny_world", *rounds, "--run", "on", "--set", "pairing.reward.on_stop=train"
    )
    assert on.returncode == 0, on.stderr
    assert "M_2 pair reused" in on.stderr
    assert fake_world.steps[13:16] == ["train", "evaluate", "gate"]


def test_loop_stopped_by_its_budget_goes_on_with_a_higher_one_as_if_it_never_had(
    fake_world: FakeWorld, tmp_path
):
    """What it used is planted, as this machine has no GPU: 0.4 hours for M_0, 0.4 for M_1."""
    store = open_store(str(fake_world.store))
    rounds = ("run", "tiny_world", "--set", "gate.max_iterations=3", "--run", "mine")

    def run(hours: float) -> subprocess.CompletedProcess[str]:
        place = layer(tmp_path, budget={"gpu_hours": hours})
        return fake_world.lidr(*rounds, "--profile", "local", "--profile", place)

    for iteration in (0, 1):
        plant_usage(store, "mine", iteration, hours=0.4)
    for _ in range(2):  # the same command stops at the same place
        done = run(1.0)
        assert done.returncode == 0, done.stderr
        assert fake_world.steps == START + ROUND
        reason = (
            "the budget stopped the loop before M_2: 0.80 GPU hours are used, this iteration needs "
            "another 0.40 GPU hours, and budget.gpu_hours is 1"
        )
        assert done.stdout.startswith(f"M_2 was not trained: {reason}\n")
        assert "raise the budget" in done.stdout
    assert fake_world.result["stopped"] == {"iteration": 2, "reason": reason}
    told = json.loads(fake_world.lidr("status", "mine", "--output", "json").stdout)
    assert (told["state"], told["notes"]) == ("done", [reason])

    on = run(2.0)
    assert on.returncode == 0, on.stderr
    assert fake_world.steps == START + ROUND * 3
    assert fake_world.result["stopped"] is None
    state = json.loads((fake_world.run / "iteration-3" / "state.json").read_text())
    used = Used.model_validate(state["used"])
    assert (used.gpu_hours, used.account.budget.gpu_hours) == (0.8, 2.0)

    free = make_world(tmp_path / "free")
    assert free.lidr(*rounds).returncode == 0
    assert _without_times(fake_world) == _without_times(free)


def _without_times(world: FakeWorld) -> dict[str, object]:
    """Return every data file's digest, and the states without times, of a world's store."""
    found: dict[str, object] = {}
    for path in sorted(world.store.glob("stages/*/*/*")):
        if path.name != "_SUCCESS":
            found[str(path.relative_to(world.store))] = digest_of_bytes(path.read_bytes())
    for path in sorted(world.store.glob("runs/mine/iteration-*/state.json")):
        state = json.loads(path.read_text().replace(str(world.store), "STORE"))
        found[str(path.relative_to(world.store))] = {
            key: value for key, value in state.items() if key not in ("used", "finished")
        }
    return found


def test_a_rejected_model_is_not_the_final_one(fake_world: FakeWorld):
    done = fake_world.lidr("run", "tiny_world", "--set", "gate.max_iterations=3", reject=2)
    assert done.returncode == 0, done.stderr
    assert fake_world.steps == START + ROUND + ROUND
    result = fake_world.result
    assert result["final_model"] == result["iterations"][1]["model"]
    assert result["iterations"][2]["promoted"] is False


def test_a_kept_model_is_the_start_of_the_next_round_too(fake_world: FakeWorld):
    done = fake_world.lidr("run", "tiny_world", "--set", "gate.max_iterations=2", keep=1)
    assert done.returncode == 0, done.stderr
    assert fake_world.steps == START + ROUND + ROUND
    start, kept, last = fake_world.result["iterations"]
    assert (kept["promoted"], kept["verdict"], last["promoted"]) == (False, "continue", True)
    from lidr.components.shared.store.stage import open_stage

    trained = open_stage(last["model"]).marker()["identity"]["inputs"]
    assert trained["m"] == open_stage(start["model"]).digest


def test_the_bound_holds_at_run_time(fake_world: FakeWorld, monkeypatch):
    """On a cluster `max_iterations` is a parameter of the pipeline that was compiled for more."""
    from lidr.components.shared.store.open import open_store
    from lidr.pipelines.cli.inputs import read_recipe
    from lidr.pipelines.local import LocalJob, execute

    monkeypatch.setenv("PYTHONPATH", fake_world.environment["PYTHONPATH"])
    recipe = read_recipe("tiny_world", None, ["gate.max_iterations=3"])
    store = open_store(str(fake_world.store)).uri
    execute(LocalJob(recipe.model_dump_json(), store, "bounded", 3, 1), lambda events: None)
    assert fake_world.steps == START + ROUND
    assert fake_world.result["iterations"][-1]["verdict"] == "stop"


def test_failed_run_has_a_report_that_says_why_and_no_result(fake_world: FakeWorld):
    failed = fake_world.lidr("run", "tiny_world", pair="refuse")
    assert failed.returncode == 2
    page = (fake_world.run / "report.html").read_text()
    assert page == "pair: prompts/en.jsonl:7: the file is broken. Mend it."
    assert not (fake_world.run / "result.json").exists()
    assert fake_world.lidr("run", "tiny_world").returncode == 0
    assert not (fake_world.run / "failure.json").exists()


def test_a_rejected_input_is_told_in_its_own_words(fake_world: FakeWorld):
    failed = fake_world.lidr("run", "tiny_world", translate="refuse")
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1] == (
        "lidr: error: translate: prompts/en.jsonl:7: the file is broken. Mend it."
    )
    assert fake_world.steps == [*START, "generate"]
    assert "Traceback" not in failed.stderr
    assert not (fake_world.run / "result.json").exists()


def test_an_unforeseen_failure_shows_its_last_words(fake_world: FakeWorld):
    failed = fake_world.lidr("run", "tiny_world", train="crash")
    assert failed.returncode == 1
    error = failed.stderr[failed.stderr.index("lidr: error:") :]
    what = "train failed: RuntimeError: something unforeseen"
    assert error.startswith(f"lidr: error: {what}; its last lines were")
    assert error.count("RuntimeError: something unforeseen") == 2, "also below its traceback"
    assert str(fake_world.run / "logs" / "run.log") in error
    assert len(error.splitlines()) < 25


def test_a_killed_step_is_named(fake_world: FakeWorld):
    failed = fake_world.lidr("run", "tiny_world", pair="die")
    assert failed.returncode == 1
    assert "lidr: error: pair failed" in failed.stderr


def test_a_good_loop_whose_report_fails_is_a_failed_run(fake_world: FakeWorld):
    command = ("run", "tiny_world", "--run", "mine", "--set", "gate.max_iterations=1")
    refused = fake_world.lidr(*command, report="refuse")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (
        "lidr: error: report: prompts/en.jsonl:7: the file is broken. Mend it."
    )
    crashed = fake_world.lidr(*command, report="crash")
    assert crashed.returncode == 1
    assert "lidr: error: report failed: RuntimeError: something" in crashed.stderr
    assert fake_world.steps == START + ROUND  # the loop itself is not done again
    assert fake_world.lidr(*command).returncode == 0


def test_another_recipe_may_not_continue_a_run(one_round: FakeWorld):
    arguments = ("run", "tiny_world", "--run", "mine", "--set", "gate.max_iterations=1")
    refused = one_round.lidr(*arguments, "--set", "training.beta=0.2")
    assert refused.returncode == 2
    assert "was started with another recipe" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_nothing_temporary_is_left(one_round: FakeWorld):
    assert list(Path(one_round.environment["TMPDIR"]).iterdir()) == []
    names = {path.name for path in one_round.run.iterdir()}
    assert names == {
        "events.jsonl",
        "iteration-0",
        "iteration-1",
        "lease",
        "lock",
        "logs",
        "overview.html",
        "recipe.json",
        "result.json",
    }


def test_shards_share_the_work_and_merge_finishes_it(fake_world: FakeWorld):
    done = fake_world.lidr("run", "tiny_world", "--shards", "3")
    assert done.returncode == 0, done.stderr
    for step in ("generate", "translate"):
        made = (fake_world.store / "stages" / step).glob("*/_SUCCESS")
        (first, second) = [marker.parent for marker in made]
        for stage in (first, second):
            assert sorted(file.name for file in stage.iterdir()) == [
                "_SUCCESS",
                *(f"shard-{shard}-of-3" for shard in range(3)),
            ]
    assert fake_world.result["iterations"][-1]["iteration"] == 2
    assert fake_world.orphans == []


def test_a_shard_that_fails_is_named_in_its_own_words(fake_world: FakeWorld):
    done = fake_world.lidr("run", "tiny_world", "--shards", "2", translate="refuse")
    assert done.returncode == 2
    assert "translate: prompts/en.jsonl:7: the file is broken. Mend it." in done.stderr
