"""Whether the store takes, gives back and removes objects the way that runs rely on."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from lidr.components.shared.core.errors import StoreError
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.s3 import S3Store
from lidr.pipelines.checks.api import ClusterApi, Denied
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, refused, unknown
from lidr.pipelines.checks.hosts import only_inside

_PART_BYTES = 5 << 20
"""The least that S3 takes for a part which is not the last."""
_ENDPOINT = "AWS_ENDPOINT_URL"


def findings(inputs: CheckInputs, api: ClusterApi) -> Iterator[Finding]:
    """Yield what the store does with objects of our own, which are gone afterwards."""
    uri = inputs.profile.store
    if inputs.on_cluster and (inside := _inside(inputs, api)):
        yield inside
        return
    if inputs.on_cluster and "://" not in uri:
        told = f"{uri} is a folder of this machine, which pods cannot reach"
        yield missing("store", told, "Set store to s3://bucket/prefix in the profile.")
        return
    with _made_folders(uri):
        try:
            store = _open(uri)
        except StoreError as error:
            yield refused("store", error)
            return
        prefix = f".lidr-check-{uuid.uuid4().hex}"
        try:
            yield from _tried(store, prefix)
        finally:
            _clear(store, prefix)


def _inside(inputs: CheckInputs, api: ClusterApi) -> Finding | None:
    """Return what is to be said where only pods reach the store, and know its address."""
    if os.environ.get(_ENDPOINT) or not api.is_reached():
        return None
    namespace, _ = api.namespaces(inputs.profile)
    for name in inputs.profile.config_maps:
        with contextlib.suppress(Denied):
            found = api.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}") or {}
            url = (found.get("data") or {}).get(_ENDPOINT, "")
            if url and only_inside(url, inputs.profile):
                service, _, end = (urlsplit(url).hostname or "").partition(".")
                port = urlsplit(url).port or 80
                remedy = (
                    f"kubectl -n {end.partition('.')[0] or namespace} port-forward svc/{service} "
                    f"{port}, and set ${_ENDPOINT} to http://localhost:{port}, with the store's key"
                )
                return unknown("store", f"{url} is reached from inside the cluster only", remedy)
    return None


def _open(uri: str) -> Store:
    if not uri.startswith("s3://"):
        return open_store(uri)

    return S3Store(uri, part_bytes=_PART_BYTES, seconds=0)


@contextlib.contextmanager
def _made_folders(uri: str) -> Iterator[None]:
    """Remove a local store's folder again where it was not there before."""
    folder = Path(uri.removeprefix("file://")).absolute()
    local = "://" not in uri or uri.startswith("file://")
    absent = [each for each in (folder, *folder.parents) if local and not each.exists()]
    try:
        yield
    finally:
        for each in absent:
            with contextlib.suppress(OSError):  # somebody else uses it by now
                each.rmdir()


def _tried(store: Store, prefix: str) -> Iterator[Finding]:
    where = f"at {store.uri}"
    try:
        store.write(f"{prefix}/object", b"first")
        store.write(f"{prefix}/object", b"second")
        again = store.read(f"{prefix}/object")
        listed = [entry.key for entry in store.list(prefix)]
    except (StoreError, FileNotFoundError) as error:
        yield _failed("store write and read", error)
        return
    if again != b"second" or listed != [f"{prefix}/object"]:
        told = f"{where} an object written twice is read as {again!r} and listed as {listed}"
        yield missing("store write and read", told, "Use a store that is consistent after a write.")
        return
    yield ok("store write and read", where)
    yield _conditional(store, f"{prefix}/created")
    if store.uri.startswith("s3://"):
        yield _multipart(store, f"{prefix}/parts")
    yield _deleted(store, f"{prefix}/object")


def _conditional(store: Store, key: str) -> Finding:
    name = "store conditional write"
    try:
        first, second = store.create(key, b"first"), store.create(key, b"second")
        kept = store.read(key)
    except (StoreError, FileNotFoundError, OSError) as error:
        return _failed(name, error)
    if first and not second and kept == b"first":
        return ok(name, "the second of two writers is refused")
    return missing(
        name,
        "the second of two writers is not refused, so two of them would spoil each other's work",
        "Use a store with conditional PUT (If-None-Match: *), or turn it on at the gateway.",
    )


def _multipart(store: Store, key: str) -> Finding:
    name = "store multipart upload"
    with tempfile.TemporaryDirectory(prefix="lidr-check-") as folder:
        file, back = Path(folder) / "file", Path(folder) / "back"
        file.write_bytes(b"lidr" * (_PART_BYTES // 4) + b"end")
        try:
            store.upload(file, key)
            store.download(key, back)
            whole = back.stat().st_size == file.stat().st_size  # `download` compares the bytes
        except (StoreError, FileNotFoundError) as error:
            return _failed(name, error)
    if whole:
        return ok(name, "two parts make one object")
    return missing(name, "the parts came back as another object", "Check the object store.")


def _deleted(store: Store, key: str) -> Finding:
    name = "store delete"
    try:
        store.delete(key)
        left = store.exists(key)
    except StoreError as error:
        return _failed(name, error)
    if left:
        return missing(name, f"{key} is still there", "Grant s3:DeleteObject on the prefix.")
    return ok(name)


def _failed(name: str, error: Exception) -> Finding:
    if isinstance(error, StoreError):
        return refused(name, error)
    remedy = "Use a store that is consistent after a write, on a file system with hard links."
    return missing(name, str(error), remedy)


def _clear(store: Store, prefix: str) -> None:
    """Leave nothing behind, whatever was refused before."""
    with contextlib.suppress(StoreError):
        store.abort_uploads(prefix, float("inf"))
    with contextlib.suppress(StoreError):
        for entry in store.list(prefix):
            store.delete(entry.key)
    if "://" not in store.uri:
        with contextlib.suppress(OSError):
            (Path(store.uri) / prefix).rmdir()
