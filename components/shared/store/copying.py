"""Copies a complete stage from one store to another."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from lidr.components.shared.core.errors import BadInput, CorruptStage
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.cache import locked, scratch_folder
from lidr.components.shared.store.marker import MARKER, PRUNED_MARKER
from lidr.components.shared.store.stage import Stage


def copy_stage(
    stage: Stage,
    store: Store,
    begin: Callable[[str], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
) -> Stage:
    """Copy a complete stage to another store, its marker last, and return the copy.

    An interrupted copy keeps the files that match the stage's marker; a complete one gets back the
    files that it has lost.

    Args:
        stage: to be copied; each file is checked as it is copied.
        store: to copy to.
        begin: called with the name of each file before it is copied.
        advance: called with the size of each file, in bytes, afterwards.

    Raises:
        BadInput: the other store has this stage from another execution.
        CorruptStage: a file does not have the digest in the stage's marker.
    """
    copy = Stage(store, stage.prefix)
    if copy.done():
        _require_same(stage, copy)
    _copy_files(stage, copy, begin, advance)
    if store.create(copy.key(MARKER), stage.store.read(stage.key(MARKER))):
        store.delete(copy.key(PRUNED_MARKER))
    else:
        _require_same(stage, copy)
    return copy


def _copy_files(
    stage: Stage, copy: Stage, begin: Callable[[str], None], advance: Callable[[int], None]
) -> None:
    complete = copy.done()  # so its files are this stage's
    folder = scratch_folder() / f"copy-{stage.digest}"
    with locked(folder):
        sizes = {entry.key: entry.size for entry in copy.store.list(copy.prefix)}
        for name, described in stage.marker()["files"].items():
            key, size = copy.key(name), int(described["size"])
            present = sizes.get(key) == size
            if present and (complete or copy.store.sha256(key) == described["sha256"]):
                continue
            begin(name)
            stage.download(folder, [name])
            copy.store.upload(folder / name, key)
            (folder / name).unlink()
            advance(size)
        shutil.rmtree(folder, ignore_errors=True)


def _require_same(stage: Stage, copy: Stage) -> None:
    """Refuse a complete copy from another execution: files of two must not be mixed."""
    here, there = (each.store.read(each.key(MARKER)) for each in (stage, copy))
    if here != there and not _holds_the_same(stage, copy):
        raise BadInput(
            f"{copy.uri} is there already, and is not the same as {stage.uri}",
            remedy="Name another store or, if nothing uses that stage any more, delete it; then "
            "run the same command again.",
        )


def _holds_the_same(stage: Stage, copy: Stage) -> bool:
    """Tell whether two executions made the same files or, without files, the same counts."""
    try:
        here, there = stage.marker(), copy.marker()
    except CorruptStage:
        return False
    key = "files" if here["files"] or there["files"] else "counts"  # counts beside files hold times
    return bool(here[key] == there[key])
