"""Turns errors of MLflow's registry into one line with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lidr.components.shared.core.errors import BadInput, LidrError, RegistryFailed
from lidr.components.shared.tracking.client import database_errors, open_problem
from lidr.components.shared.tracking.server_errors import server_problem

_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's error codes for what does not exist; the second is that of a missing alias."""

_LOCAL_SOURCE = "To use a local path as a model version source"
"""What a server says of a version whose files lie in a folder, which other machines lack."""

_MAX_CHARS = 300


@contextmanager
def wrap_mlflow_errors(client: Any, what: str, *, remedy: str = "") -> Iterator[None]:
    """Turn errors of MLflow in the block into a LidrError with a remedy.

    A ValueError or the like in the block is taken for an unusable answer: keep other code out of
    it.

    Args:
        client: an `mlflow.MlflowClient`, for its URI: a server's or a database's.
        what: what the request is about, as the message names it.
        remedy: the remedy if `what` does not exist.

    Raises:
        BadInput: `what` does not exist; the server refuses our login, cannot register files in a
            local folder, or is not MLflow; or the database cannot be used.
        TrackingFailed: the server or the database does not answer, or cannot work now.
        RegistryFailed: MLflow refused this request, or its answer is unusable.
    """
    from google.protobuf.json_format import ParseError
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        uri = client.tracking_uri
        raise server_problem(error, uri) or _request_problem(error, uri, what, remedy) from error
    except database_errors(client.tracking_uri) as error:  # of a registry that opens at first use
        raise open_problem(error, client.tracking_uri) from error
    except (ParseError, ValueError, TypeError, LookupError, AttributeError, SystemError) as error:
        # The client raises these for an answer that is not MLflow's; SystemError is protobuf's.
        raise RegistryFailed(
            f"{client.tracking_uri} does not answer as MLflow does ({what})",
            remedy="Check MLFLOW_TRACKING_URI, and the version of the server.",
        ) from error


def _request_problem(error: Any, uri: str, what: str, remedy: str) -> LidrError:
    said = " ".join(str(error).split())
    if error.error_code in _MISSING and "not found" in said.lower():
        return BadInput(
            f"MLflow at {uri} has no {what}: {said[:_MAX_CHARS]}",
            remedy=remedy or "Check name and address.",
        )
    if _LOCAL_SOURCE in said:
        return BadInput(
            f"MLflow at {uri} cannot register files in a local folder",
            remedy="Use a store on s3://, or the SQLite database beside the store.",
        )
    return RegistryFailed(
        f"MLflow at {uri} refused a request ({what}): {said[:_MAX_CHARS]}",
        remedy="Look at MLflow's log, then run the same command again.",
    )
