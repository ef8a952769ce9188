"""What scheduled pruning needs: the live runs in Kubeflow, and a record of what each plan found."""

from __future__ import annotations

import json
import time

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import emit
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import scheduled_run
from lidr.pipelines.cluster import runs
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.maintenance.prune_plan import PrunePlan

PRUNED = "maintenance/prune.json"
"""Key of the numbers of the last recorded plan, of a dry run or not; `lidr notify --port` serves
them."""


def live_runs(profile: Profile, store: Store) -> tuple[str, ...]:
    """Return the live runs in a profile's experiment, by their names on the store.

    In Kubeflow a schedule's run has a name of its own; the store says which run it executes.

    Raises:
        BadInput: the profile's runs are not on the store, or Kubeflow cannot be read.
    """
    if profile.store.rstrip("/") != store.uri.rstrip("/"):
        raise BadInput(
            f"the runs of profile {profile.name!r} are on {profile.store}, not on {store.uri}",
            remedy="Name the profile of the store that is pruned.",
        )
    listed = runs.list_runs(Client(profile), profile.kubeflow.experiment)
    live = [run for run in listed if runs.is_live(run)]
    scheduled = [scheduled_run(store, run.run_id) for run in live if run.recurring_run_id]
    return tuple(filter(None, [*(str(run.display_name) for run in live), *scheduled]))


def note_findings(store: Store, plan: PrunePlan, *, dry_run: bool) -> None:
    """Write a plan's numbers to the store that is pruned, and log them in one line."""
    found = {
        "time": round(time.time()),
        "bytes": plan.size,
        "stages": len(plan.removals),
        "versions": len(plan.versions),
        "dry_run": dry_run,
    }
    store.write(PRUNED, json.dumps(found).encode())
    verb = "would remove" if dry_run else "removes"
    emit(
        "note",
        message=f"prune {verb} {len(plan.versions)} versions and {len(plan.removals)} stages, "
        f"{plan.size} bytes",
    )
