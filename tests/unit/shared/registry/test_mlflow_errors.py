"""What the user reads of MLflow's errors."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND
from sqlalchemy.exc import OperationalError

from lidr.components.shared.core.errors import BadInput, RegistryFailed, TrackingFailed
from lidr.components.shared.registry.mlflow_errors import wrap_mlflow_errors

SERVER = SimpleNamespace(tracking_uri="https://mlflow")
DATABASE = SimpleNamespace(tracking_uri="postgresql://db/mlflow")
LOCAL = "To use a local path as a model version source, the run_id request parameter has to be"


def refusal(code: str, message: str) -> RestException:
    return RestException({"error_code": code, "message": message})


def source(said: str) -> RestException:
    return refusal("INVALID_PARAMETER_VALUE", f"Invalid model version source: '/m'. {said}")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (
            MlflowException("failed with error code 404 != 200. <html>", ENDPOINT_NOT_FOUND),
            BadInput,
            r"https://mlflow does not answer as MLflow does \(HTTP 404\)\. Check MLFLOW_",
        ),
        (
            RestException({"message": "No API key found in request"}),
            BadInput,
            r'not answer as MLflow does \({"message": "No API key found in request"}\).* a proxy',
        ),
        (
            RestException({"detail": "Not Found"}),
            BadInput,
            r'not answer as MLflow does \({"detail": "Not Found"}\)',
        ),
        (refusal("INTERNAL_ERROR", "away"), TrackingFailed, "is up, but cannot do its work"),
        (
            refusal("INVALID_PARAMETER_VALUE", "Registered model alias a not found"),
            BadInput,
            "MLflow at https://mlflow has no version 1: ",
        ),
        (source(LOCAL), BadInput, "at https://mlflow cannot register files in a local folder"),
        (source(""), RegistryFailed, r"refused a request \(version 1\): .*source: '/m'\."),
        (ValueError("x"), RegistryFailed, r"mlflow does not answer as MLflow does \(version 1\)"),
    ],
)
def test_error_of_a_server_is_told_with_what_to_do(
    error: Exception, kind: type[Exception], words: str
):
    with pytest.raises(kind, match=words) as caught, wrap_mlflow_errors(SERVER, "version 1"):
        raise error
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("connection refused", TrackingFailed, "MLflow's database at .* cannot be used"),
        ("authentication failed", BadInput, "cannot use this address: .*authentication failed"),
    ],
)
def test_database_that_fails_when_the_registry_opens_it_is_no_traceback(
    said: str, kind: type[Exception], words: str
):
    error = OperationalError("select 1", {}, Exception(said))
    with pytest.raises(kind, match=words), wrap_mlflow_errors(DATABASE, "version 1"):
        raise error
