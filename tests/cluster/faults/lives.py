"""Runs that live through faults: submitted with one command until they are done, then compared."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from tests.cluster.cluster import Cluster
from tests.cluster.contents import contents, differences
from tests.cluster.faults.journal import Journal
from tests.faults.lives import SIZES as SMALL

_ATTEMPTS = 15


def copy_inputs(source: str, target: str) -> None:
    """Copy the stage of prompts and M_0, whose making takes longer than an iteration."""
    from lidr.components.shared.store.open import open_store

    here, there = open_store(source), open_store(target)
    keys = [entry.key for entry in here.list("stages/prepare")]
    for key in sorted(keys, key=lambda key: key.endswith("_SUCCESS")):  # the marker comes last
        if not there.exists(key):
            there.write(key, here.read(key))


class Life(threading.Thread):
    """One run, on a part of the store of its own.

    Args:
        cluster: it runs on.
        journal: told of each attempt and of the end.
        number: of the life.
        wanted: the contents that an undisturbed run leaves.
    """

    def __init__(
        self, cluster: Cluster, journal: Journal, number: int, wanted: Mapping[str, str]
    ) -> None:
        super().__init__(name=f"life-{number}", daemon=True)
        self._cluster = cluster
        self._journal = journal
        self._wanted = wanted
        self._local = str(cluster.options.folder / "small")
        self.number = number
        self.run_name = f"{cluster.prefix}-life-{number}"
        self.home = {"store": f"{cluster.profile.store}/life-{number}"}

    def run(self) -> None:
        """Submit until the run is done, then compare."""
        copy_inputs(self._local, self.home["store"])
        begun, attempt = time.time(), 1
        self._journal.add(entry="begin", life=self.number)
        while not self._attempt():
            if self._cluster.interrupted.is_set():  # it goes on when the series does
                return
            if attempt == _ATTEMPTS:
                self._end(begun, attempt, ["it is not done after so many attempts"])
                return
            attempt += 1
            time.sleep(min(5.0 * attempt, 60.0))  # a lost node's servers take minutes to return
        try:
            self._end(begun, attempt, differences(contents(self.home["store"]), self._wanted))
        except Exception as error:  # whatever it is, the series goes on and this life counts as bad
            self._end(begun, attempt, [f"{type(error).__name__}: {error}"])

    def _attempt(self) -> bool:
        begin = time.time()
        done = self._cluster.submitted(self.run_name, *SMALL, **self.home)
        told = "" if done.code == 0 else done.last(300)
        self._journal.add(
            entry="attempt", life=self.number, begin=round(begin, 1), code=done.code, told=told
        )
        self._cluster.say(f"life {self.number}: lidr submit --wait ended with {done.code} {told}")
        return done.code == 0

    def _end(self, begun: float, attempts: int, other: list[str]) -> None:
        self._journal.add(
            entry="end",
            life=self.number,
            attempts=attempts,
            seconds=round(time.time() - begun),
            files=len(self._wanted),
            equal=not other,
            other=other[:5],
        )
        self._cluster.figures.compared.append(not other)
        self._cluster.say(f"life {self.number}: {'equal' if not other else other[:3]}")
