"""A stage: one step's output on the store, addressed by the digest of what it read.

A stage is done when its `_SUCCESS` marker exists, which is written last. No run computes a done
stage again: this is the only resume and reuse mechanism.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lidr.components.shared.core.digest import digest_of, digest_of_bytes, digest_of_file
from lidr.components.shared.core.errors import BadInput, CorruptStage
from lidr.components.shared.core.gpu import gpu_count
from lidr.components.shared.core.names import key_fault
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.marker import MARKER as MARKER
from lidr.components.shared.store.marker import (
    PRUNED_MARKER,
    library_versions,
    marker_fault,
    origin,
    parse_marker,
    sealed,
)
from lidr.components.shared.store.open import open_store

if TYPE_CHECKING:
    import pyarrow as pa

_MARKERS = (MARKER, PRUNED_MARKER)


@dataclass(frozen=True)
class Stage:
    """One stage's folder on the store.

    Attributes:
        store: the store.
        prefix: its key below the store, `stages/<step>/<digest>`.
        identity: what the digest was made of; None for a stage that is only read.
        digests: `name -> (size, sha256)` of the files that this process has written or hashed.
        began: when this process began to work on it, by the monotonic clock.
    """

    store: Store
    prefix: str
    identity: Mapping[str, object] | None = None
    digests: dict[str, tuple[int, str]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    @property
    def uri(self) -> str:
        """The stage's URI, as other steps refer to it."""
        return f"{self.store.uri}/{self.prefix}"

    @property
    def digest(self) -> str:
        """The digest that the address ends in."""
        return self.prefix.rsplit("/", 1)[-1]

    def key(self, name: str) -> str:
        """Return the store key of one of its files."""
        return f"{self.prefix}/{name}"

    def done(self) -> bool:
        """Return whether the stage is complete."""
        return self.store.exists(self.key(MARKER))

    def marker(self) -> dict[str, Any]:
        """Return the content of `_SUCCESS`.

        Raises:
            BadInput: the stage is not complete.
            CorruptStage: the marker was changed after it was written.
        """
        return self._marker

    @cached_property
    def _marker(self) -> dict[str, Any]:
        """Read the marker once: it never changes, and a large one lists thousands of files."""
        try:
            data = self.store.read(self.key(MARKER))
        except FileNotFoundError as error:
            what = f"stage {self.uri} is not complete"
            raise BadInput(what, remedy="Run the pipeline again.") from error
        if fault := marker_fault(data, self.digest):
            raise self._corrupt(f"{MARKER} {fault}")
        marker: dict[str, Any] = parse_marker(data)
        return marker

    def counts(self) -> dict[str, Any]:
        """Return the counts in the stage's marker."""
        counts: dict[str, Any] = self.marker()["counts"]
        return counts

    def write(self, name: str, data: bytes) -> None:
        """Write one file of the stage."""
        self.store.write(self.key(name), data)
        self.digests[name] = (len(data), digest_of_bytes(data))

    def write_records(self, name: str, records: Sequence[object], kind: type) -> None:
        """Write records of one kind as a Parquet file."""
        from lidr.components.shared.records.parquet import to_parquet

        self.write(name, to_parquet(records, kind))

    def create(self, name: str, data: bytes) -> bool:
        """Write one file of the stage; False if another worker has written it already."""
        written = self.store.create(self.key(name), data)
        if written:
            self.digests[name] = (len(data), digest_of_bytes(data))
        return written

    def upload(self, name: str, path: Path) -> None:
        """Copy one local file into the stage."""
        self.store.upload(path, self.key(name))
        self.digests[name] = (path.stat().st_size, digest_of_file(path))

    def finish(
        self,
        counts: Mapping[str, object],
        facts: Mapping[str, object] | None = None,
        exclude: tuple[str, ...] = (),
    ) -> str:
        """Write the marker over all files of the stage and return the stage's URI.

        The marker also has the seconds that this process worked on the stage, and its GPU count.

        Args:
            counts: plain JSON values that describe the content; other steps read them.
            facts: the origin of its inputs, for the lineage; not part of the digest.
            exclude: prefixes of the names of files that do not belong to the stage.
        """
        present, excluded = self._file_names(), (*_MARKERS, *exclude)
        marker = {
            "digest": self.digest,
            "identity": self.identity,
            "counts": counts,
            "seconds": round(time.monotonic() - self.began, 3),
            "gpus": gpu_count(),
            "files": {n: self._file_entry(n) for n in present if not n.startswith(excluded)},
            "versions": library_versions(),
            "origin": origin(),
            "facts": facts or {},
        }
        self.store.write(self.key(MARKER), sealed(marker))
        if PRUNED_MARKER in present:  # it was pruned earlier
            self.store.delete(self.key(PRUNED_MARKER))
        return self.uri

    def read(self, name: str) -> bytes:
        """Return a file of a complete stage, checked against the marker.

        Raises:
            CorruptStage: the bytes are not those that were written.
        """
        with self._must_exist(name):
            data = self.store.read(self.key(name))
        self._verify(name, digest_of_bytes(data))
        return data

    def read_table(self, names: Sequence[str]) -> pa.Table:
        """Return Parquet files of a complete stage as one table."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        return pa.concat_tables([pq.read_table(pa.BufferReader(self.read(name))) for name in names])

    def read_records(self, names: Sequence[str], kind: type) -> list[Any]:
        """Return the records in Parquet files of a complete stage, in order."""
        return [row for name in names for row in self._records(name, self.read(name), kind)]

    def files(self, *, prefix: str = "") -> list[str]:
        """Return the names of a complete stage's files below a prefix, sorted."""
        return sorted(name for name in self.marker()["files"] if name.startswith(prefix))

    def unfinished_tables(
        self, names: Sequence[str], columns: Sequence[str], kind: Any = None
    ) -> Iterator[pa.Table]:
        """Yield columns of the Parquet files of a stage that has no marker yet.

        Args:
            names: of the files.
            columns: to be yielded.
            kind: class of the records that the files must hold; None for any.

        Raises:
            CorruptStage: a file is missing or damaged, or holds something else.
        """
        for name in names:
            with self._must_exist(name):
                data = self.store.read(self.key(name))
            self.digests[name] = (len(data), digest_of_bytes(data))
            try:
                yield self._decode_table(name, data, kind).select(list(columns))
            except KeyError as error:
                fault = f"{name} has other columns ({error})"
                raise self._corrupt(fault, f"Delete {self.uri}/{name} and run again.") from error

    def peek_records(self, name: str, kind: type) -> list[Any]:
        """Return the records of one file, even if other workers are still writing the stage."""
        with self._must_exist(name):
            data = self.read(name) if self.done() else self.store.read(self.key(name))
        return self._records(name, data, kind)

    def _records(self, name: str, data: bytes, kind: type) -> list[Any]:
        return [kind(**row) for row in self._decode_table(name, data, kind).to_pylist()]

    def download(self, folder: Path, names: Sequence[str]) -> None:
        """Copy files of a complete stage into a folder and check each one."""
        for name in names:
            target = folder / name
            with self._must_exist(name):
                self.store.download(self.key(name), target)
            try:
                self._verify(name, digest_of_file(target))
            except CorruptStage:
                target.unlink()  # a later call would take it for checked
                raise

    def local_file(self, name: str) -> Path:
        """Return the local path of a file of a complete stage, checked against the marker.

        A local store's file is used in place; from another store a copy is made, which lives as
        long as the process.
        """
        if isinstance(self.store, LocalStore):
            self.verify([name])
            return self.store.path(self.key(name))
        folder = Path(_scratch().name) / self.digest
        if not (folder / name).is_file():
            self.download(folder, [name])
        return folder / name

    def verify(self, names: Sequence[str]) -> None:
        """Check files of a complete stage in place, without holding them in memory.

        Raises:
            CorruptStage: a file's bytes are not those that were written.
        """
        for name in names:
            with self._must_exist(name):
                self._verify(name, self.store.sha256(self.key(name)))

    def _decode_table(self, name: str, data: bytes, kind: Any = None) -> pa.Table:
        """Decode a Parquet file and check its own seal: there may be no marker yet."""
        from lidr.components.shared.records.parquet import NotRecords, read_table

        try:
            return read_table(data, kind)
        except NotRecords as error:
            remedy = f"Delete {self.uri}/{name} and run again."
            raise self._corrupt(f"{name} {error}", remedy) from error

    def _file_names(self) -> list[str]:
        """Return the names of the files; a listing may lag behind this process's own writes."""
        skip = len(self.prefix) + 1
        listed = {entry.key[skip:] for entry in self.store.list(self.prefix)}
        own = [n for n in self.digests if n not in listed and self.store.exists(self.key(n))]
        return sorted([*listed, *own])

    def _file_entry(self, name: str) -> dict[str, object]:
        """Return a file's entry in the marker; reads the file if another process wrote it."""
        if name not in self.digests:
            data = self.store.read(self.key(name))
            self.digests[name] = (len(data), digest_of_bytes(data))
        size, sha256 = self.digests[name]
        return {"size": size, "sha256": sha256}

    def _verify(self, name: str, actual: str) -> None:
        expected = self.marker()["files"].get(name, {}).get("sha256")
        if actual != expected:
            raise self._corrupt(f"{name} does not have the digest its marker names")

    @contextmanager
    def _must_exist(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            remedy = "Run again: finished chunks are kept."
            raise self._corrupt(f"{name} is gone", remedy) from error

    def _corrupt(self, what: str, remedy: str = "") -> CorruptStage:
        """`remedy` is for an unfinished stage: in a done one no single file can be made again."""
        if not remedy or self.done():
            remedy = f"Delete {self.uri} and run again."
        return CorruptStage(f"{self.uri}/{what}", remedy=remedy)


def new_stage(
    store: Store, step: str, version: int, inputs: Mapping[str, str], settings: Mapping[str, object]
) -> Stage:
    """Return a step's stage for some inputs and settings, complete or not.

    Args:
        store: the store to write to.
        step: the step's name.
        version: the step's format version; raised when the same inputs give another output.
        inputs: digest by name of everything the step reads (`digest_of_uri` for a stage).
        settings: the part of the recipe it uses, as plain JSON values.
    """
    identity = {"step": step, "version": version, "inputs": inputs, "settings": settings}
    return Stage(store, f"stages/{step}/{digest_of(identity)}", identity)


def open_stage(uri: str) -> Stage:
    """Return the complete stage at a URI.

    Raises:
        BadInput: the URI is not a stage's, or the stage is not complete.
    """
    stage = locate_stage(uri)
    stage.marker()
    return stage


def locate_stage(uri: str, *, writable: bool = True) -> Stage:
    """Return the stage at a URI, complete or not.

    Args:
        uri: of the stage.
        writable: see `open_store`.

    Raises:
        BadInput: the URI is not a stage's.
    """
    root, found, rest = uri.rpartition("/stages/")
    if not found or rest.count("/") != 1 or key_fault(rest):
        raise BadInput(
            f"{uri!r} is not the URI of a stage", remedy="Use <store>/stages/<step>/<digest>."
        )
    return Stage(open_store(root, writable=writable), f"stages/{rest}")


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="lidr-stages-")
