"""A store's move from one address to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lidr.components.shared.core.errors import BadInput


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
        """Return the move between two addresses as a user gives them: URIs or folders.

        Raises:
            BadInput: one of them names no store.
        """
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
    """Return the URI of a store at an address, as the store itself would."""
    place = given.removeprefix("file://")
    plain = place.rstrip("/")
    if not (urlsplit(place).netloc if "://" in place else plain):
        raise BadInput(f"{given!r} names no store", remedy="Give a folder or s3://bucket/prefix.")
    return plain if "://" in place else str(Path(plain).absolute())
