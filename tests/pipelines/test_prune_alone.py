"""House-keeping by itself: runs that go on elsewhere are kept whole, and what is found is noted."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.marker import MARKER, PRUNED_MARKER
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import recipe_key, state_key
from lidr.components.shared.store.stage import Stage, new_stage
from lidr.pipelines.maintenance.prune_findings import PRUNED, note_findings
from lidr.pipelines.maintenance.prune_plan import PrunePlan, make_plan
from lidr.pipelines.maintenance.prune_policy import PrunePolicy
from lidr.pipelines.maintenance.prune_runs import runs_under_way
from lidr.pipelines.stored import StoredRun
from tests.chains import Chain, make_chain

MONTH = 30 * 86400.0


@pytest.fixture
def waiting(tmp_path: Path) -> Chain:
    """A run that has made M_1 and M_2, goes on, and has written nothing for a month."""
    chain = make_chain(str(tmp_path / "store"), iterations=2)
    state = tmp_path / "store" / "runs" / chain.run / "iteration-2" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"verdict": "continue"}))
    age(tmp_path)
    return chain


def age(folder: Path) -> None:
    then = time.time() - MONTH
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def begin(chain: Chain, stage: Stage, name: str) -> str:
    """Write a file of an unfinished stage, a month ago, and return the stage's URI."""
    stage.write(name, b"half")
    age(Path(chain.store))
    return stage.uri


def under_way(chain: Chain) -> dict[str, Stage]:
    stored = StoredRun.read(open_store(chain.store), chain.run)
    assert stored
    return stored.under_way()


def removed(plan: PrunePlan) -> set[str]:
    return {removal.stage.uri for removal in plan.removals}


@pytest.fixture
def plan(waiting: Chain) -> Callable[..., PrunePlan]:
    def planned(**changes: Any) -> PrunePlan:
        known = [waiting.version(t) for t in range(3)]
        policy = PrunePolicy(1, MONTH / 4, time.time(), **changes)
        return make_plan(open_store(waiting.store), known, policy)

    return planned


def test_run_that_waits_for_longer_than_the_grace_is_kept_where_kubeflow_knows_of_it(waiting, plan):
    gone = {removal.stage.uri for removal in plan().removals}
    assert waiting.rounds[1]["pair"].uri in gone, "by its age alone nothing would keep it"
    kept = plan(live_runs=(waiting.run,))
    assert kept.removals == () and kept.versions == ()
    other = {removal.stage.uri for removal in plan(live_runs=("another",)).removals}
    assert other == gone


@pytest.mark.parametrize("known", ["to Kubeflow", "by its folder"])
def test_unfinished_stages_of_a_run_that_waits_stay(waiting, plan, known):
    stages = under_way(waiting)
    assert set(stages) == {"generate", "translate", "pair", "train"}
    chunks = begin(waiting, stages["generate"], "responses/0.parquet")
    weights = begin(waiting, stages["train"], "checkpoints/00000002/optimizer.pt")
    strange = new_stage(open_store(waiting.store), "train", 1, {"pairs": "x"}, {})
    other = begin(waiting, strange, "checkpoints/00000002/optimizer.pt")
    assert {chunks, weights, other} <= removed(plan())
    live = (waiting.run,) if known == "to Kubeflow" else ()
    if not live:
        open_store(waiting.store).write(f"runs/{waiting.run}/notices/seen.json", b"{}")
    assert removed(plan(live_runs=live)) == {other}


@pytest.mark.parametrize("marker", [False, True])
@pytest.mark.parametrize("step", ["score", "grade", "evaluate", "judge", "reference"])
def test_unfinished_stages_whose_run_cannot_be_told_stay_while_a_run_goes_on(
    waiting, plan, step, marker
):
    """With a marker that was put aside, it is made again."""
    stage = new_stage(open_store(waiting.store), step, 1, {"responses": "x"}, {})
    if marker:
        stage.finish({})
        stage.store.write(stage.key(PRUNED_MARKER), stage.store.read(stage.key(MARKER)))
        stage.store.delete(stage.key(MARKER))
    uri = begin(waiting, stage, "chunks/0.parquet")
    assert uri in removed(plan())
    assert removed(plan(live_runs=(waiting.run,))) == set()


def test_run_after_an_iteration_without_promotion_keeps_what_the_model_before_led_to(waiting, plan):
    """M_2 was not promoted: iteration 3 starts from M_1."""
    state = Path(waiting.store, state_key(waiting.run, 2))
    state.write_text(json.dumps(json.loads(state.read_text()) | {"promoted": False}))
    made = under_way(waiting)["generate"]
    made.finish({})
    age(Path(waiting.store))
    assert made.identity["inputs"]["model"] == waiting.model(1).digest
    assert made.uri in removed(plan())
    assert removed(plan(live_runs=(waiting.run,))) == set()


def test_live_run_that_has_stopped_keeps_what_its_report_reads(waiting, plan):
    state = Path(waiting.store, state_key(waiting.run, 2))
    state.write_text(json.dumps(json.loads(state.read_text()) | {"verdict": "stop"}))
    assert waiting.rounds[1]["pair"].uri in removed(plan())
    named = {stage.uri for stages in waiting.rounds for stage in stages.values()}
    assert not named & removed(plan(live_runs=(waiting.run,)))


def test_run_under_way_without_its_recipe_stops_it(waiting, plan):
    Path(waiting.store, recipe_key(waiting.run)).unlink()
    plan()
    with pytest.raises(BadInput, match=rf"runs/{waiting.run}/recipe.json: is gone.*Restore it"):
        plan(live_runs=(waiting.run,))


def test_run_that_goes_on_and_has_not_measured_its_start_stops_it(waiting, plan):
    store = open_store(waiting.store)
    store.write("runs/begun/events.jsonl", b"")
    then = time.time() - MONTH
    os.utime(Path(waiting.store) / "runs/begun/events.jsonl", (then, then))
    plan()
    for grace in (MONTH / 4, 0.0):
        policy = PrunePolicy(1, grace, time.time(), live_runs=("begun",))
        with pytest.raises(BadInput, match=r"'begun'.*has not evaluated M_0 yet"):
            runs_under_way(store, policy)
    with pytest.raises(BadInput, match=r"'begun'.*has not evaluated M_0 yet"):
        plan(live_runs=("begun",))


def test_findings_are_numbers_and_one_line(waiting, plan, capsys):
    store, found = open_store(waiting.store), plan()
    note_findings(store, found, dry_run=True)
    noted = json.loads(store.read(PRUNED))
    assert noted == {
        "time": noted["time"],
        "bytes": found.size,
        "stages": len(found.removals),
        "versions": len(found.versions),
        "dry_run": True,
    }
    assert capsys.readouterr().err == (
        f"lidr note message=prune would remove {len(found.versions)} versions and "
        f"{len(found.removals)} stages, {found.size} bytes\n"
    )
