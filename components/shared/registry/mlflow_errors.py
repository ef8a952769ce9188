"""What MLflow says when it does not do what it is asked, as one line with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lidr.components.shared.core.errors import BadInput, LidrError, RegistryFailed
from lidr.components.shared.tracking.client import explained as unavailability

_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_MAX_CHARS = 300


@contextmanager
def explained(client: Any, what: str, *, remedy: str = "") -> Iterator[None]:
    """Turn MLflow's refusals into errors that say what to do.

    Args:
        client: an `mlflow.MlflowClient`, for the address.
        what: is being asked for, for the message.
        remedy: where it does not exist.

    Raises:
        BadInput: it does not exist, or the server does not let us in.
        TrackingFailed: the server does not answer.
        RegistryFailed: it refused this request, or what answers is not MLflow.
    """
    from google.protobuf.json_format import ParseError
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        uri = client.tracking_uri
        raise unavailability(error, uri) or _of_request(error, uri, what, remedy) from error
    except (ParseError, ValueError, TypeError, LookupError, AttributeError, SystemError) as error:
        # what the client makes of an answer that is not MLflow's; protobuf's C code knows the last
        raise RegistryFailed(
            f"{client.tracking_uri} does not answer as MLflow does when asked for {what}",
            remedy="Check MLFLOW_TRACKING_URI, and the version of the server.",
        ) from error


def is_code(error: Any, code: str) -> bool:
    """Return whether an MlflowException has one of MLflow's error codes."""
    return bool(error.error_code == code)


def _of_request(error: Any, uri: str, what: str, remedy: str) -> LidrError:
    said = " ".join(str(error).split())
    if error.error_code in _MISSING and "not found" in said.lower():
        return BadInput(
            f"MLflow at {uri} has no {what}", remedy=remedy or "Check name and address."
        )
    if "Invalid model version source" in said:
        return BadInput(
            f"MLflow at {uri} takes no files on this machine",
            remedy="Use a store on s3://, or the SQLite beside the store.",
        )
    return RegistryFailed(f"MLflow at {uri} refused {what}: {said[:_MAX_CHARS]}")
