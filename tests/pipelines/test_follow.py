"""Following a run goes on through outages of what tells of it."""

from __future__ import annotations

import pytest

from lidr.components.shared.core.errors import BadInput, StoreUnavailable, Unavailable
from lidr.pipelines.cluster import watch
from lidr.pipelines.status import Status


class Watcher:
    """Returns the given statuses, or raises the given errors, one after another."""

    def __init__(self, *told: object) -> None:
        self.told = list(told)

    def read_status(self) -> Status:
        found = self.told.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.mark.parametrize("outage", [Unavailable("away"), StoreUnavailable("away")])
def test_follow_waits_for_a_service_that_is_away(outage: Exception):
    done = Status("run", "done", "here", [])
    watcher = Watcher(outage, outage, done)
    assert watch.follow(lambda: watcher, lambda status: None, 0.01) is done


def test_follow_ends_with_what_no_waiting_mends():
    with pytest.raises(BadInput, match="forbidden"):
        watch.follow(lambda: Watcher(BadInput("forbidden")), lambda status: None)
