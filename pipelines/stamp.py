"""Where a pipeline and a run come from: the recipe's digest and lidr's version, as text in KFP.

KFP keeps a description with everything it stores, and nothing else that a client may fill freely.
Of a run or a schedule it keeps at most 255 characters: its database has `varchar(255)`, and answers
what is longer with an error (Kubeflow Pipelines 2.17, backend/src/apiserver/model/run.go).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Self

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of

LONGEST = 255
"""Characters of a run's description."""

_STAMP = re.compile(
    r"lidr (?P<version>[^\s,]{1,40}), recipe (?P<recipe>[0-9a-f]{16}) "
    r"from M_(?P<first>0|[1-9][0-9]{0,5}), store (?P<store>\S[^\r\n]{0,150})"
)
_LONG_STORE = 150
"""A longer address of a store goes by its digest."""


@dataclass(frozen=True)
class Stamp:
    """What a run was submitted as.

    Attributes:
        recipe: how the digest of the resolved recipe begins, 16 hexadecimal digits.
        version: lidr's.
        store: URI of the store; of a very long one its digest.
        first: the first iteration that its pipeline holds; 0 where it begins with M_0.
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
        """Read a run's description; None where lidr did not write it."""
        found = _STAMP.fullmatch((description or "").rpartition("\n")[2])
        if not found:
            return None
        return cls(found["recipe"], found["version"], found["store"], int(found["first"]))

    def is_on(self, store: str) -> bool:
        """Tell whether this is the URI of the store that the run was submitted to."""
        return self.store == _address(store)

    def text(self, links: Mapping[str, str] | None = None) -> str:
        """Return it as a run's description: links for people, then a line for `parse`.

        Args:
            links: addresses by what is there, the most useful first; the last ones are left out
                where they would make it too long for Kubeflow.
        """
        stamp = f"lidr {self.version}, recipe {self.recipe} from M_{self.first}, store {self.store}"
        lines, left = [], LONGEST - len(stamp)
        for name, address in (links or {}).items():
            line = f"{name}: {address}"
            if len(line) < left:
                lines.append(line)
                left -= len(line) + 1
        return "\n".join([*lines, stamp])


def _address(store: str) -> str:
    return store if len(store) <= _LONG_STORE else f"sha256:{digest_of(store)}"


def description_of(recipe: Recipe) -> str:
    """Return a pipeline's description."""
    return (
        "Let a model teach itself the languages it is weak in.\n"
        f"recipe {recipe.name} sha256:{recipe_digest(recipe)}, lidr {lidr_version()}"
    )


def recipe_digest(recipe: Recipe) -> str:
    """Return the digest that a recipe goes by, whatever day its run is told."""
    undated = recipe.model_copy(update={"model": recipe.model.model_copy(update={"date": ""})})
    return digest_of(undated.model_dump(mode="json"))


def lidr_version() -> str:
    """Return this program's version."""
    return metadata.version("lidr")
