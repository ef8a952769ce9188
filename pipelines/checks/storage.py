"""Whether the store and MLflow can be reached, and accept what a run writes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lidr.components.shared.core.errors import BadInput, DamagedObject, LidrError, StoreError
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.s3 import S3Store
from lidr.components.shared.tracking.client import (
    client_at,
    is_server,
    server_problem,
    tracking_uri,
)
from lidr.components.shared.tracking.database import database_file
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, refused, unknown
from lidr.pipelines.cluster.api import ClusterApi, Denied

_PART_BYTES = 5 << 20
"""S3's minimum for each part of an upload but the last."""
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")

_WRITE_PERMISSIONS = ("EDIT", "MANAGE")
_GRANT_REMEDY = "An MLflow administrator must grant EDIT or MANAGE on the {}, or a role with it."
_ARTIFACTS_REMEDY = "Start the server with --artifacts-destination s3://bucket/prefix."


def store_findings(inputs: CheckInputs, api: ClusterApi) -> Iterator[Finding]:
    """Yield whether the store does what a run needs, tried on objects deleted afterwards."""
    uri = inputs.profile.store
    if inputs.on_cluster and _is_folder(uri):
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


def _is_folder(uri: str) -> bool:
    return "://" not in uri or uri.startswith("file://")


def _inside_only(inputs: CheckInputs, api: ClusterApi) -> Finding | None:
    """Return a finding if only pods reach the store's endpoint, as their ConfigMaps name it."""
    if any(map(os.environ.get, _ENDPOINTS)) or not api.is_reached():
        return None
    namespace, _ = api.namespaces(inputs.profile)
    for name in inputs.profile.config_maps:
        with contextlib.suppress(Denied):
            config_map = api.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}") or {}
            data = config_map.get("data") or {}
            key = next((each for each in _ENDPOINTS if data.get(each)), "")
            if key and inputs.only_inside(url := data[key]):
                command, here = _port_forward(url, namespace)
                remedy = f"{command}, and set ${key} to {here}, with the store's key"
                return unknown("store", f"{url} is reached from inside the cluster only", remedy)
    return None


def _port_forward(url: str, namespace: str) -> tuple[str, str]:
    """Return the command that forwards to a Service, and the address that it then has here."""
    place = urlsplit(url)
    service, _, end = (place.hostname or "").partition(".")
    port = place.port or (443 if place.scheme == "https" else 80)
    where = f" -n {own}" if (own := end.partition(".")[0] or namespace) else ""
    return (
        f"kubectl{where} port-forward svc/{service} {port}",
        f"{place.scheme}://localhost:{port}",
    )


@contextlib.contextmanager
def _removing_new_folders(uri: str) -> Iterator[None]:
    """Remove a local store's folder afterwards if it was not there before."""
    folder = Path(uri.removeprefix("file://")).absolute()
    own = (folder, *folder.parents) if _is_folder(uri) else ()
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
    if "://" not in store.uri:
        with contextlib.suppress(OSError):
            (Path(store.uri) / prefix).rmdir()


def tracking_findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield whether MLflow answers, accepts the login, and lets it write runs and versions.

    MLFLOW_TRACKING_URI, e.g. of a port-forward, goes before the profile's address.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or inputs.profile.tracking_uri
    if not uri and inputs.on_cluster and inputs.profile.config_maps:
        maps = ", ".join(inputs.profile.config_maps)
        detail = f"pods read the address from {maps}, not known here"
        yield unknown("MLflow", detail, "Set $MLFLOW_TRACKING_URI to check it.")
        return
    try:
        uri = uri or tracking_uri(inputs.profile.store)
        if inputs.on_cluster and not is_server(uri):
            raise BadInput(
                f"{uri} is not a server that pods could share",
                remedy="Set tracking_uri to the address of an MLflow server.",
            )
    except LidrError as error:
        yield refused("MLflow", error)
        return
    if inputs.only_inside(uri):
        command, here = _port_forward(uri, inputs.profile.namespace)
        remedy = f"{command}, and set $MLFLOW_TRACKING_URI to {here}"
        yield unknown("MLflow", f"{uri} is reached from inside the cluster only", remedy)
    elif file := database_file(uri):
        yield _database(file)
    else:
        yield from _mlflow_server(inputs, uri)


def _database(file: Path) -> Finding:
    if not file.exists():
        return ok("MLflow", f"{file} will be made")
    try:
        read_only = f"{file.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(read_only, uri=True)) as database:
            database.execute("select version_num from alembic_version").fetchone()
    except sqlite3.Error as error:
        return missing("MLflow", f"{file} cannot be read: {error}", "Move it away, or fix it.")
    if not os.access(file, os.W_OK):
        return missing("MLflow", f"{file} may not be written", f"chmod u+w {file}")
    return ok("MLflow", str(file))


def _mlflow_server(inputs: CheckInputs, uri: str) -> Iterator[Finding]:
    from mlflow.exceptions import MlflowException

    recipe, name = inputs.recipe, "MLflow"
    model = recipe.registry.model_name or recipe.name
    try:
        client = client_at(uri)
        client.search_experiments(max_results=1)
        yield ok(name, f"{uri} lets {os.environ.get('MLFLOW_TRACKING_USERNAME', 'us')} in")
        experiment = client.get_experiment_by_name(f"lidr/{recipe.name}")
        yield _artifacts(experiment or client.get_experiment("0"), uri)
        if experiment:
            experiment_id = str(experiment.experiment_id)
            yield from _permission(uri, "experiment", experiment_id, experiment.name)
        name = "MLflow registry"
        known = client.search_registered_models(f"name = '{model}'", max_results=1)
    except (MlflowException, LidrError) as error:
        yield _mlflow_error(name, error, uri)
        return
    yield ok(name, f"{model} is there" if known else f"{model} will be made")
    if known:
        yield from _permission(uri, "registered_model", model, model)


def _mlflow_error(name: str, error: Exception, uri: str) -> Finding:
    known = error if isinstance(error, LidrError) else server_problem(error, uri)
    if known is not None:
        return refused(name, known)
    return missing(name, f"{uri}: {error}", "See the server's log.")


def _artifacts(experiment: Any, uri: str) -> Finding:
    """Return whether artifacts go where other clients can read them."""
    name, place = "MLflow artifacts", str(experiment.artifact_location)
    detail = f"experiment {experiment.name!r} keeps them in {place}"
    if is_server(uri) and ("://" not in place and not place.startswith("mlflow-artifacts:")):
        return missing(name, f"{detail}, a folder of each client", _ARTIFACTS_REMEDY)
    if place.startswith("file:"):
        return missing(name, detail, _ARTIFACTS_REMEDY)
    return ok(name, place)


def _permission(uri: str, kind: str, identity: str, shown: str) -> Iterator[Finding]:
    """Yield whether the user may write an experiment or a registered model.

    Yields nothing for a server without users.
    """
    user, what = os.environ.get("MLFLOW_TRACKING_USERNAME", ""), kind.replace("_", " ")
    granted = _granted(uri, user, kind, identity) if user else ""
    if not granted:
        return
    detail = f"{user} has {granted} on {shown}"
    if granted in _WRITE_PERMISSIONS:
        yield ok(f"MLflow {what}", detail)
    else:
        remedy = _GRANT_REMEDY.format(what)
        yield missing(f"MLflow {what}", f"{detail}, which is not enough", remedy)


def _granted(uri: str, user: str, kind: str, identity: str) -> str:
    """Return a user's permission by MLflow's API, or "" where the server does not say."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        answer = http_request(
            get_default_host_creds(uri),
            "/api/3.0/mlflow/users/permissions/get",
            "GET",
            params={"username": user, "resource_type": kind, "resource_id": identity},
            raise_on_status=False,
        )
        body = answer.json() if answer.status_code == 200 else {}
    except (MlflowException, ValueError):
        return ""
    return str(body.get("permission", "")) if isinstance(body, dict) else ""
