"""Whether MLflow can be reached, and accepts what a run writes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.tracking.client import (
    client_at,
    tracking_uri,
)
from lidr.components.shared.tracking.database import database_file, is_server
from lidr.components.shared.tracking.server_errors import server_problem
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, refused, unknown
from lidr.pipelines.checks.services import port_forward

_WRITE_PERMISSIONS = ("EDIT", "MANAGE")
_GRANT_REMEDY = "An MLflow administrator must grant EDIT or MANAGE on the {}, or a role with it."
_ARTIFACTS_REMEDY = "Start the server with --artifacts-destination s3://bucket/prefix."


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
        command, here = port_forward(uri, inputs.profile.namespace)
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
