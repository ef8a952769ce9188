"""Removing what a plan names, so that it may be interrupted anywhere and run again.

The marker goes first: what remains of a stage is not done for anybody. Its bytes are put aside
under another name before that, so that nothing of a kept version's lineage is ever lost; where
nothing of the stage is to stay, that name goes last. A register stage goes before its version, or a
run would be given a version that is gone; a version goes before its files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import DamagedObject, LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.registry.versions import Version, read_model
from lidr.components.shared.store.base import Entry, Store
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.marker import MARKER, RECORD
from lidr.components.shared.store.stage import Stage
from lidr.pipelines.maintenance.prune_holdings import newest_of
from lidr.pipelines.maintenance.prune_plan import PrunePlan, Removal, Why

_DELETERS = 16
_CHECKPOINT = "/COMPLETE"
"""What ends the name of a whole checkpoint's marker; see train/distributed/checkpoints.py."""


def prune(
    plan: PrunePlan,
    client_of: Callable[[Version], Any],
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Remove what a plan names; a stage that was rewritten meanwhile stays.

    Args:
        plan: what goes.
        client_of: returns the `mlflow.MlflowClient` of a version's registry.
        advance: called with the bytes that became free since the last call.

    Raises:
        LidrError: an alias was given to one of the versions meanwhile; its files are untouched.
        StoreError: the store refuses.
    """
    registrations = [r for r in plan.removals if r.holding.node.step == "register"]
    others = [r for r in plan.removals if r.holding.node.step != "register"]
    _remove_all(registrations, advance)
    for version in plan.versions:
        _delete_version(client_of(version), version)
    _remove_all(others, advance)


def _delete_version(client: Any, version: Version) -> None:
    from mlflow.exceptions import MlflowException

    if aliases := read_model(client, version.name).names_of(version.number):
        raise LidrError(
            f"{version.label} is {aliases[0]} by now",
            remedy="Run the same command again: it decides again.",
        )
    with contextlib.suppress(MlflowException):  # somebody else has deleted it
        client.delete_model_version(version.name, str(version.number))


def _remove_all(removals: Iterable[Removal], advance: Callable[[int], None]) -> None:
    for removal in removals:
        stage = removal.holding.node.stage
        if newest_of(stage.store.list(stage.prefix)) > removal.holding.newest:
            emit("note", message=f"{stage.uri} is being written and stays")
        else:
            _remove(stage, removal)
        advance(removal.size)


def _remove(stage: Stage, removal: Removal) -> None:
    store = stage.store
    if removal.why in (Why.UNUSED, Why.EARLIER):
        _put_marker_aside(stage)
    files = [entry for entry in removal.entries if entry in removal.holding.files]
    complete = [entry for entry in files if entry.key.endswith(_CHECKPOINT)]
    for group in (complete, [entry for entry in files if entry not in complete]):
        _delete(store, group)
    if removal.why in (Why.UNUSED, Why.UNFINISHED):
        store.delete(stage.key(RECORD))
        _remove_folder(store, stage.prefix)


def _put_marker_aside(stage: Stage) -> None:
    with contextlib.suppress(FileNotFoundError, DamagedObject):  # gone before, or good for nothing
        stage.store.write(stage.key(RECORD), stage.store.read(stage.key(MARKER)))
    stage.store.delete(stage.key(MARKER))


def _delete(store: Store, entries: Iterable[Entry]) -> None:
    with ThreadPoolExecutor(_DELETERS) as pool:
        for _ in pool.map(lambda entry: store.delete(entry.key), entries):
            pass


def _remove_folder(store: Store, prefix: str) -> None:
    """Remove the empty folders of a stage; only a local store has any."""
    if not isinstance(store, LocalStore):
        return
    root = store.path(prefix)
    folders = sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True)
    for folder in (*folders, root):
        with contextlib.suppress(OSError):  # it is not empty
            Path(folder).rmdir()
