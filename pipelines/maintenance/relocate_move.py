"""A store's move from one address to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StoreMove:
    """A store's address before and after.

    Attributes:
        old: URI before, without a final `/`.
        new: URI now, likewise.
    """

    old: str
    new: str

    @classmethod
    def between(cls, old: str, new: str) -> StoreMove:
        """Return the move between two addresses as a user gives them: URIs or folders."""
        return cls(_address(old), _address(new))

    def concerns(self, uri: str) -> bool:
        """Return whether a URI is the old store's, or is inside it."""
        return uri == self.old or uri.startswith(f"{self.old}/")

    def of(self, uri: str) -> str:
        """Return a URI's new address; a URI outside the store stays as it is."""
        return self.new + uri.removeprefix(self.old) if self.concerns(uri) else uri

    def of_all(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Return tags, with new addresses for the values that are URIs in the store."""
        return {key: self.of(value) for key, value in tags.items()}


def _address(given: str) -> str:
    plain = given.rstrip("/")
    return plain if "://" in plain else str(Path(plain).absolute())
