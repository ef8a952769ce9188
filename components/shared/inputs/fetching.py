"""Fetches the inputs of a recipe into a store, several files in parallel.

Uploads are atomic, so a file on the store is complete, and after a kill only missing files are
fetched. Interrupted downloads are resumed from this machine's cache.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from lidr.components.shared.config.source import on_this_machine, parse_source
from lidr.components.shared.core.digest import digest_of_file
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.inputs.fetch_plans import WRONG_PIN, FetchPlan, SourceFile
from lidr.components.shared.inputs.named import NamedInput
from lidr.components.shared.inputs.web import Advance
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.cache import locked

FILES_AT_ONCE = 4

_DAMAGED = "Run the same command again; if it fails again, the source is damaged."


def is_left_in_place(named: NamedInput, store: Store) -> bool:
    """Tell whether an input is read where it is: in a bucket, or beside a local store."""
    return in_bucket(named) or (on_this_machine(store.uri) and on_this_machine(named.source))


def in_bucket(named: NamedInput) -> bool:
    """Tell whether an input is in an object store."""
    return parse_source(named.source).address.startswith("s3://")


def fetch(plan: FetchPlan, pool: ThreadPoolExecutor, scratch: Path, advance: Advance) -> int:
    """Fetch a source into its stage, unless it is there; return the number of bytes fetched.

    Args:
        plan: of the source.
        pool: fetches files in parallel.
        scratch: folder on this machine for downloads, from which they are resumed.
        advance: called with the number of new bytes.

    Raises:
        BadInput: the source cannot be fetched, or is not what the recipe pins.
    """
    if plan.is_there():
        return 0
    # another process may fetch it, or the recipe may name it twice
    with locked(scratch / plan.stage.digest):
        return 0 if plan.is_there() else _fetch(plan, pool, scratch, advance)


def _fetch(plan: FetchPlan, pool: ThreadPoolExecutor, scratch: Path, advance: Advance) -> int:
    folder = scratch / plan.stage.digest
    folder.mkdir(parents=True, exist_ok=True)
    files = plan.files()
    present = {entry.key: entry.size for entry in plan.stage.store.list(plan.stage.prefix)}
    ended: SimpleQueue[Future[int]] = SimpleQueue()
    for each in files:
        job = pool.submit(_fetch_file, plan, each, present, folder, advance)
        job.add_done_callback(ended.put)
    # In the order in which they end: an error does not wait for earlier files.
    size = sum(ended.get().result() for _ in files)
    plan.stage.finish(
        {"files": len(files), "bytes": sum(plan.stage.digests[each.name][0] for each in files)},
        {"licence": plan.licence(), "origin": plan.origin},
    )
    shutil.rmtree(folder, ignore_errors=True)
    return size


def _fetch_file(
    plan: FetchPlan, file: SourceFile, present: Mapping[str, int], folder: Path, advance: Advance
) -> int:
    """Fetch one file into the store, unless it is there; return the number of bytes fetched.

    `present` holds the sizes of the files that an earlier fetch has uploaded, by key.
    """
    stage = plan.stage
    key = stage.key(file.name)
    if key in present and file.size in (0, present[key]):
        # the address does not cover a pinned digest, so hash what is there
        known = "" if plan.pins.get(file.name) else file.sha256
        held = known or stage.store.sha256(key)
        if file.sha256 in ("", held):
            stage.digests[file.name] = (present[key], held)
            return 0
    path = folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    file.fetch(path, advance)
    digest = digest_of_file(path)
    if file.sha256 and digest != file.sha256:
        path.unlink()
        said, remedy = "its source says", _DAMAGED
        if plan.pins.get(file.name):
            said, remedy = "the recipe pins", WRONG_PIN
        raise BadInput(
            f"{plan.origin}: {file.name} has the SHA-256 {digest}, {said} {file.sha256}",
            remedy=remedy,
        )
    size = path.stat().st_size
    stage.store.upload(path, key)
    stage.digests[file.name] = (size, digest)
    path.unlink(missing_ok=True)
    return size
