"""Brings what a recipe names into a store: by digest, in parallel, each byte once.

A file that is on the store is whole (uploads are atomic), so that after a kill only what is missing
is fetched; a download that broke off is continued from this machine's cache.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from lidr.components.shared.config.source import parse_source
from lidr.components.shared.core.digest import digest_of_file
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.inputs.fetch_plans import Part, Plan
from lidr.components.shared.inputs.named import NamedInput
from lidr.components.shared.inputs.web import Advance
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.marker import MARKER
from lidr.components.shared.store.stage import Stage

FILES_AT_ONCE = 4


def stays(named: NamedInput, store: Store) -> bool:
    """Tell whether an input is left where it is: in a bucket, or beside a store on this machine."""
    local = "://" not in store.uri
    return in_bucket(named) or (local and "://" not in parse_source(named.source).address)


def in_bucket(named: NamedInput) -> bool:
    """Tell whether an input is in an object store already."""
    return parse_source(named.source).address.startswith("s3://")


def fetch(plan: Plan, bring: ThreadPoolExecutor, scratch: Path, advance: Advance) -> int:
    """Bring a source into its place; return how many bytes came.

    Args:
        plan: of the source.
        bring: does several files at once.
        scratch: folder on this machine, where a download that breaks off is continued.
        advance: is told of progress, in bytes.

    Raises:
        BadInput: it cannot be had, or is not what the recipe pins.
    """
    if plan.stage.done():
        return 0
    folder = scratch / plan.stage.digest
    folder.mkdir(parents=True, exist_ok=True)
    parts = plan.parts()
    there = {entry.key: entry.size for entry in plan.stage.store.list(plan.stage.prefix)}
    jobs = [bring.submit(_bring, plan.stage, part, there, folder, advance) for part in parts]
    sizes = [job.result() for job in jobs]
    plan.stage.finish(
        {"files": len(parts), "bytes": sum(plan.stage.digests[part.name][0] for part in parts)},
        {"licence": plan.licence(), "origin": plan.origin},
    )
    shutil.rmtree(folder, ignore_errors=True)
    return sum(sizes)


def _bring(
    stage: Stage, part: Part, there: Mapping[str, int], folder: Path, advance: Advance
) -> int:
    """Put one file into the store unless it is there; return how many bytes came.

    Args:
        stage: the source's place.
        part: the file.
        there: sizes of what an earlier fetch has left, by key. Each was verified before it came.
        folder: on this machine, where the file is put together.
        advance: is told of progress.
    """
    key = stage.key(part.name)
    if key in there and part.size in (0, there[key]):
        stage.digests[part.name] = (there[key], part.sha256 or stage.store.sha256(key))
        return 0
    path = folder / part.name
    path.parent.mkdir(parents=True, exist_ok=True)
    part.bring(path, advance)
    digest = digest_of_file(path)
    if part.sha256 and digest != part.sha256:
        path.unlink()
        raise BadInput(
            f"{part.name} has the SHA-256 {digest}, its source says {part.sha256}",
            remedy="Run the same command again; if it stays so, the source is damaged.",
        )
    size = path.stat().st_size
    stage.store.upload(path, key)
    stage.digests[part.name] = (size, digest)
    path.unlink(missing_ok=True)
    return size


def scratch_folder() -> Path:
    """Return where downloads are put together on this machine."""
    root = Path(os.environ.get("LIDR_CACHE", "~/.cache/lidr")).expanduser()
    return root / "fetch"


def copy(stage: Stage, target: Stage, advance: Advance, scratch: Path) -> None:
    """Copy a fetched source from one store to another, each file verified on the way.

    Raises:
        CorruptStage: a file is not the one that its marker names.
    """
    if target.done():
        return
    files: Mapping[str, Any] = stage.marker()["files"]
    for name, described in files.items():
        if not target.store.exists(target.key(name)):
            path = scratch / "copy" / stage.digest / name
            stage.download(path.parents[len(PurePosixPath(name).parts) - 1], [name])
            target.store.upload(path, target.key(name))
            path.unlink()
            advance(int(described["size"]))
    target.store.write(target.key(MARKER), stage.store.read(stage.key(MARKER)))
