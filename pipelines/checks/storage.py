"""Whether the store can be reached, and does what a run needs."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from lidr.components.shared.core.errors import DamagedObject, StoreError
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import local_folder, open_store
from lidr.components.shared.store.s3 import S3Store
from lidr.components.shared.store.s3_client import ENDPOINT_VARIABLES
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, refused, unknown
from lidr.pipelines.checks.services import port_forward
from lidr.pipelines.cluster.api import ClusterApi, Denied

_PART_BYTES = 5 << 20
"""S3's minimum for each part of an upload but the last."""


def store_findings(inputs: CheckInputs, api: ClusterApi) -> Iterator[Finding]:
    """Yield whether the store does what a run needs, tried on objects deleted afterwards."""
    uri = inputs.profile.store
    if inputs.on_cluster and local_folder(uri):
        detail = f"{uri} is a folder of this machine, which pods cannot reach"
        yield missing("store", detail, "Set store to s3://bucket/prefix in the profile.")
        return
    if inputs.on_cluster and (inside := _inside_only(inputs, api)):
        yield inside
        return
    with _removing_new_folders(uri):
        try:
            s3 = uri.startswith("s3://")
            store = S3Store(uri, part_bytes=_PART_BYTES, seconds=0) if s3 else open_store(uri)
        except StoreError as error:
            yield refused("store", error)
            return
        prefix = f".lidr-check-{uuid.uuid4().hex}"
        try:
            yield from _try_operations(store, prefix)
        finally:
            _clear(store, prefix)


def _inside_only(inputs: CheckInputs, api: ClusterApi) -> Finding | None:
    """Return a finding if only pods reach the store's endpoint, which their ConfigMaps name."""
    if any(map(os.environ.get, ENDPOINT_VARIABLES)) or not api.is_reached():
        return None
    namespace, _ = api.namespaces(inputs.profile)
    for name in inputs.profile.config_maps:
        with contextlib.suppress(Denied):
            config_map = api.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}") or {}
            data = config_map.get("data") or {}
            key = next((each for each in ENDPOINT_VARIABLES if data.get(each)), "")
            if key and inputs.only_inside(url := data[key]):
                command, here = port_forward(url, namespace)
                remedy = f"{command}, and set ${key} to {here}, with the store's key"
                return unknown("store", f"{url} is reached from inside the cluster only", remedy)
    return None


@contextlib.contextmanager
def _removing_new_folders(uri: str) -> Iterator[None]:
    """Remove, at the end, the folders of a local store that did not exist before."""
    folder = local_folder(uri)
    own = [] if folder is None else [folder.absolute(), *folder.absolute().parents]
    absent = [each for each in own if not each.exists()]
    try:
        yield
    finally:
        for each in absent:
            with contextlib.suppress(OSError):  # another process uses it
                each.rmdir()


def _try_operations(store: Store, prefix: str) -> Iterator[Finding]:
    name, where = "store write and read", f"at {store.uri}"
    try:
        store.write(f"{prefix}/object", b"first")
        store.write(f"{prefix}/object", b"second")
        again = store.read(f"{prefix}/object")
        listed = [entry.key for entry in store.list(prefix)]
    except (StoreError, DamagedObject, FileNotFoundError) as error:
        yield _failed(name, error)
        return
    if again != b"second" or listed != [f"{prefix}/object"]:
        detail = f"{where} an object written twice is read as {again!r} and listed as {listed}"
        yield missing(name, detail, "Use a store that is consistent after a write.")
        return
    yield ok(name, where)
    yield _conditional_write(store, f"{prefix}/created")
    if store.uri.startswith("s3://"):
        yield _multipart_upload(store, f"{prefix}/parts")
    yield _delete(store, f"{prefix}/object")


def _conditional_write(store: Store, key: str) -> Finding:
    name = "store conditional write"
    try:
        first, second = store.create(key, b"first"), store.create(key, b"second")
        kept = store.read(key)
    except (StoreError, DamagedObject, OSError) as error:
        return _failed(name, error)
    if first and not second and kept == b"first":
        return ok(name, "the second of two writers is refused")
    return missing(
        name,
        "the second of two writers is not refused, so they would overwrite each other's work",
        "Use a store with conditional PUT (If-None-Match: *), or turn it on at the gateway.",
    )


def _multipart_upload(store: Store, key: str) -> Finding:
    name = "store multipart upload"
    with tempfile.TemporaryDirectory(prefix="lidr-check-") as folder:
        file, back = Path(folder) / "file", Path(folder) / "back"
        file.write_bytes(b"lidr" * (_PART_BYTES // 4) + b"end")
        try:
            store.upload(file, key)
            store.download(key, back)
            whole = back.stat().st_size == file.stat().st_size  # `download` compares the bytes
        except (StoreError, DamagedObject, FileNotFoundError) as error:
            return _failed(name, error)
    if whole:
        return ok(name, "two parts make one object")
    return missing(name, "the parts came back as another object", "Check the object store.")


def _delete(store: Store, key: str) -> Finding:
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
    if isinstance(error, (StoreError, DamagedObject)):
        return refused(name, error)
    remedy = "Use a store that is consistent after a write, on a file system with hard links."
    return missing(name, str(error), remedy)


def _clear(store: Store, prefix: str) -> None:
    """Delete everything under a prefix, whatever failed before."""
    with contextlib.suppress(StoreError):
        store.abort_uploads(prefix, float("inf"))
    with contextlib.suppress(StoreError):
        for entry in store.list(prefix):
            store.delete(entry.key)
    if folder := local_folder(store.uri):
        with contextlib.suppress(OSError):
            (folder / prefix).rmdir()
