"""A store in memory: what is fuzzed is what reads the objects, a million times."""

from __future__ import annotations

from lidr.components.shared.store.base import Entry


class Shelf:
    """Objects by key."""

    uri = "/shelf"

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        self.objects = dict(objects or {})

    def read(self, key: str) -> bytes:
        if key not in self.objects:
            raise FileNotFoundError(key)
        return self.objects[key]

    def write(self, key: str, data: bytes) -> None:
        self.objects[key] = data

    def create(self, key: str, data: bytes) -> bool:
        return self.objects.setdefault(key, data) is data

    def exists(self, key: str) -> bool:
        return key in self.objects

    def list(self, prefix: str) -> list[Entry]:
        start = f"{prefix}/" if prefix else ""
        return [
            Entry(key, len(self.objects[key]), 0.0)
            for key in sorted(self.objects)
            if key.startswith(start)
        ]

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)
