"""Where a pipeline and a run come from: the recipe's digest and lidr's version, as text in KFP.

KFP keeps a description with everything it stores, and nothing else that a client may fill freely.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Self

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import canonical_json, digest_of

_ITERATION = re.compile(r"0|[1-9][0-9]{0,5}")


@dataclass(frozen=True)
class Stamp:
    """What a run was submitted as.

    Attributes:
        run: its name in the store.
        recipe: digest of the resolved recipe.
        version: lidr's.
        store: URI of the store.
        first: the first iteration that its pipeline holds; 0 where it begins with M_0.
    """

    run: str
    recipe: str
    version: str
    store: str
    first: str = "0"

    @classmethod
    def of(cls, recipe: Recipe, run: str, store: str, first: int = 0) -> Self:
        """Return the stamp of a run that this program submits."""
        return cls(run, recipe_digest(recipe), lidr_version(), store, str(first))

    @classmethod
    def parse(cls, description: str | None) -> Self | None:
        """Read a run's description; None where lidr did not write it."""
        try:
            found = json.loads((description or "").rpartition("\n")[2])
            texts = {name: found[name] for name in cls.__dataclass_fields__}
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        whole = all(isinstance(text, str) for text in texts.values())
        return cls(**texts) if whole and _ITERATION.fullmatch(texts["first"]) else None

    def text(self, links: Mapping[str, str] | None = None) -> str:
        """Return it as a run's description: links for people, then a line for `parse`.

        Args:
            links: addresses by what is there.
        """
        lines = [f"{name}: {address}" for name, address in (links or {}).items()]
        return "\n".join([*lines, canonical_json(asdict(self))])


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
