"""Whether MLflow can be reached, and accepts what a run writes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.tracking.client import (
    client_at,
    find_experiment,
    tracking_uri,
)
from lidr.components.shared.tracking.database import check_database, database_file, is_server
from lidr.components.shared.tracking.server_errors import server_problem
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, refused, unknown
from lidr.pipelines.checks.services import port_forward

_ARTIFACTS = "MLflow artifacts"
_WRITE_PERMISSIONS = ("EDIT", "MANAGE")
_GRANT_REMEDY = (
    "An MLflow administrator must grant EDIT or MANAGE on the {}, or a role that has it."
)
_ARTIFACTS_REMEDY = "Start the server with --artifacts-destination s3://bucket/prefix"
_EXPERIMENT_REMEDY = (
    "; MLflow never changes an experiment's folder, so rename this one, and the run makes another: "
    "mlflow experiments rename --experiment-id {} --new-name NAME"
)


def tracking_findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield whether MLflow answers, accepts the login, and lets the user write runs and versions.

    MLFLOW_TRACKING_URI, e.g. of a port-forward, overrides the profile's address.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or inputs.profile.tracking_uri
    if not uri and inputs.on_cluster and inputs.profile.config_maps:
        maps = ", ".join(inputs.profile.config_maps)
        detail = f"pods read the address from ConfigMap {maps}, which cannot be read from here"
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
        yield _database(file, _experiment_name(inputs))
    else:
        yield from _mlflow_server(inputs, uri)


def _database(file: Path, experiment: str) -> Finding:
    exists = file.exists()
    try:
        check_database(file, experiment)
    except LidrError as error:
        return refused("MLflow", error)
    return ok("MLflow", str(file) if exists else f"{file} will be made")


def _mlflow_server(inputs: CheckInputs, uri: str) -> Iterator[Finding]:
    from mlflow.exceptions import MlflowException

    try:
        client = client_at(uri)
        newest = client.search_experiments(max_results=1, order_by=["creation_time DESC"])
    except (MlflowException, LidrError) as error:
        yield _mlflow_error("MLflow", error, uri)
        return
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    yield ok("MLflow", f"{uri} accepts {f'user {user}' if user else 'requests'}")
    for name, findings in (
        ("MLflow experiment", _experiment(inputs, uri, client, newest)),
        ("MLflow registry", _registry(inputs, uri, client)),
    ):
        try:
            yield from findings
        except (MlflowException, LidrError) as error:
            yield _mlflow_error(name, error, uri)


def _mlflow_error(name: str, error: Exception, uri: str) -> Finding:
    known = error if isinstance(error, LidrError) else server_problem(error, uri)
    if known is not None:
        return refused(name, known)
    return missing(name, f"{uri}: {error}", "See the server's log.")


def _experiment_name(inputs: CheckInputs) -> str:
    return f"lidr/{inputs.recipe.name}"


def _experiment(
    inputs: CheckInputs, uri: str, client: Any, newest: Sequence[Any]
) -> Iterator[Finding]:
    """Yield where the run's artifacts go, and whether the user may write its experiment.

    Args:
        inputs: what is to run.
        uri: of the server.
        client: MLflow's client of that server.
        newest: the newest experiment that the user may see, or none. Until the run has made its
            own, only this one shows where the server keeps the artifacts of new experiments.
    """
    own = find_experiment(client, _experiment_name(inputs))
    if own:
        yield _artifacts(own, uri)
        yield from _permission(uri, "experiment", str(own.experiment_id), own.name)
    elif not is_server(uri):
        yield ok(_ARTIFACTS, f"{inputs.profile.store}/mlflow")
    elif not newest:
        yield unknown(_ARTIFACTS, "no experiment shows where the server keeps them")
    elif _in_client_folder(newest[0]):
        detail = f"{_place_of(newest[0])}, a folder of each client; the run makes a new experiment"
        remedy = f"{_ARTIFACTS_REMEDY}, unless this experiment is older than that setting."
        yield unknown(_ARTIFACTS, detail, remedy)
    else:
        yield ok(_ARTIFACTS, str(newest[0].artifact_location))


def _artifacts(experiment: Any, uri: str) -> Finding:
    """Return whether artifacts go where other clients of a server can read them."""
    if not is_server(uri) or not _in_client_folder(experiment):
        return ok(_ARTIFACTS, str(experiment.artifact_location))
    detail = f"{_place_of(experiment)}, a folder of each client"
    remedy = _ARTIFACTS_REMEDY + _EXPERIMENT_REMEDY.format(experiment.experiment_id)
    return missing(_ARTIFACTS, detail, remedy)


def _in_client_folder(experiment: Any) -> bool:
    place = str(experiment.artifact_location)
    return place.startswith("file:") or not (
        place.startswith("mlflow-artifacts:") or "://" in place
    )


def _place_of(experiment: Any) -> str:
    return f"experiment {experiment.name!r} keeps them in {experiment.artifact_location}"


def _registry(inputs: CheckInputs, uri: str, client: Any) -> Iterator[Finding]:
    """Yield whether the registry answers, and the user may write the model if it exists."""
    model = inputs.recipe.registered_model
    known = client.search_registered_models(f"name = '{model}'", max_results=1)
    yield ok("MLflow registry", f"{model} is there" if known else f"{model} will be made")
    if known:
        yield from _permission(uri, "registered_model", model, model)


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
