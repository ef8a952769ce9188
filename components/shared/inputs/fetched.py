"""Inputs that `lidr fetch` has brought into a store, under `sources/<digest>`.

Each is a folder with a marker over its files, like a stage: written last, sealed, and with a digest
for each file. The digest in its address is that of what pins the source, not of where it came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.cache import cached
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
"""What is fetched of an outside model: weights as safetensors, configuration, tokenizer."""

_PLACE = re.compile(r"(?P<root>.+)/sources/(?P<digest>[0-9a-f]{64})(?:/(?P<name>.+))?")


def source_stage(store: Store, pins: Mapping[str, object]) -> Stage:
    """Return the place of a source in a store, fetched or not.

    Args:
        store: it.
        pins: what says which bytes they are: digests, or a name with its revision.
    """
    identity = {"source": dict(pins)}
    return Stage(store, f"sources/{digest_of(identity)}", identity)


def fetched(place: str) -> tuple[Stage, str] | None:
    """Return the fetched source that a path or URI lies in, and the rest; None for other places."""
    found = _PLACE.fullmatch(place)
    if not found or not _may_hold(found["root"]):
        return None
    stage = _stage(found["root"], found["digest"])
    return (stage, found["name"] or "") if stage.done() else None


def fetched_file(place: str) -> tuple[Stage, str] | None:
    """Return the fetched source that a file belongs to, and its name there; else None."""
    found = fetched(place)
    return found if found and found[1] else None


def _may_hold(root: str) -> bool:
    """Tell whether there is such a store at all: opening a local one would make its folder."""
    return "://" in root or Path(root, "sources").is_dir()


@cache
def _stage(root: str, digest: str) -> Stage:
    return Stage(open_store(root), f"sources/{digest}")


def local_copy(stage: Stage, names: list[str]) -> Path:
    """Return a folder on this machine with some of a fetched source's files, each one verified.

    A local store's own folder is used in place; anything else goes through the cache.
    """
    if isinstance(stage.store, LocalStore):
        stage.verify(names)
        return stage.store.path(stage.prefix)
    key = digest_of([stage.digest, names])
    return cached(key, lambda folder: stage.download(folder, names))
