"""Whether MLflow answers, lets us in, and would let us write runs and versions."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.tracking.client import client_at, explained, is_server, tracking_uri
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, refused, unknown
from lidr.pipelines.checks.hosts import only_inside

_SQLITE = "sqlite:///"
_WRITING = ("EDIT", "MANAGE")
_ALLOW = "An MLflow administrator grants it: EDIT or MANAGE on the {kind}, or a role that has it."


def findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield what the tracking server says; its address here may be that of a tunnel."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or inputs.profile.tracking_uri
    if not uri and inputs.on_cluster and inputs.profile.config_maps:
        told = f"pods read the address from {', '.join(inputs.profile.config_maps)}, not known here"
        yield unknown("MLflow", told, "Set $MLFLOW_TRACKING_URI to look at it.")
        return
    try:
        uri = uri or tracking_uri(inputs.profile.store)
        if inputs.on_cluster and not is_server(uri):
            raise BadInput(
                f"{uri} is no server, which pods could share",
                remedy="Set tracking_uri to the address of an MLflow server.",
            )
    except LidrError as error:
        yield refused("MLflow", error)
        return
    if only_inside(uri, inputs.profile):
        told = f"{uri} is reached from inside the cluster only"
        yield unknown("MLflow", told, _tunnel(uri, inputs.profile.namespace))
    elif uri.startswith(_SQLITE):
        yield _database(Path(uri.removeprefix(_SQLITE)))
    else:
        yield from _server(inputs, uri)


def _tunnel(uri: str, namespace: str) -> str:
    service, _, end = uri.partition("://")[2].partition(":")[0].partition(".")
    return (
        f"kubectl -n {end.partition('.')[0] or namespace} port-forward svc/{service} 5000, and set "
        "$MLFLOW_TRACKING_URI to http://localhost:5000"
    )


def _database(file: Path) -> Finding:
    if not file.exists():
        return ok("MLflow", f"{file} will be made")
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
            database.execute("select version_num from alembic_version").fetchone()
    except sqlite3.Error as error:
        return missing("MLflow", f"{file} cannot be read: {error}", "Move it away, or fix it.")
    if not os.access(file, os.W_OK):
        return missing("MLflow", f"{file} may not be written", f"chmod u+w {file}")
    return ok("MLflow", str(file))


def _server(inputs: CheckInputs, uri: str) -> Iterator[Finding]:
    from mlflow.exceptions import MlflowException

    recipe = inputs.recipe
    model = recipe.registry.model_name or recipe.name
    asker = _Asker(uri)
    try:
        client = client_at(uri)
        client.search_experiments(max_results=1)
        yield ok("MLflow", f"{uri} lets {os.environ.get('MLFLOW_TRACKING_USERNAME', 'us')} in")
        experiment = client.get_experiment_by_name(f"lidr/{recipe.name}")
        likely = experiment or client.get_experiment("0")
    except (MlflowException, LidrError) as error:
        yield _refusal("MLflow", error, uri)
        return
    yield _artifacts(likely, uri)
    if experiment:
        yield from asker.permission("experiment", str(experiment.experiment_id), experiment.name)
    try:
        known = client.search_registered_models(f"name = '{model}'", max_results=1)
    except MlflowException as error:
        yield _refusal("MLflow registry", error, uri)
        return
    told = f"{model} is there" if known else f"{model} will be made"
    yield ok("MLflow registry", told)
    if known:
        yield from asker.permission("registered_model", model, model)


def _refusal(name: str, error: Exception, uri: str) -> Finding:
    known = error if isinstance(error, LidrError) else explained(error, uri)
    if known is not None:
        return refused(name, known)
    return missing(name, f"{uri}: {error}", "See the server's log.")


def _artifacts(experiment: Any, uri: str) -> Finding:
    """Tell whether artifacts would go where others find them."""
    name, place = "MLflow artifacts", str(experiment.artifact_location)
    if is_server(uri) and ("://" not in place and not place.startswith("mlflow-artifacts:")):
        told = f"experiment {experiment.name!r} keeps them in {place}, a folder of each client"
        remedy = "Start the server with --artifacts-destination s3://bucket/prefix."
        return missing(name, told, remedy)
    if place.startswith("file:"):
        told = f"experiment {experiment.name!r} keeps them in {place}"
        return missing(
            name, told, "Start the server with --artifacts-destination s3://bucket/prefix."
        )
    return ok(name, place)


class _Asker:
    """Asks a server with users what its own user may do; others have nothing to tell.

    Args:
        uri: of the server.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def permission(self, kind: str, identity: str, shown: str) -> Iterator[Finding]:
        """Yield whether the user may write an experiment or a registered model."""
        user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
        told = self._told(user, kind, identity) if user else None
        if not told:
            return
        name, what = f"MLflow {kind.replace('_', ' ')}", kind.replace("_", " ")
        if told in _WRITING:
            yield ok(name, f"{user} has {told} on {shown}")
        else:
            yield missing(
                name, f"{user} has {told} on {shown}, which is not enough", _ALLOW.format(kind=what)
            )

    def _told(self, user: str, kind: str, identity: str) -> str:
        from mlflow.exceptions import MlflowException
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        ask: Callable[..., Any] = http_request
        try:
            answer = ask(
                get_default_host_creds(self._uri),
                "/api/3.0/mlflow/users/permissions/get",
                "GET",
                params={"username": user, "resource_type": kind, "resource_id": identity},
                raise_on_status=False,
            )
            found = answer.json() if answer.status_code == 200 else {}
        except (MlflowException, ValueError):
            return ""
        return str(found.get("permission", "")) if isinstance(found, dict) else ""
