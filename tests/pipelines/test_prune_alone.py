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
from lidr.components.shared.store.open import open_store
from lidr.pipelines.maintenance.prune_findings import PRUNED, note_findings
from lidr.pipelines.maintenance.prune_plan import PrunePlan, PrunePolicy, make_plan
from tests.chains import Chain, make_chain

MONTH = 30 * 86400.0


@pytest.fixture
def waiting(tmp_path: Path) -> Chain:
    """A run that has made M_1 and M_2, goes on, and has written nothing for a month."""
    chain = make_chain(str(tmp_path / "store"), iterations=2)
    state = tmp_path / "store" / "runs" / chain.run / "iteration-2" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"verdict": "continue"}))
    then = time.time() - MONTH
    for path in tmp_path.rglob("*"):
        os.utime(path, (then, then))
    return chain


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


def test_run_that_goes_on_and_has_not_measured_its_start_stops_it(waiting, plan):
    store = open_store(waiting.store)
    store.write("runs/begun/events.jsonl", b"")
    then = time.time() - MONTH
    os.utime(Path(waiting.store) / "runs/begun/events.jsonl", (then, then))
    plan()
    with pytest.raises(BadInput, match=r"'begun'.*not measured its start yet"):
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
