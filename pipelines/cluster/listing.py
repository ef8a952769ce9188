"""The schedules and runs of an experiment, for `lidr status` without a name."""

from __future__ import annotations

from itertools import islice
from typing import Any

from lidr.components.shared.core.text import one_line
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.nodes import read_graph, task_graph
from lidr.pipelines.cluster.outcome import outcome_of
from lidr.pipelines.cluster.recurring import Recurrence, list_schedules
from lidr.pipelines.cluster.runs import list_runs
from lidr.pipelines.stamp import Stamp

_MAX_RUNS = 50


def list_experiment(client: Client) -> list[dict[str, str]]:
    """Return a row for each schedule, then for each of the newest 50 runs.

    A row has name, state, kind, time of creation (UTC) and the start of the recipe's digest.
    """
    experiment = client.settings.experiment
    rows = [
        _row(each, f"schedule, {Recurrence.of(each.trigger)}", (each.status or "").lower())
        for each in list_schedules(client, experiment)
    ]
    for run in islice(list_runs(client, experiment), _MAX_RUNS):
        kind = "of a schedule" if run.recurring_run_id else "run"
        # The state of a run being cancelled depends on its pods, which only the workflow has.
        graph = read_graph(client, run) if run.state == "CANCELING" else task_graph(run)
        state = outcome_of(run, graph, None, known=False).state
        rows.append(_row(run, kind, state))
    return rows


def _row(each: Any, kind: str, state: str) -> dict[str, str]:
    found = each.to_dict()
    stamp = Stamp.parse(found["description"])
    created = found["created_at"]
    return {
        "run": one_line(found["display_name"] or ""),
        "state": one_line(state),
        "kind": one_line(kind),
        "created": created.strftime("%Y-%m-%d %H:%M") if created else "",
        "recipe": stamp.recipe[:12] if stamp else "",
    }
