"""Turns errors of MLflow's registry into one line with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lidr.components.shared.core.errors import BadInput, LidrError, RegistryFailed
from lidr.components.shared.tracking.server_errors import server_problem

_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_MAX_CHARS = 300


@contextmanager
def wrap_mlflow_errors(client: Any, what: str, *, remedy: str = "") -> Iterator[None]:
    """Turn errors of MLflow in the block into a LidrError with a remedy.

    Error types as general as ValueError count as an answer that is not MLflow's, so the block
    should hold little besides the client's calls.

    Args:
        client: an `mlflow.MlflowClient`, for the server's URI.
        what: the thing asked for, as the message names it.
        remedy: the remedy if `what` does not exist.

    Raises:
        BadInput: it does not exist, or the server refuses our login, or it takes no model files
            from this machine.
        TrackingFailed: the server does not answer, or cannot serve requests now.
        RegistryFailed: it refused this request, or what answers is not MLflow.
    """
    from google.protobuf.json_format import ParseError
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        uri = client.tracking_uri
        raise server_problem(error, uri) or _request_problem(error, uri, what, remedy) from error
    except (ParseError, ValueError, TypeError, LookupError, AttributeError, SystemError) as error:
        # The client raises these for an answer that is not MLflow's; SystemError is protobuf's.
        raise RegistryFailed(
            f"{client.tracking_uri} does not answer as MLflow does when asked for {what}",
            remedy="Check MLFLOW_TRACKING_URI, and the version of the server.",
        ) from error


def _request_problem(error: Any, uri: str, what: str, remedy: str) -> LidrError:
    said = " ".join(str(error).split())
    if error.error_code in _MISSING and "not found" in said.lower():
        return BadInput(
            f"MLflow at {uri} has no {what}: {said[:_MAX_CHARS]}",
            remedy=remedy or "Check name and address.",
        )
    if "Invalid model version source" in said:
        return BadInput(
            f"MLflow at {uri} accepts no model files on this machine",
            remedy="Use a store on s3://, or the SQLite beside the store.",
        )
    return RegistryFailed(
        f"MLflow at {uri} refused {what}: {said[:_MAX_CHARS]}",
        remedy="Look at MLflow's log, then run the same command again.",
    )
