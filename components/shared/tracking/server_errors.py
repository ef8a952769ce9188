"""What is wrong with MLflow's server or database, from what its client raises."""

from __future__ import annotations

import json
import os
import re
from typing import Any
from urllib.parse import urlsplit

from lidr.components.shared.core.certificates import certificate_problem
from lidr.components.shared.core.errors import BadInput, LidrError, TrackingFailed
from lidr.components.shared.tracking.database import SQLITE, database_file, is_server

_ANSWERED = re.compile(r"(?:too many|error code) ([45]\d\d)\b")
"""HTTP status in a client error; errors without one are about reaching the server."""

_NOT_JSON = "was successful but the response body was not in a valid JSON format"
"""What MLflow's client says of an answer that is not MLflow's, e.g. a page to log in."""

_MAX_CHARS = 200


def server_problem(error: Any, uri: str = "") -> LidrError | None:
    """Return the LidrError for an MlflowException that concerns the server as a whole.

    BadInput if the address is wrong or the server refuses our login, TrackingFailed if it does not
    answer or cannot work; None if it refused only this request. The server's `uri` is by default
    the environment's, or a local store's mlflow.db.
    """
    from mlflow.exceptions import InvalidUrlException

    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or SQLITE
    status, text, where = error.get_http_status_code(), str(error), f"MLflow{_at(uri)}"
    if isinstance(error, InvalidUrlException):
        return BadInput(f"{uri!r} is not an address", remedy="Correct MLFLOW_TRACKING_URI.")
    if status == 401:
        password = "the password of " if os.environ.get("MLFLOW_TRACKING_USERNAME") else ""
        return BadInput(
            f"{where} refuses {password}{_login()}",
            remedy="Correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
            "or MLFLOW_TRACKING_TOKEN.",
        )
    if status == 403 and "Invalid Host header" in text:
        return BadInput(
            f"{where} does not trust the host name {urlsplit(uri).netloc!r}",
            remedy="Add it, with its port, to the server's MLFLOW_SERVER_ALLOWED_HOSTS.",
        )
    if status == 403:
        return BadInput(
            f"{where} does not let {_login()} do this, or what it asked for is gone",
            remedy="Give the user READ, to write EDIT or MANAGE, on the experiment and the model.",
        )
    if certificate := certificate_problem(text, "MLFLOW_TRACKING_SERVER_CERT_PATH"):
        return BadInput(
            f"{where} shows a certificate that is not trusted ({certificate.cause})",
            remedy=certificate.remedy,
        )
    if said := _foreign_answer(error):
        return BadInput(
            f"{uri} does not answer as MLflow does ({said})",
            remedy="Check MLFLOW_TRACKING_URI and the server's version. If a proxy wants a login, "
            "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
        )
    return unavailable(error, uri) if status >= 500 or status == 429 else None


def _foreign_answer(error: Any) -> str:
    """Describe an answer that is not MLflow's, e.g. a gateway's; "" for an answer of MLflow.

    MLflow's client gives JSON without an error code the status 500, whatever its status was. The
    statuses that are worth a retry (429, 500, 502 to 504) never arrive here as JSON: for them the
    client raises before it reads the answer.
    """
    from mlflow.exceptions import RestException

    if isinstance(error, RestException):
        return "" if error.json.get("error_code") else json.dumps(error.json)[:_MAX_CHARS]
    if error.error_code == "ENDPOINT_NOT_FOUND":
        return "HTTP 404"
    return "no JSON: perhaps a page to log in" if _NOT_JSON in str(error) else ""


def _login() -> str:
    """Return who asks MLflow, for messages."""
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return repr(user)
    if os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return "this token"
    if auth := os.environ.get("MLFLOW_TRACKING_AUTH"):
        return f"this {auth} account"
    return "an unnamed user"


def _at(uri: str) -> str:
    place = urlsplit(uri)
    return f" at {place.scheme}://{place.netloc.rpartition('@')[2]}" if place.netloc else ""


def unavailable(error: Any, uri: str) -> TrackingFailed:
    """Return the error for a server or database, at `uri`, that does not answer or work."""
    from mlflow.exceptions import RestException

    text, where = str(error), f"MLflow{_at(uri)}"
    if not is_server(uri):
        file = "the file, its disk, and what else uses it"
        what = file if database_file(uri) else "the database and the login"
        return TrackingFailed(
            f"MLflow's database{_at(uri)} cannot be used ({innermost_cause(text)})",
            remedy=f"Check {what}; then run the same command again.",
        )
    answered = _ANSWERED.search(text)
    if answered or isinstance(error, RestException):
        said = f"HTTP {answered[1]}" if answered else innermost_cause(text)
        return TrackingFailed(
            f"{where} is up, but cannot do its work ({said})",
            remedy="Look at its log and at its database, then run the same command again.",
        )
    return TrackingFailed(
        f"{where} does not answer ({innermost_cause(text)})",
        remedy="Check that the server is running and reachable, then run the same command again.",
    )


def innermost_cause(text: str) -> str:
    """Return the last, innermost part of a chain of network errors, in one line."""
    line = " ".join(text.split())
    return line.rsplit("(Caused by ", 1)[-1].rstrip(")")[:200]
