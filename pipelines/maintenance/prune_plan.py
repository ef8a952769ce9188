"""What goes and what stays when a store is pruned.

A version is kept that an alias points at, that another registry refers to, that is one of its
model's last, or that is young. A kept version keeps its own iteration whole: model, pairs, answers
and translations, evaluation, judgements, decision and inputs, the weights under an adapter, and the
evaluation that it was compared with. Of the iterations before it the markers stay, as records.
Whatever a run that has not ended refers to stays whole with all it was made from, and so does
everything young.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.lineage.graph import Presence
from lidr.components.shared.registry.ancestry import evidence_of, model_stage_of, own_stage
from lidr.components.shared.registry.copies import COPIED_TO_TAG
from lidr.components.shared.registry.versions import Version
from lidr.components.shared.steps import STEPS
from lidr.components.shared.store.base import Entry, Store
from lidr.components.shared.store.runs import FOLDER, read_states, run_names
from lidr.pipelines.maintenance.prune_holdings import Holding, Holdings, read_holdings

_ABOUT = {step.name: step.about for step in STEPS if step.about}
"""By step: the input that its stages are about; they stay with it."""

_STARTING_SECONDS = 86400.0


@dataclass(frozen=True)
class Policy:
    """How much is kept.

    Attributes:
        keep_last: versions of each registered model, the newest.
        grace: seconds in which nothing is touched after it was written.
        now: seconds since 1970.
        forget: names of registered models that were deleted for good.
        under_way: names of runs that are known to go on, however old what they wrote is.
    """

    keep_last: int
    grace: float
    now: float
    forget: Collection[str] = ()
    under_way: Collection[str] = ()

    def is_young(self, moment: float) -> bool:
        """Return whether something written at a moment must not be touched."""
        return moment > self.now - self.grace


class Why(StrEnum):
    """Why something of a stage goes."""

    UNUSED = "nothing refers to it"
    EARLIER = "of an iteration before those kept; its marker stays"
    UNFINISHED = "never finished"
    STRAY = "left over from its making"


@dataclass(frozen=True)
class Removal:
    """Objects of one stage that go.

    Attributes:
        holding: the stage.
        entries: the objects; marker and record are among them where nothing of it stays.
        why: they go.
    """

    holding: Holding
    entries: tuple[Entry, ...]
    why: Why

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


def make_plan(store: Store, versions: Iterable[Version], policy: Policy) -> PrunePlan:
    """Return what a store may lose.

    Args:
        store: the store.
        versions: all that are known of models that may be on it; others are left alone.
        policy: how much is kept.

    Raises:
        BadInput: the registry knows nothing of the store, or a run has just been started on it.
    """
    holdings = read_holdings(store)
    here = [version for version in versions if _is_here(holdings, version)]
    own = _own(store, here)
    _require_known(holdings, own, policy)
    busy = holdings.upstream(_roots_of_runs(holdings, policy))
    kept = _kept_versions(holdings, own, busy, policy)
    kept += [version for version in here if version not in own]
    models = {model_stage_of(version, store) for version in kept}
    evidence = {uri for version in kept for uri in evidence_of(version, store)}
    whole = busy | holdings.needed(models | evidence | _said_of(holdings, models | busy))
    records = holdings.upstream(models | evidence) - whole
    removals = [_removal(holding, whole, records, policy) for holding in holdings.stages.values()]
    return PrunePlan(
        tuple(version for version in own if version not in kept),
        tuple(sorted((removal for removal in removals if removal.entries), key=_order)),
    )


def _is_here(holdings: Holdings, version: Version) -> bool:
    try:
        return model_stage_of(version, holdings.store) in holdings.stages
    except BadInput:  # it is not lidr's
        return False


def _own(store: Store, versions: Sequence[Version]) -> list[Version]:
    """Return the versions that point into this store, and not into one with the same stages.

    A model from outside lies in no store; it belongs where the other versions of its model do.
    """
    names = {v.name for v in versions if own_stage(v).startswith(f"{store.uri}/")}
    return [
        version
        for version in versions
        if (stage := own_stage(version)).startswith(f"{store.uri}/")
        or (not stage and version.name in names)
    ]


def _require_known(holdings: Holdings, own: Sequence[Version], policy: Policy) -> None:
    """Refuse a registry that is not this store's: everything would look unreferenced."""
    if not own:
        raise BadInput(
            f"the registry knows no model of the store {holdings.store.uri}",
            remedy="Check MLFLOW_TRACKING_URI and --store; if the store moved, `lidr relocate` it.",
        )
    names = {version.name for version in own}
    for holding in holdings.stages.values():
        label = str(holding.node.facts("counts").get("version", ""))
        name = label.rpartition("/")[0]
        registered = holding.node.step == "register" and holding.finished
        if registered and name not in names and name not in policy.forget:
            raise BadInput(
                f"{label} was registered from the store {holdings.store.uri}, but the registry "
                f"knows no model {name!r} of it",
                remedy="Name its registry by --registry, or --forget it if it was deleted.",
            )


def _roots_of_runs(holdings: Holdings, policy: Policy) -> set[str]:
    """Return the young stages, and what the runs that have not ended refer to or may use next."""
    roots = {h.uri for h in holdings.stages.values() if policy.is_young(h.newest)}
    changed = _changed_runs(holdings.store)
    started = set(run_names(holdings.store))
    for run, moment in changed.items():
        if run not in started:
            if run in policy.under_way:
                moment = policy.now
            _require_started(holdings.store, run, moment, policy)
        elif policy.is_young(moment) or run in policy.under_way:
            roots |= _roots_of_run(holdings, run)
    return roots


def _changed_runs(store: Store) -> dict[str, float]:
    """Return by run when anything in its folder was last written."""
    changed: dict[str, float] = {}
    for entry in store.list(FOLDER):
        run = entry.key.split("/")[1]
        changed[run] = max(changed.get(run, 0.0), entry.modified)
    return changed


def _require_started(store: Store, run: str, moment: float, policy: Policy) -> None:
    if moment > policy.now - min(policy.grace, _STARTING_SECONDS):
        raise BadInput(
            f"run {run!r} in {store.uri} has been started and not measured its start yet, so that "
            "what it needs is not known",
            remedy=f"Wait for it, or remove {FOLDER}/{run} if it was given up.",
        )


def _roots_of_run(holdings: Holdings, run: str) -> set[str]:
    states = read_states(holdings.store, run)
    last = states[-1]
    if last["verdict"] != "continue":
        return set()
    named = {str(value) for state in states for value in state.values()}
    return named | holdings.next_iteration(str(last["model"]))


def _kept_versions(
    holdings: Holdings, own: Sequence[Version], busy: Collection[str], policy: Policy
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
        or model_stage_of(version, holdings.store) in busy
    ]


def _said_of(holdings: Holdings, about: Collection[str]) -> set[str]:
    """Return the stages that say something about others: evaluations, judgements, decisions."""
    found: set[str] = set()
    for step, name in _ABOUT.items():
        for holding in holdings.stages.values():
            subject = holding.node.inputs.get(name, "")
            if holding.node.step == step and subject and subject in found | set(about):
                found.add(holding.uri)
    return found


def _removal(
    holding: Holding, whole: Collection[str], records: Collection[str], policy: Policy
) -> Removal:
    """Return what is removed of a stage, which may be nothing."""
    if holding.uri in whole:
        return Removal(holding, _strays(holding, policy), Why.STRAY)
    if policy.is_young(holding.newest):
        return Removal(holding, (), Why.UNUSED)
    if holding.uri in records:
        return Removal(holding, holding.files, Why.EARLIER)
    unfinished = holding.node.presence is Presence.GONE
    return Removal(holding, holding.entries, Why.UNFINISHED if unfinished else Why.UNUSED)


def _strays(holding: Holding, policy: Policy) -> tuple[Entry, ...]:
    """Return old files that the marker of a finished stage does not name, e.g. checkpoints."""
    if holding.node.presence is not Presence.WHOLE:
        return ()
    return tuple(
        entry
        for entry in holding.files
        if holding.name(entry) not in holding.node.files and not policy.is_young(entry.modified)
    )


def _order(removal: Removal) -> tuple[bool, str]:
    return removal.holding.node.step != "register", removal.holding.uri
