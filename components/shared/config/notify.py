"""Where a run's notices go, and what is worth one."""

from __future__ import annotations

from pydantic import Field

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.pools import NAME

NOTIFY_URL = "LIDR_NOTIFY_URL"
"""Environment variable, and key of the Secret, that holds the receiver's address, a secret."""


class Notify(Strict):
    """Who is told of a run's end, of waits and of steps that stand still."""

    secret: str = Field("lidr-notify", pattern=NAME)
    """Secret whose key LIDR_NOTIFY_URL is the address of a chat's incoming webhook; on this machine
    the environment variable of that name is. Default lidr-notify."""
    waiting_minutes: float = Field(60.0, ge=0.0)
    """A step that has waited for so long is told of. Default 60; 0 is never."""
    silent_minutes: float = Field(120.0, ge=0.0)
    """A step that runs and has made no progress for so long is told of. Default 120; 0 is never."""
