"""The actor of an operation: a person at a machine, or a task of a pipeline run."""

from __future__ import annotations

import getpass
import os
import socket

from lidr.components.shared.core.text import one_line

_MAX_CHARS = 200


def actor() -> str:
    """Return LIDR_ACTOR, the KFP run and its pod, or `user@host`."""
    named = os.environ.get("LIDR_ACTOR") or _pipeline_task() or f"{_user()}@{socket.gethostname()}"
    return one_line(named)[:_MAX_CHARS]


def _pipeline_task() -> str:
    run = os.environ.get("KFP_RUN_ID", "")
    pod = os.environ.get("KFP_POD_NAME") or socket.gethostname()
    return f"kfp:{run}/{pod}" if run else ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid{os.getuid()}"
