"""Relocates registered models whose versions are in a store that has moved.

MLflow never changes a version's source, and never reuses a version number while its model exists.
So the whole registered model is recreated under another name, number by number, with tags, aliases
and descriptions; then two renames put it in the old one's place, and the old one is deleted.
Wherever this is interrupted, the old model or a complete new one is left. A rerun finishes it, and
refuses where somebody has meanwhile registered another model under the name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.registry.evidence import require_files
from lidr.components.shared.registry.mlflow_errors import wrap_mlflow_errors
from lidr.components.shared.registry.registration import AUDIT_LOG_TAG
from lidr.components.shared.registry.versions import (
    REGISTERED_TAG,
    RegisteredModel,
    Version,
    all_versions,
    model_names,
    read_model,
)
from lidr.components.shared.store.lease import Lease, exclusive
from lidr.components.shared.store.open import is_missing_folder, open_store
from lidr.components.shared.store.s3_errors import NoBucket
from lidr.pipelines.maintenance.relocate_grants import copy_grants
from lidr.pipelines.maintenance.relocate_move import StoreMove

_NEW_SUFFIX, _OLD_SUFFIX = "~relocating", "~before"


@dataclass(frozen=True)
class ModelRelocation:
    """A registered model that must be relocated with the store.

    Attributes:
        model: as it is now.
        versions: all of its versions, including those with files elsewhere.
    """

    model: RegisteredModel
    versions: tuple[Version, ...]

    def moved(self, move: StoreMove) -> list[Version]:
        """Return the versions that point into the old store, with their new addresses."""
        return [_relocated(version, move) for version in self.versions if _concerns(version, move)]


def finish_interrupted(client: Any) -> None:
    """Finish or undo relocations that were interrupted.

    Raises:
        LidrError: between the two renames another model was registered under the name; all three
            are left as they are.
        BadInput: MLflow refuses to answer.
    """
    # Listed once: of two listings, the second may show what another relocation did in between.
    names = frozenset(model_names(client))
    suffixes = (_NEW_SUFFIX, _OLD_SUFFIX)
    for name in sorted({n.removesuffix(s) for n in names for s in suffixes if n.endswith(s)}):
        with wrap_mlflow_errors(client, f"registered model {name!r}"):
            _finish(client, name, names)


def _finish(client: Any, name: str, names: Collection[str]) -> None:
    """Finish or undo the relocation of one registered model; `names` are those of all models."""
    new, old = f"{name}{_NEW_SUFFIX}", f"{name}{_OLD_SUFFIX}"
    if name in names and new in names and old in names:
        raise LidrError(
            f"registered models {name!r}, {old!r} and {new!r} all exist: the first was registered "
            "anew after a relocation was interrupted",
            remedy=f"Rename or delete {name!r} if it is newer than the others; then run the same "
            "command again.",
        )
    if name in names:  # `new` is incomplete, or `old` has been replaced
        client.delete_registered_model(new if new in names else old)
    elif old in names and new in names:
        _put_in_place(client, name)
    elif old in names:  # its copy was deleted
        client.rename_registered_model(old, name)


def models_to_move(client: Any, move: StoreMove) -> Iterator[ModelRelocation]:
    """Yield the registered models that point into the old store."""
    for name in model_names(client):
        if name.endswith((_NEW_SUFFIX, _OLD_SUFFIX)):
            continue
        model = read_model(client, name)
        moving = ModelRelocation(model, tuple(all_versions(client, name)))
        if moving.moved(move) or any(map(move.concerns, model.tags.values())):
            yield moving


def require_moved(moving: ModelRelocation, move: StoreMove, *, verify: bool = False) -> None:
    """Refuse to point versions at an address without their files.

    Raises:
        BadInput: the new store lacks files, or they have other sizes.
        CorruptStage: with `verify`, a file has another digest.
    """
    for version in moving.moved(move):
        require_files(version, verify=verify)


def relocate_model(client: Any, moving: ModelRelocation, move: StoreMove) -> list[str]:
    """Recreate a registered model with its sources and tags pointing into the new store.

    Returns:
        The accounts whose permissions on the model could not be copied.

    Raises:
        LidrError: another process changed or relocated the model, or may do so because the lease
            was lost; it is left as it is.
        StoreError: the store with its audit log refuses us, or does not answer.
    """
    name = moving.model.name
    copy = f"{name}{_NEW_SUFFIX}"
    wrapped = wrap_mlflow_errors(client, f"registered model {name!r}")
    with _audit_log_lease(moving.model) as lease, wrapped:
        description = client.get_registered_model(name).description
        client.create_registered_model(copy, move.of_all(moving.model.tags), description)
        _make_versions(client, moving, move)
        for alias, number in moving.model.aliases.items():
            client.set_registered_model_alias(copy, alias, str(number))
        lost = copy_grants(client.tracking_uri, name, copy)
        _require_unchanged(client, moving)
        if lease:
            lease.require()
        client.rename_registered_model(name, f"{name}{_OLD_SUFFIX}")
        _put_in_place(client, name)
    return lost


@contextmanager
def _audit_log_lease(model: RegisteredModel) -> Iterator[Lease | None]:
    """Hold the old audit log's lease, so that no other process registers or promotes meanwhile.

    Yields None if the model has no audit log, or if the log is gone with the old store.
    """
    uri, log = model.tags.get(AUDIT_LOG_TAG, ""), None
    if uri and not is_missing_folder(uri):
        with suppress(NoBucket):
            log = open_store(uri)
    with exclusive(log) if log else nullcontext() as lease:
        yield lease


def _make_versions(client: Any, moving: ModelRelocation, move: StoreMove) -> None:
    """Create all versions; to skip the number of a deleted one, create it and delete it."""
    name = moving.model.name
    known = {version.number: version for version in moving.versions}
    for number in range(1, max(known, default=0) + 1):
        version = known.get(number)
        current = client.get_model_version(name, str(number)) if version else None
        shown = _relocated(version or next(iter(known.values())), move)
        made = client.create_model_version(
            f"{name}{_NEW_SUFFIX}",
            source=shown.source,
            run_id=shown.run_id or None,
            tags=_tags(version, move) if version else {},
            run_link=current.run_link or None if current else None,
            description=current.description or None if current else None,
            await_creation_for=0,
        )
        if int(made.version) != number:
            raise LidrError(
                f"another process is relocating {name!r}", remedy="Run one relocation at a time."
            )
        if version is None:
            client.delete_model_version(f"{name}{_NEW_SUFFIX}", str(number))


def _tags(version: Version, move: StoreMove) -> dict[str, str]:
    return {**_relocated(version, move).tags, REGISTERED_TAG: version.created.isoformat()}


def _require_unchanged(client: Any, moving: ModelRelocation) -> None:
    name = moving.model.name
    now = ModelRelocation(read_model(client, name), tuple(all_versions(client, name)))
    if now != moving:
        client.delete_registered_model(f"{name}{_NEW_SUFFIX}")
        raise LidrError(
            f"registered model {name!r} was changed meanwhile",
            remedy="Stop what registers or promotes its versions, and run the same command again.",
        )


def _put_in_place(client: Any, name: str) -> None:
    client.rename_registered_model(f"{name}{_NEW_SUFFIX}", name)
    client.delete_registered_model(f"{name}{_OLD_SUFFIX}")


def _concerns(version: Version, move: StoreMove) -> bool:
    return any(map(move.concerns, (version.source, *version.tags.values())))


def _relocated(version: Version, move: StoreMove) -> Version:
    return replace(version, source=move.of(version.source), tags=move.of_all(version.tags))
