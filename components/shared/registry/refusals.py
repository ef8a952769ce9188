"""What MLflow says when it does not do what it is asked, as one line with a remedy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from components.shared.errors import BadInput, LidrError, RegistryFailed

_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_HIDDEN = re.compile(r"(?<=://)[^/@\s]+@")


@contextmanager
def explained(client: Any, what: str, *, remedy: str = "") -> Iterator[None]:
    """Turn MLflow's refusals into errors that say what to do.

    Args:
        client: an `mlflow.MlflowClient`, for the address.
        what: is being asked for, for the message.
        remedy: where it does not exist.

    Raises:
        BadInput: it does not exist, or the account or the server's host name is refused.
        RegistryFailed: the server failed, or does not answer.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise _as_lidr(error, place(client.tracking_uri), what, remedy) from error


def is_code(error: Any, code: str) -> bool:
    """Tell whether an MlflowException has one of MLflow's error codes."""
    return bool(error.error_code == code)


def place(uri: str) -> str:
    """Return an MLflow URI without the account that it may hold."""
    return _HIDDEN.sub("", uri)


def _as_lidr(error: Any, server: str, what: str, remedy: str) -> LidrError:
    said = _HIDDEN.sub("", " ".join(str(error).split()))
    if "Invalid Host header" in said:
        host = urlsplit(server).netloc
        return BadInput(
            f"MLflow at {server} does not trust the host name {host}",
            remedy=f"Add {host} to MLFLOW_SERVER_ALLOWED_HOSTS of the server.",
        )
    if is_code(error, "UNAUTHENTICATED") or "error code 401" in said:
        given = "refuses the account" if os.environ.get(_USER) else "wants an account"
        return BadInput(
            f"MLflow at {server} {given}",
            remedy=f"Set {_USER} and MLFLOW_TRACKING_PASSWORD to one that it knows.",
        )
    if is_code(error, "PERMISSION_DENIED"):
        return BadInput(
            f"MLflow at {server} does not let {os.environ.get(_USER, 'this account')} use {what}",
            remedy="Ask for permission, or use another account.",
        )
    if error.error_code in _MISSING and "not found" in said.lower():
        return BadInput(
            f"MLflow at {server} has no {what}", remedy=remedy or "Check name and address."
        )
    if "failed with exception" in said or "Max retries exceeded" in said:
        return RegistryFailed(
            f"MLflow at {server} does not answer",
            remedy="Check MLFLOW_TRACKING_URI and the network, or wait for the server.",
        )
    return RegistryFailed(f"MLflow at {server} refused {what}: {said[:_LONGEST]}")


_USER = "MLFLOW_TRACKING_USERNAME"
_LONGEST = 300
