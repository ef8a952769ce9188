"""Monitors the runs of a profile's experiment: sends their notices and measures them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lidr.components.shared.config.budget import Account
from lidr.components.shared.config.notify import Notify
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput, StoreError
from lidr.components.shared.core.events import emit
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.usage import amounts, read_usage, total
from lidr.pipelines.cluster import runs
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.outcome import read_outcome
from lidr.pipelines.cluster.status import Watcher
from lidr.pipelines.notices.delivery import deliver, enqueue
from lidr.pipelines.notices.notice import Notice
from lidr.pipelines.notices.notify import end_notice, errors_as_warnings
from lidr.pipelines.notices.observing import OpenStep, notices_of, observe
from lidr.pipelines.stamp import Stamp

_MAX_AGE_SECONDS = 28 * 86400.0
"""Runs created longer ago are not checked: each check lists the experiment's runs back to this
age."""

_RECENT_SECONDS = 86400.0
"""Runs that ended longer ago are skipped: if the exit task has not sent the notice by then, nothing
will."""


@dataclass(frozen=True)
class ObservedRun:
    """What a check has found out about a run.

    Attributes:
        run: its name.
        state: of the run, in lidr's words; `stopped` where budget, gate or reward check ended it.
        steps: those that wait or run.
        gpu_hours: used so far; None if a record of them is damaged.
        unsent: how many notices wait for their receiver.
    """

    run: str
    state: str
    steps: tuple[OpenStep, ...] = ()
    gpu_hours: float | None = 0.0
    unsent: int = 0


class RunMonitor:
    """Checks the runs of a profile.

    Args:
        profile: whose experiment is checked.
        url: the receiver's address; "" sends no notices, but measures.
    """

    def __init__(self, profile: Profile, url: str) -> None:
        self._profile, self._url = profile, url
        self._settings = profile.notify or Notify()
        self._client = Client(profile)
        self._store: Store = open_store(profile.store)
        self._outdated: set[str] = set()

    def check(self, now: float) -> list[ObservedRun]:
        """Check every run that is live or ended within a day, and send the notices that are due.

        A run that cannot be checked is logged and skipped. Runs created over four weeks ago are
        not checked.

        Args:
            now: seconds since 1970.

        Raises:
            BadInput: Kubeflow cannot be read.
        """
        found = []
        for run in self._runs(now):
            with errors_as_warnings(f"run {run.display_name} cannot be checked"):
                found.append(self._check(run, now))
        return found

    def _runs(self, now: float) -> Iterator[runs.Run]:
        """Yield one run of each name on the profile's store: the live one, else the newest.

        Scheduled runs are left out: their exit tasks send their notices.
        """
        found: dict[str, runs.Run] = {}
        for run in runs.list_runs(self._client, self._profile.kubeflow.experiment):
            age = now - (runs.epoch_seconds(run.created_at) or now)
            if age > _MAX_AGE_SECONDS:
                break
            stamp = Stamp.parse(run.description)
            own = stamp is not None and stamp.is_on(self._profile.store)
            if run.recurring_run_id or not own:
                continue
            newer = found.setdefault(run.display_name, run)
            # An older run stuck in CANCELING must not hide the run that replaced it.
            if runs.is_live(run) and run.state != "CANCELING" and not runs.is_live(newer):
                found[run.display_name] = run
            if runs.is_live(run) and age > _MAX_AGE_SECONDS - 86400.0:
                self._warn_of_age(run)
        for run in found.values():
            if runs.is_live(run) or now - runs.epoch_seconds(run.finished_at) < _RECENT_SECONDS:
                yield run

    def _warn_of_age(self, run: runs.Run) -> None:
        """Warn once that a live run will soon be too old to be checked."""
        if run.run_id not in self._outdated:
            self._outdated.add(run.run_id)
            text = "is still live on its last day of being checked: after 28 days no check lists it"
            emit("warning", message=f"run {run.display_name} {text}")

    def _check(self, run: runs.Run, now: float) -> ObservedRun:
        """Check one run."""
        name = str(run.display_name)
        if runs.is_live(run):
            status = Watcher(self._client, self._profile, name, run.run_id).read_status()
            steps = tuple(observe(self._store, status, str(run.run_id), now))
            state, notices = status.state, list(notices_of(name, [*steps], self._settings, now))
        else:
            steps, (state, notices) = (), self._end(run, name)
        for notice in notices:
            if self._url and enqueue(self._store, notice):
                emit("note", message=notice.text)
        done = deliver(self._store, name, self._url)
        if done.left and self._url:
            emit("warning", message=f"run {name}: {done.left} notice(s) wait: {done.reason}")
        return ObservedRun(name, state, steps, self._gpu_hours(name), done.left)

    def _gpu_hours(self, run: str) -> float | None:
        """Return the GPU hours of a run; None, with a warning, if a record of them is damaged."""
        try:
            return total(amounts(read_usage(self._store, run), Account()).values()).gpu_hours
        except StoreError:
            raise
        except BadInput as error:
            emit("warning", message=f"run {run}: its GPU hours are not known: {error}")
            return None

    def _end(self, run: runs.Run, name: str) -> tuple[str, list[Notice]]:
        """Return how a run ended, and its notice, which its exit task has usually sent already."""
        whole = runs.read_run(self._client, run.run_id)
        state = read_outcome(self._client, whole, self._profile.store, name).state
        if state not in ("done", "failed"):
            return state, []
        notice = end_notice(self._store, name, run.run_id, "submit", well=state == "done")
        if notice is None:
            return state, []
        return ("stopped" if notice.kind == "stopped" else state), [notice]
