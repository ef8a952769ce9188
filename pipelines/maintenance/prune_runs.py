"""Which runs and promotions have not ended, and which stages of a store such runs need."""

from __future__ import annotations

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.run_lease import current_owner
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import FOLDER, PROMOTIONS, read_states, recipe_key, run_names
from lidr.components.state.run import CONTINUE, fold
from lidr.pipelines.maintenance.prune_policy import PrunePolicy
from lidr.pipelines.maintenance.prune_stages import StoredStages
from lidr.pipelines.stored import StoredRun

_PROMOTION_SECONDS = 600.0
"""A promotion whose lease was not renewed for this long has ended; it is renewed every 12 s."""

_STARTING_SECONDS = 86400.0
"""A run without a first state that has written nothing for this long was given up."""

_LOCATED_STEPS = ("generate", "translate", "pair", "train")
"""Steps whose unfinished stages `StoredRun.under_way` finds, by their addresses."""


def require_no_promotion(store: Store, policy: PrunePolicy) -> None:
    """Refuse while a version is evaluated for its promotion: perhaps no alias keeps it yet."""
    for name, moment in _last_changes(store, PROMOTIONS).items():
        if moment > policy.now - _PROMOTION_SECONDS and (
            owner := current_owner(store.uri, name, PROMOTIONS)
        ):
            raise BadInput(
                f"{owner.who} on {owner.host} evaluates a version of {store.uri} for promotion",
                remedy="Wait for `lidr promote --evaluate` to end.",
            )


def runs_under_way(store: Store, policy: PrunePolicy) -> list[StoredRun]:
    """Return the runs under way: live ones, and recent ones whose verdict is `continue`.

    Raises:
        BadInput: a run has not evaluated M_0 yet, or one of its files is missing or damaged.
    """
    started = set(run_names(store))
    found = []
    for run, moment in _last_changes(store, FOLDER).items():
        live = run in policy.live_runs
        if run not in started:
            _require_started(store, run, moment, policy, live=live)
        elif live or (policy.is_young(moment) and _goes_on(store, run)):
            found.append(_read_run(store, run))
    return found


def stages_of_run(run: StoredRun, stages: StoredStages) -> set[str]:
    """Return the URIs of the stages that a run refers to, has begun, or uses next."""
    named = {str(value) for state in run.states for value in state.values()}
    if run.states[-1]["verdict"] != CONTINUE:
        return named
    begun = {stage.uri for stage in run.under_way().values()}
    return named | begun | stages.next_iteration(fold(run.states).model)


def unfinished_of_any_run(stages: StoredStages) -> set[str]:
    """Return the unfinished stages whose run is unknown, e.g. scores and evaluations.

    Their addresses depend on models and prompts that may be unreachable from here.
    """
    return {
        stage.uri
        for stage in stages.by_uri.values()
        if stage.files and not stage.finished and stage.node.step not in _LOCATED_STEPS
    }


def _last_changes(store: Store, parent: str) -> dict[str, float]:
    """Return when each subfolder of a folder was last written to, by the subfolder's name."""
    changed: dict[str, float] = {}
    for entry in store.list(parent):
        run = entry.key.split("/")[1]
        changed[run] = max(changed.get(run, 0.0), entry.modified)
    return changed


def _require_started(
    store: Store, run: str, moment: float, policy: PrunePolicy, *, live: bool
) -> None:
    if live or moment > policy.now - min(policy.grace, _STARTING_SECONDS):
        raise BadInput(
            f"run {run!r} in {store.uri} has not evaluated M_0 yet, so it is not known which "
            "stages it needs",
            remedy=f"Wait for it, or remove {FOLDER}/{run} if it was given up.",
        )


def _goes_on(store: Store, run: str) -> bool:
    return bool(read_states(store, run)[-1]["verdict"] == CONTINUE)


def _read_run(store: Store, run: str) -> StoredRun:
    if stored := StoredRun.read(store, run):
        return stored
    raise BadInput(
        "is gone, so that what the run needs is not known",
        file=f"{store.uri}/{recipe_key(run)}",
        remedy=f"Restore it, or remove {FOLDER}/{run} if it was given up.",
    )
