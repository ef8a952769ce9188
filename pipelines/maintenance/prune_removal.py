"""Removes what a plan names; it may be interrupted anywhere and run again.

The marker is removed first, so that the rest of a stage never counts as done. Before that it is
copied to another name, so that the lineage of kept versions is never lost; if nothing of the stage
is kept, the copy is removed last. A register stage is removed before its version, or a run could
reuse a version that is gone; a version is removed before its files. A version that has got an
alias since the plan was made, or a copy in another registry, stops the removal before its files are
touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lidr.components.shared.core.errors import DamagedObject, LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.registry.copies import COPIED_TO_TAG
from lidr.components.shared.registry.mlflow_errors import wrap_mlflow_errors
from lidr.components.shared.registry.versions import Version, read_model
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.deletion import delete_all
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.marker import MARKER, PRUNED_MARKER
from lidr.components.shared.store.stage import Stage
from lidr.pipelines.maintenance.prune_plan import PrunePlan, Removal, RemovalReason
from lidr.pipelines.maintenance.prune_stages import newest_of

_CHECKPOINT = "/COMPLETE"
"""Ending of the marker of a complete checkpoint; see train/distributed/checkpoints.py."""


def prune(
    plan: PrunePlan,
    client_of: Callable[[Version], Any],
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Remove what a plan names; a stage that was written to meanwhile is kept.

    Args:
        plan: what is removed.
        client_of: returns the `mlflow.MlflowClient` of a version's registry.
        advance: called after each stage with its planned bytes, even if it was kept after all.

    Raises:
        LidrError: a version has got an alias, or a copy in another registry, since the plan was
            made. If this is found before the removal begins, nothing is removed; if later, that
            version keeps all its files but its register stage, and other versions may be gone.
        BadInput: a registry refuses our login.
        TrackingFailed: a registry does not answer, or cannot serve requests now.
        RegistryFailed: a registry refuses to delete a version, whose files stay then.
        StoreError: the store refuses a request.
    """
    registrations = [r for r in plan.removals if r.stage.node.step == "register"]
    others = [r for r in plan.removals if r.stage.node.step != "register"]
    for version in plan.versions:
        _require_unreferenced(client_of(version), version)
    _remove_all(registrations, advance)
    for version in plan.versions:
        _delete_version(client_of(version), version)
    _remove_all(others, advance)


def _require_unreferenced(client: Any, version: Version) -> None:
    """Refuse to remove a version that has got an alias or a copy since the plan was made."""
    aliases = read_model(client, version.name).aliases_of(version.number)
    copies = _tags_now(client, version).get(COPIED_TO_TAG, "")
    if aliases or copies:
        what = f"become {aliases[0]}" if aliases else f"been copied to {copies}"
        raise LidrError(
            f"{version.label} has {what} since the plan was made",
            remedy="Run the same command again: it makes a new plan.",
        )


def _tags_now(client: Any, version: Version) -> Mapping[str, str]:
    """Return a version's tags as MLflow has them now; none if another process has deleted it."""
    from mlflow.exceptions import MlflowException

    with wrap_mlflow_errors(client, f"version {version.label}"):
        try:
            return dict(client.get_model_version(version.name, str(version.number)).tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}


def _delete_version(client: Any, version: Version) -> None:
    from mlflow.exceptions import MlflowException

    _require_unreferenced(client, version)  # again: the register stages may have taken minutes
    with wrap_mlflow_errors(client, f"deletion of {version.label}"):
        try:
            client.delete_model_version(version.name, str(version.number))
        except MlflowException as error:  # another process may have deleted it
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise


def _remove_all(removals: Iterable[Removal], advance: Callable[[int], None]) -> None:
    for removal in removals:
        stage = removal.stage.node.stage
        if newest_of(stage.store.list(stage.prefix)) > removal.stage.newest:
            emit("note", message=f"{stage.uri} is being written and stays")
        else:
            _remove(stage, removal)
        advance(removal.size)


def _remove(stage: Stage, removal: Removal) -> None:
    store = stage.store
    if removal.why in (RemovalReason.UNUSED, RemovalReason.EARLIER):
        _put_marker_aside(stage, needed=removal.why is RemovalReason.EARLIER)
    keys = {entry.key for entry in removal.entries} - {stage.key(MARKER), stage.key(PRUNED_MARKER)}
    complete = {key for key in keys if key.endswith(_CHECKPOINT)}
    for group in (complete, keys - complete):
        delete_all(store, sorted(group))
    if removal.why in (RemovalReason.UNUSED, RemovalReason.UNFINISHED):
        store.delete(stage.key(PRUNED_MARKER))
        _remove_folder(store, stage.prefix)


def _put_marker_aside(stage: Stage, *, needed: bool) -> None:
    """Copy the marker to another name, and remove it.

    Raises:
        DamagedObject: a marker that the lineage needs is damaged; it stays.
    """
    try:
        marker = stage.store.read(stage.key(MARKER))
    except FileNotFoundError:  # removed before
        return
    except DamagedObject:
        if needed:
            raise
    else:
        stage.store.write(stage.key(PRUNED_MARKER), marker)
    stage.store.delete(stage.key(MARKER))


def _remove_folder(store: Store, prefix: str) -> None:
    """Remove the empty folders of a stage; only a local store has any."""
    if not isinstance(store, LocalStore):
        return
    root = store.path(prefix)
    folders = sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True)
    for folder in (*folders, root):
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()
