"""The client of an S3 server, by boto3."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from typing import Any

from lidr.components.shared.core.errors import StoreError
from lidr.components.shared.core.redaction import service_login_fault

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Environment variables with the store's address: the first that is set wins."""

_CONNECT_SECONDS, _READ_SECONDS = 10.0, 60.0
_ATTEMPTS, _QUICK_ATTEMPTS = 4, 2
"""Attempts by botocore itself; fewer where our own retries end within a minute."""


def s3_client(seconds: float) -> Any:
    """Return the client that a process's stores share in one environment, for one retry time.

    Args:
        seconds: for which the caller retries transient errors.

    Raises:
        StoreError: the address is not a URL, or holds credentials.
    """
    return _shared_client(seconds, os.getpid(), frozenset(os.environ.items()))


@lru_cache(maxsize=4)
def _shared_client(seconds: float, process: int, environment: frozenset[tuple[str, str]]) -> Any:
    """Make a client once.

    Args:
        seconds: for which transient errors are retried.
        process: that uses it; connections do not survive a fork.
        environment: all that boto3 may read.
    """
    return new_client(seconds)


def new_client(seconds: float) -> Any:
    """Return a new client; making it takes boto3 50 ms of a core. See `s3_client`."""
    import boto3
    from botocore.config import Config

    # KFP's executor logs the libraries from INFO on, and each client logs two lines.
    if not (log := logging.getLogger("botocore")).level:
        log.setLevel(logging.WARNING)
    for name in ENDPOINT_VARIABLES:
        if fault := service_login_fault(os.environ.get(name, "")):
            raise StoreError(
                f"the address in {name} {fault}",
                remedy="Put it into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            )
    retries: Any = {"mode": "adaptive"}
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = _ATTEMPTS if seconds > _READ_SECONDS else _QUICK_ATTEMPTS
    config = Config(
        retries=retries,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=min(_READ_SECONDS, max(seconds, _CONNECT_SECONDS)),
        max_pool_connections=16,
        user_agent_extra="lidr",
    )
    try:
        return boto3.client("s3", config=config)
    except ValueError as error:  # botocore's error for an endpoint that is not a URL
        raise StoreError(
            f"S3 cannot be used: {error}", remedy=f"Correct {' or '.join(ENDPOINT_VARIABLES)}."
        ) from error
