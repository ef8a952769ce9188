"""Decides what is removed and what is kept when a store is pruned.

A version is kept if an alias points at it, another registry refers to it, it is one of its model's
last, or it is young. A kept version keeps its own iteration whole: model, pairs, answers and
translations, evaluation, judgements, decision and inputs, the weights under an adapter, and the
evaluation that it was compared with. Of the iterations before it only the markers are kept.
Whatever a run that has not ended refers to is kept whole with all it was made from, and so is
everything young.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lidr.components.shared.core.errors import BadInput, StoreError
from lidr.components.shared.lineage.graph import Presence
from lidr.components.shared.registry.ancestry import (
    judging_stages_of,
    model_stage_of,
    own_stage,
)
from lidr.components.shared.registry.copies import COPIED_TO_TAG
from lidr.components.shared.registry.versions import Version
from lidr.components.shared.run_lease import current_owner
from lidr.components.shared.steps import STEPS
from lidr.components.shared.store.base import Entry, Store
from lidr.components.shared.store.runs import FOLDER, PROMOTIONS, read_states, run_names
from lidr.pipelines.maintenance.prune_stages import StoredStage, StoredStages, list_stages

_ABOUT = {step.name: step.about for step in STEPS if step.about}
"""By step: the input that its stages are about; they are kept as long as it is."""

_PROMOTION_SECONDS = 600.0
"""A promotion that did not renew its lease for so long has ended; it does every 12 seconds."""

_STARTING_SECONDS = 86400.0
"""A run without a first state that wrote nothing for so long was given up."""


@dataclass(frozen=True)
class PrunePolicy:
    """How much is kept.

    Attributes:
        keep_last: how many of the newest versions of each registered model.
        grace: seconds for which everything is kept after it was written.
        now: seconds since 1970.
        forget: names of registered models that were deleted for good.
        live_runs: names of runs that are kept whole, whenever they last wrote something.
    """

    keep_last: int
    grace: float
    now: float
    forget: Collection[str] = ()
    live_runs: Collection[str] = ()

    def is_young(self, moment: float) -> bool:
        """Return whether something written at a moment is too young to be removed."""
        return moment > self.now - self.grace


class RemovalReason(StrEnum):
    """Why objects of a stage are removed."""

    UNUSED = "nothing refers to it"
    EARLIER = "of an iteration before those kept; its marker stays"
    UNFINISHED = "never finished"
    STRAY = "left over from its making"


@dataclass(frozen=True)
class Removal:
    """Objects of one stage that are removed.

    Attributes:
        stage: whose objects they are.
        entries: the objects; with all markers if nothing of the stage is kept.
        why: the reason.
    """

    stage: StoredStage
    entries: tuple[Entry, ...]
    why: RemovalReason

    @property
    def size(self) -> int:
        """Bytes that become free."""
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True)
class PrunePlan:
    """What pruning would remove.

    Attributes:
        versions: of registered models.
        removals: by stage; those of the register step come first.
    """

    versions: tuple[Version, ...]
    removals: tuple[Removal, ...]

    @property
    def size(self) -> int:
        """Bytes that become free."""
        return sum(removal.size for removal in self.removals)


def make_plan(store: Store, versions: Iterable[Version], policy: PrunePolicy) -> PrunePlan:
    """Return what can be removed from a store.

    Args:
        store: to prune.
        versions: all registered versions; those of other stores are left alone.
        policy: how much is kept.

    Raises:
        BadInput: the registry knows nothing of the store, or a run has just been started on it.
    """
    stages = list_stages(store)
    here = [version for version in versions if _is_here(stages, version)]
    own = _own(store, here)
    _require_known(stages, own, policy)
    busy = stages.upstream(_roots_of_runs(stages, policy))
    kept = _kept_versions(stages, own, busy, policy)
    kept += [version for version in here if version not in own]
    models = {model_stage_of(version, store) for version in kept}
    judging = {uri for version in kept for uri in judging_stages_of(version, store)}
    whole = busy | stages.needed(models | judging | _stages_about(stages, models | busy))
    markers_only = stages.upstream(models | judging) - whole
    removals = [_removal(stage, whole, markers_only, policy) for stage in stages.by_uri.values()]
    return PrunePlan(
        tuple(version for version in own if version not in kept),
        tuple(sorted((removal for removal in removals if removal.entries), key=_order)),
    )


def _is_here(stages: StoredStages, version: Version) -> bool:
    try:
        return model_stage_of(version, stages.store) in stages.by_uri
    except StoreError:  # nothing is unused because the store did not answer
        raise
    except BadInput:  # it is not lidr's
        return False


def _own(store: Store, versions: Sequence[Version]) -> list[Version]:
    """Return the versions that point into this store, not into another one with the same stages.

    A model from outside is in no store; it belongs to that of its model's other versions.
    """
    names = {v.name for v in versions if own_stage(v).startswith(f"{store.uri}/")}
    return [
        version
        for version in versions
        if (stage := own_stage(version)).startswith(f"{store.uri}/")
        or (not stage and version.name in names)
    ]


def _require_known(stages: StoredStages, own: Sequence[Version], policy: PrunePolicy) -> None:
    """Refuse a registry that is not this store's: every stage would look unused."""
    if not own:
        raise BadInput(
            f"the registry knows no model of the store {stages.store.uri}",
            remedy="Check MLFLOW_TRACKING_URI and --store; if the store moved, `lidr relocate` it.",
        )
    names = {version.name for version in own}
    for stage in stages.by_uri.values():
        label = str(stage.node.section("counts").get("version", ""))
        name = label.rpartition("/")[0]
        registered = stage.node.step == "register" and stage.finished
        if registered and name not in names and name not in policy.forget:
            raise BadInput(
                f"{label} was registered from the store {stages.store.uri}, but the registry "
                f"knows no model {name!r} of it",
                remedy="Name its registry by --registry, or --forget it if it was deleted.",
            )


def _roots_of_runs(stages: StoredStages, policy: PrunePolicy) -> set[str]:
    """Return the young stages, and those that runs which have not ended refer to or use next."""
    roots = {each.uri for each in stages.by_uri.values() if policy.is_young(each.newest)}
    _require_no_promotion(stages.store, policy)
    changed = _last_changes(stages.store, FOLDER)
    started = set(run_names(stages.store))
    for run, moment in changed.items():
        if run not in started:
            if run in policy.live_runs:
                moment = policy.now
            _require_started(stages.store, run, moment, policy)
        elif policy.is_young(moment) or run in policy.live_runs:
            roots |= _roots_of_run(stages, run)
    return roots


def _require_no_promotion(store: Store, policy: PrunePolicy) -> None:
    """Refuse while a version is evaluated for its promotion: it need not have an alias yet."""
    for name, moment in _last_changes(store, PROMOTIONS).items():
        if moment > policy.now - _PROMOTION_SECONDS and (
            owner := current_owner(store.uri, name, PROMOTIONS)
        ):
            raise BadInput(
                f"{owner.who} on {owner.host} promotes a version of {store.uri} after evaluation",
                remedy="Wait for `lidr promote --evaluate` to end.",
            )


def _last_changes(store: Store, parent: str) -> dict[str, float]:
    """Return for each folder of a folder when anything in it was last written."""
    changed: dict[str, float] = {}
    for entry in store.list(parent):
        run = entry.key.split("/")[1]
        changed[run] = max(changed.get(run, 0.0), entry.modified)
    return changed


def _require_started(store: Store, run: str, moment: float, policy: PrunePolicy) -> None:
    if moment > policy.now - min(policy.grace, _STARTING_SECONDS):
        raise BadInput(
            f"run {run!r} in {store.uri} has been started and not measured its start yet, so that "
            "what it needs is not known",
            remedy=f"Wait for it, or remove {FOLDER}/{run} if it was given up.",
        )


def _roots_of_run(stages: StoredStages, run: str) -> set[str]:
    states = read_states(stages.store, run)
    last = states[-1]
    if last["verdict"] != "continue":
        return set()
    named = {str(value) for state in states for value in state.values()}
    return named | stages.next_iteration(str(last["model"]))


def _kept_versions(
    stages: StoredStages, own: Sequence[Version], busy: Collection[str], policy: PrunePolicy
) -> list[Version]:
    last: dict[str, list[int]] = {}
    for version in own:
        last.setdefault(version.name, []).append(version.number)
    return [
        version
        for version in own
        if version.aliases
        or COPIED_TO_TAG in version.tags
        or version.number in sorted(last[version.name])[-policy.keep_last :]
        or policy.is_young(version.created.timestamp())
        or model_stage_of(version, stages.store) in busy
    ]


def _stages_about(stages: StoredStages, about: Collection[str]) -> set[str]:
    """Return the evaluations, judgements, decisions and registrations of some stages."""
    found: set[str] = set()
    for step, name in _ABOUT.items():
        for stage in stages.by_uri.values():
            subject = stage.node.inputs.get(name, "")
            if stage.node.step == step and subject and subject in found | set(about):
                found.add(stage.uri)
    return found


def _removal(
    stage: StoredStage, whole: Collection[str], markers_only: Collection[str], policy: PrunePolicy
) -> Removal:
    """Return what is removed of a stage; it may have no entries."""
    if stage.uri in whole:
        return Removal(stage, _strays(stage, policy), RemovalReason.STRAY)
    if policy.is_young(stage.newest):
        return Removal(stage, (), RemovalReason.UNUSED)
    if stage.uri in markers_only:
        return Removal(stage, stage.files, RemovalReason.EARLIER)
    unfinished = stage.node.presence is Presence.GONE
    why = RemovalReason.UNFINISHED if unfinished else RemovalReason.UNUSED
    return Removal(stage, stage.entries, why)


def _strays(stage: StoredStage, policy: PrunePolicy) -> tuple[Entry, ...]:
    """Return old files that the marker of a finished stage does not name, e.g. checkpoints."""
    if stage.node.presence is not Presence.WHOLE:
        return ()
    return tuple(
        entry
        for entry in stage.files
        if stage.name(entry) not in stage.node.files and not policy.is_young(entry.modified)
    )


def _order(removal: Removal) -> tuple[bool, str]:
    return removal.stage.node.step != "register", removal.stage.uri
