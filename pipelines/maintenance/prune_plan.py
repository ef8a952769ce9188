"""Decides what is removed and what is kept when a store is pruned.

A version is kept if an alias points at it, another registry refers to it, it is one of its model's
last, it is young, or a run that has not ended needs it. A kept version keeps its own iteration
whole: model, pairs, answers and translations, evaluation, judgements, decision and inputs, the
weights under an adapter, and the evaluation that it was compared with. Of the iterations before it
only the markers are kept.
Whatever a run that has not ended refers to, or has begun, is kept whole with all it was made from,
and so is everything young. While there is such a run, unfinished stages that cannot be
assigned to a run stay as well.
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
from lidr.components.shared.steps import STEPS
from lidr.components.shared.store.base import Entry, Store
from lidr.pipelines.maintenance.prune_policy import PrunePolicy
from lidr.pipelines.maintenance.prune_runs import (
    require_no_promotion,
    runs_under_way,
    stages_of_run,
    unfinished_of_any_run,
)
from lidr.pipelines.maintenance.prune_stages import StoredStage, StoredStages, list_stages

_ABOUT = {step.name: step.about for step in STEPS if step.about}
"""By step: the input that its stages are about. The stages are kept as long as that input."""


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
        BadInput: the registry knows nothing of the store, a run has just been started on it, a
            version is being evaluated for promotion, or a file that must be read is damaged.
    """
    stages = list_stages(store)
    here = [version for version in versions if _is_here(stages, version)]
    own = _own(store, here)
    _require_known(stages, own, policy)
    require_no_promotion(store, policy)
    runs = runs_under_way(store, policy)
    young = {each.uri for each in stages.by_uri.values() if policy.is_young(each.newest)}
    busy = stages.upstream(young.union(*(stages_of_run(run, stages) for run in runs)))
    kept = _kept_versions(stages, own, busy, policy)
    kept += [version for version in here if version not in own]
    models = {model_stage_of(version, store) for version in kept}
    judging = {uri for version in kept for uri in judging_stages_of(version, store)}
    whole = busy | stages.needed(models | judging | _stages_about(stages, models | busy))
    markers_only = stages.upstream(models | judging) - whole
    _require_readable(stages.by_uri[uri] for uri in whole | markers_only)
    whole |= unfinished_of_any_run(stages) if runs else set()
    removals = [_removal(stage, whole, markers_only, policy) for stage in stages.by_uri.values()]
    return PrunePlan(
        tuple(version for version in own if version not in kept),
        tuple(sorted((removal for removal in removals if removal.entries), key=_order)),
    )


def _is_here(stages: StoredStages, version: Version) -> bool:
    try:
        return model_stage_of(version, stages.store) in stages.by_uri
    except StoreError:  # else all would look unused while the store does not answer
        raise
    except BadInput:  # it is not lidr's
        return False


def _own(store: Store, versions: Sequence[Version]) -> list[Version]:
    """Return the versions that point into this store, not into another one with the same stages.

    A version with a model from outside is in no store; it counts as in the store of the other
    versions of its registered model.
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
        if stage.node.step != "register" or not stage.finished:
            continue
        label = str(stage.node.section("counts").get("version", ""))
        name = label.rpartition("/")[0]
        if not name:
            raise _damaged(stage)
        if name not in names and name not in policy.forget:
            raise BadInput(
                f"{label} was registered from the store {stages.store.uri}, but the registry "
                f"knows no model {name!r} of it",
                remedy="Name its registry by --registry, or --forget it if it was deleted.",
            )


def _require_readable(kept: Iterable[StoredStage]) -> None:
    """Refuse a damaged marker: what its stage was made from is not known, and would be removed."""
    for stage in kept:
        if stage.node.presence is Presence.DAMAGED:
            raise _damaged(stage)


def _damaged(stage: StoredStage) -> BadInput:
    return BadInput(
        "is damaged, so that what its stage refers to is not known",
        file=f"{stage.uri}/{stage.node.marker_name}",
        remedy="Restore it, or delete the stage.",
    )


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
