"""Inputs that `lidr fetch` has brought into a store, under `sources/<digest>`.

Like a stage, each has a marker with the digests of its files, which is sealed and written last. The
digest in its address depends on what pins the source: the digests of its files or, on the hub, its
name and revision.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from lidr.components.shared.config.source import parse_source
from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.cache import cached
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.open import is_missing_folder, local_folder, open_store
from lidr.components.shared.store.stage import Stage

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
"""The files of an outside model that are fetched: safetensors, configuration, tokenizer."""

_PLACE = re.compile(r"(?P<root>.+)/sources/(?P<digest>[0-9a-f]{64})(?:/(?P<name>.+))?")


def source_stage(store: Store, pins: Mapping[str, object]) -> Stage:
    """Return the stage of a source in a store, fetched or not.

    `pins` identify the source's bytes: digests, or a name and a revision.
    """
    identity = {"source": dict(pins)}
    return Stage(store, f"sources/{digest_of(identity)}", identity)


def find_fetched(place: str) -> tuple[Stage, str] | None:
    """Return the fetched source that holds a path or URI, and the file's name in it; else None.

    The name is "" for the whole source.
    """
    found = _PLACE.fullmatch(place)
    if not found or not _store_exists(found["root"]):
        return None
    stage = _cached_stage(found["root"], found["digest"])
    return (stage, found["name"] or "") if stage.done() else None


def find_data_set(source: str) -> Stage | None:
    """Return the stage of a whole data set of the hub that a source names; None if it is none.

    One file of a data set, or one per language, is fetched as files.
    """
    held = find_fetched(parse_source(source).address)
    if held is None or held[1]:
        return None
    pins = held[0].marker()["identity"]["source"]
    return held[0] if "dataset" in pins and not pins["file"] else None


def locate_source(uri: str) -> Stage | None:
    """Return the source at a URI, fetched or not; None if the URI is not a source's.

    Unlike the one that `find_fetched` returns, it has not read its marker yet.
    """
    found = _PLACE.fullmatch(uri)
    if not found or found["name"] or not _may_be_store(found["root"]):
        return None
    return _stage(found["root"], found["digest"])


def _store_exists(root: str) -> bool:
    """Tell whether a store may hold sources; a local one must have their folder."""
    return _may_be_store(root) and not is_missing_folder(f"{root}/sources")


def _may_be_store(root: str) -> bool:
    """Tell whether `open_store` knows the scheme."""
    return root.startswith("s3://") or local_folder(root) is not None


def _stage(root: str, digest: str) -> Stage:
    # What is read may lie in a store that cannot be written, e.g. on a read-only mount.
    return Stage(open_store(root, writable=False), f"sources/{digest}")


_cached_stage = cache(_stage)


def local_copy(stage: Stage, names: list[str], cache_key: str = "") -> Path:
    """Return a folder on this machine with some of a stage's files, each one verified.

    A local store's own folder is used in place; anything else goes through the cache, as
    `cache_key`, by default a digest of stage and names.
    """
    if isinstance(stage.store, LocalStore):
        stage.verify(names)
        return stage.store.path(stage.prefix)
    key = cache_key or digest_of([stage.digest, names])
    return cached(key, lambda folder: stage.download(folder, names))
