"""What a check says about one requirement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.text import one_line

State = Literal["ok", "missing", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One requirement.

    Attributes:
        name: of the requirement.
        state: `unknown` where it cannot be told from here, which `detail` gives the reason of.
        detail: what was found, in one line.
        remedy: how to fix it, with the command where there is one; never empty where missing.
    """

    name: str
    state: State
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class CheckInputs:
    """What is to run.

    Attributes:
        recipe: what to learn.
        profile: where.
        seconds: that one subject may take.
    """

    recipe: Recipe
    profile: Profile
    seconds: float

    @property
    def request_seconds(self) -> float:
        """That one answer may take: several fit into a subject's time."""
        return min(10.0, self.seconds / 3)

    @property
    def on_cluster(self) -> bool:
        """Whether pods run it, which see other things than this machine does."""
        return self.profile.runner == "kubeflow"


Subject = Callable[[], Iterator[Finding]]


def ok(name: str, detail: str = "") -> Finding:
    """Return a requirement that is met."""
    return Finding(name, "ok", one_line(detail))


def missing(name: str, detail: str, remedy: str) -> Finding:
    """Return a requirement that is not met."""
    return Finding(name, "missing", one_line(detail), one_line(remedy))


def unknown(name: str, detail: str, remedy: str = "") -> Finding:
    """Return a requirement of which nothing can be checked from here."""
    return Finding(name, "unknown", one_line(detail), one_line(remedy))


def refused(name: str, error: LidrError) -> Finding:
    """Return a requirement that an error of ours speaks of."""
    return missing(name, error.message, error.remedy or "See the message.")
