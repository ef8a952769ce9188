"""Where a pipeline and a run come from: the recipe's digest and lidr's version, as text in KFP.

The description is the only field of KFP's objects that a client may fill freely. That of a run or a
schedule has at most 255 characters: the database has `varchar(255)` and refuses longer ones
(Kubeflow Pipelines 2.17, backend/src/apiserver/model/run.go).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Self

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of

MAX_CHARS = 255
"""Most characters of a run's description."""

_STAMP = re.compile(
    r"lidr (?P<version>[^\s,]{1,40}), recipe (?P<recipe>[0-9a-f]{16}) "
    r"from M_(?P<first>0|[1-9][0-9]{0,5}), store (?P<store>\S[^\r\n]{0,150})"
)
_MAX_STORE_CHARS = 150
"""A longer URI of a store is replaced by its digest."""


@dataclass(frozen=True)
class Stamp:
    """The recipe, version and store that a run was submitted with.

    Attributes:
        recipe: the first 16 hexadecimal digits of the resolved recipe's digest.
        version: lidr's.
        store: URI of the store, or its digest if the URI is very long.
        first: the first iteration that its pipeline holds; 0 if it begins with M_0.
    """

    recipe: str
    version: str
    store: str
    first: int = 0

    @classmethod
    def of(cls, recipe: Recipe, store: str, first: int = 0) -> Self:
        """Return the stamp of a run that this program submits."""
        return cls(recipe_digest(recipe)[:16], lidr_version(), _address(store), first)

    @classmethod
    def parse(cls, description: str | None) -> Self | None:
        """Read a run's description; return None if lidr did not write it."""
        found = _STAMP.fullmatch((description or "").rpartition("\n")[2])
        if not found:
            return None
        return cls(found["recipe"], found["version"], found["store"], int(found["first"]))

    def is_on(self, store: str) -> bool:
        """Return whether a URI is that of the store that the run was submitted with."""
        return self.store.rstrip("/") == _address(store.rstrip("/"))

    def text(self, links: Mapping[str, str] | None = None) -> str:
        """Return a run's description: links for people, then a line for `parse`.

        Args:
            links: addresses by title, the most useful first; those that do not fit into
                `MAX_CHARS` are left out.
        """
        stamp = f"lidr {self.version}, recipe {self.recipe} from M_{self.first}, store {self.store}"
        lines, left = [], MAX_CHARS - len(stamp)
        for name, address in (links or {}).items():
            line = f"{name}: {address}"
            if len(line) < left:
                lines.append(line)
                left -= len(line) + 1
        return "\n".join([*lines, stamp])


def _address(store: str) -> str:
    return store if len(store) <= _MAX_STORE_CHARS else f"sha256:{digest_of(store)}"


def description_of(recipe: Recipe) -> str:
    """Return a pipeline's description."""
    return (
        "Let a model teach itself the languages it is weak in.\n"
        f"recipe {recipe.name} sha256:{recipe_digest(recipe)}, lidr {lidr_version()}"
    )


def recipe_digest(recipe: Recipe) -> str:
    """Return a recipe's digest, without the day in its chat templates."""
    undated = recipe.model_copy(update={"model": recipe.model.model_copy(update={"date": ""})})
    return digest_of(undated.model_dump(mode="json"))


def lidr_version() -> str:
    """Return this program's version."""
    return metadata.version("lidr")
