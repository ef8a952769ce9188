"""The profile's `notify`: where a run's notices go, and when one is sent."""

from __future__ import annotations

from pydantic import Field

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.patterns import KUBERNETES_OBJECT, OBJECT_CHARS

NOTIFY_URL = "LIDR_NOTIFY_URL"
"""Environment variable, and key of the Secret, that holds the receiver's address (a secret)."""


class Notify(Strict):
    """Which chat gets notices of a run's end, of long waits and of steps without progress."""

    secret: str = Field("lidr-notify", pattern=KUBERNETES_OBJECT, max_length=OBJECT_CHARS)
    """Secret whose key LIDR_NOTIFY_URL is the address of a chat's incoming webhook. On this machine
    the environment variable of that name holds it. Default lidr-notify."""
    waiting_minutes: float = Field(60.0, ge=0.0)
    """Minutes of waiting after which a step is reported. Default 60; 0 is never."""
    silent_minutes: float = Field(120.0, ge=0.0)
    """Minutes without progress after which a running step is reported. Default 120; 0 is never."""
