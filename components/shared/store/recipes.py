"""Recipes on the store, by digest, so that a pipeline's tasks can be given a short reference.

Argo's Workflow would repeat a recipe of a few kilobytes six times for every task, and the size of
a Workflow is limited (docs/cluster.md). `sha256:<digest>` refers to `recipes/<digest>.json`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from lidr.components.shared.core.digest import canonical_json, digest_of
from lidr.components.shared.core.errors import BadInput, DamagedObject
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store

if TYPE_CHECKING:
    from lidr.components.shared.config.recipe import Recipe

_REFERENCE = re.compile(r"sha256:([0-9a-f]{64})")


def reference_of(recipe: Recipe) -> str:
    """Return the reference to a resolved recipe, which is the same for every store."""
    return f"sha256:{digest_of(recipe.model_dump(mode='json'))}"


def put_recipe(store: Store, text: str) -> str:
    """Write a resolved recipe (JSON) to a store unless it is there; return its reference."""
    content = json.loads(text)
    digest = digest_of(content)
    store.create(_key(digest), canonical_json(content).encode())
    return f"sha256:{digest}"


def resolve_recipe(store_uri: str, recipe: str) -> str:
    """Return a recipe as JSON, read from the store if only its reference is given.

    Args:
        store_uri: URI of the store.
        recipe: the recipe as JSON, or `sha256:<digest>`.

    Raises:
        BadInput: the store has no such recipe.
        DamagedObject: the recipe there does not have the digest in its name.
    """
    found = _REFERENCE.fullmatch(recipe)
    if not found:
        return recipe
    store, key = open_store(store_uri), _key(found[1])
    try:
        data = store.read(key)
    except FileNotFoundError as error:
        raise BadInput(
            "the run's recipe is not on the store",
            file=f"{store.uri}/{key}",
            remedy="`lidr submit` and `lidr compile` put it there: check that they and the run "
            "use one store, then submit again.",
        ) from error
    if _digest(data) != found[1]:
        raise DamagedObject(
            "does not have the digest in its name",
            file=f"{store.uri}/{key}",
            remedy="Delete it, and submit again.",
        )
    return data.decode()


def _digest(data: bytes) -> str:
    try:
        return digest_of(json.loads(data))
    except (ValueError, RecursionError):
        return ""


def _key(digest: str) -> str:
    return f"recipes/{digest}.json"
