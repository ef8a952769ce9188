"""Delivers a run's outbox to MLflow, in bounded time and as often as needed."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput, LidrError, StoreError
from lidr.components.shared.core.events import emit
from lidr.components.shared.store.base import Store
from lidr.components.shared.tracking.entries import Dataset, TrackingEntry
from lidr.components.shared.tracking.outbox import END, METRICS, RUN, Outbox, Waiting, iteration_of
from lidr.components.shared.tracking.runs import MlflowRuns, server_of
from lidr.components.shared.tracking.server_errors import server_problem

_RETRY_SECONDS = 1.0
_ENTRY_STATUSES = frozenset(range(400, 500)) - {401, 403, 407, 408, 425, 429}
"""HTTP statuses that concern one artifact, not our login or a passing state of the server."""

_GONE = ("RESOURCE_DOES_NOT_EXIST", "'active' state")


@dataclass(frozen=True)
class Delivered:
    """The outcome of a delivery.

    Attributes:
        sent: number of entries that were delivered.
        left: number of entries that MLflow does not have yet; 1 if the store cannot be listed.
        problem: why entries are left, as one line for the user; "" if none is.
    """

    sent: int
    left: int
    problem: str = ""


def deliver(store: Store, run: str, seconds: float) -> Delivered:
    """Deliver a run's outbox to MLflow; what MLflow does not accept stays in the outbox.

    It stops after `seconds`, whether it is then sending or retrying.
    """
    end = time.monotonic() + seconds
    sent = 0
    while True:
        retry = True
        try:
            delivery = _Delivery(MlflowRuns(store, run), end)
            outcome = delivery.run()
            retry = delivery.gone or delivery.unavailable
        except StoreError as error:
            outcome = Delivered(0, 1, str(error))
        except LidrError as error:
            outcome, retry = _failed(store, run, error), False
        except _mlflow_error() as error:
            problem = server_problem(error)
            outcome = _failed(store, run, problem or error)
            retry = not isinstance(problem, BadInput)
        sent += outcome.sent
        if not outcome.left or not retry or time.monotonic() > end - _RETRY_SECONDS:
            return Delivered(sent, outcome.left, outcome.problem)
        time.sleep(_RETRY_SECONDS)


def _failed(store: Store, run: str, error: Exception) -> Delivered:
    outbox = Outbox(store, run)
    left = outbox.waiting(server_of(outbox)).left
    return Delivered(0, len(left), " ".join(str(error).split()))


def anything_waits(store: Store, run: str) -> bool:
    """Return whether a run's outbox holds undelivered entries; needs no MLflow."""
    outbox = Outbox(store, run)
    return bool(outbox.waiting(server_of(outbox)).left)


def warn_undelivered(outcome: Delivered, run: str) -> None:
    """Warn the user of entries that could not be delivered yet."""
    if outcome.left:
        emit(
            "warning",
            message=f"{outcome.problem.rstrip('.')}. Notes for MLflow wait on the store; "
            f"`lidr report {run}` delivers them",
        )


class _Delivery:
    """One pass over the outbox.

    Args:
        runs: on the MLflow server.
        end: monotonic time at which to stop.
    """

    def __init__(self, runs: MlflowRuns, end: float) -> None:
        self._runs = runs
        self._outbox = runs.outbox
        self._end = end
        self._touched: set[str] = set()
        self._state_entries: list[tuple[str, str]] = []
        """Logged entries that start or end a run; they count as sent once its state is set, too."""
        self.gone = False
        """Whether one of the MLflow runs was deleted; the next delivery creates it again."""
        self.unavailable = False
        """Whether MLflow's artifact store did not answer."""

    def run(self) -> Delivered:
        waiting = self._outbox.waiting(self._runs.server)
        sent, problem = 0, ""
        for place, name in waiting.left:
            if time.monotonic() > self._end:
                problem = problem or "MLflow is slow"
                break
            refused = self._send(place, name)
            problem = problem or refused
            sent += not refused
        self._end_runs(waiting)
        if self.gone:
            sent, problem = sent - len(self._state_entries), problem or "an MLflow run was deleted"
        else:
            for place, name in self._state_entries:
                self._outbox.mark_sent(self._runs.server, place, name)
        return Delivered(sent, len(waiting.left) - sent, problem)

    def _send(self, place: str, name: str) -> str:
        """Deliver an entry; return what is wrong with this entry alone, or ""."""
        try:
            entry = self._outbox.read(place, name)
            files = {each.path: self._outbox.store.read(each.key) for each in entry.artifacts}
        except StoreError:
            raise
        except FileNotFoundError as error:
            return _entry_problem("the store lacks a file of", place, name, error)
        except BadInput as error:
            return str(error)
        try:
            self._log(entry, files)
        except _mlflow_error() as error:
            if server_problem(error) is not None:
                raise
            if _is_gone(error):
                self._forget(place)
            return _entry_problem("MLflow refused", place, name, error)
        except _artifact_errors() as error:
            if _refuses_entry(error):
                return _entry_problem("MLflow's artifact store refused", place, name, error)
            self.unavailable = True
            return _entry_problem("MLflow's artifact store does not take", place, name, error)
        if name.startswith(METRICS):
            self._outbox.mark_sent(self._runs.server, place, name)
        else:
            self._state_entries.append((place, name))
        return ""

    def _log(self, entry: TrackingEntry, files: Mapping[str, bytes]) -> None:
        iteration = iteration_of(entry.place)
        own = self._runs.id_of(entry.place, entry.time)
        rows = [*entry.metrics, *entry.headline]
        self._runs.log(own, entry.time, rows, entry.params, entry.tags)
        _log_datasets(self._runs.client, own, entry.datasets)
        self._log_artifacts(own, files)
        self._touched |= {entry.place, RUN}
        if iteration is None:
            return
        above = self._runs.id_of(str(iteration), entry.time)
        tags = {k: v for k, v in entry.tags.items() if k.startswith("lidr.gate.")}
        self._runs.log(above, entry.time, entry.headline, tags=tags)
        _log_datasets(self._runs.client, above, entry.datasets)
        self._runs.log(self._runs.id_of(RUN), entry.time, entry.headline)
        self._touched.add(str(iteration))

    def _log_artifacts(self, run_id: str, files: Mapping[str, bytes]) -> None:
        if not files:
            return
        with tempfile.TemporaryDirectory(prefix="lidr-tracking-") as folder:
            for name, data in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            self._runs.client.log_artifacts(run_id, folder)

    def _end_runs(self, waiting: Waiting) -> None:
        """Set the state of the MLflow runs that were logged to, from all entries of the outbox."""
        for place in sorted(self._touched):
            if not self._runs.owns(place):
                continue
            try:
                self._set_state(place, *self._state(place, waiting.names))
            except _mlflow_error() as error:
                if not _is_gone(error):
                    raise
                self._forget(place)

    def _set_state(self, place: str, state: str, ended: int | None) -> None:
        run_id = self._runs.id_of(place)
        if ended is None:
            self._runs.client.update_run(run_id, status=state)
        else:
            self._runs.client.set_terminated(run_id, state, end_time=ended)

    def _state(self, place: str, names: dict[str, list[str]]) -> tuple[str, int | None]:
        """Return an MLflow run's state, and when it ended in milliseconds since 1970.

        An end is final; of a failure and a start the later one counts.
        """
        source = f"{place}-register" if place.isdigit() else place
        own = names.get(source, [])
        if ends := [name for name in own if name.startswith(END)]:
            times = [self._end_time(source, name) for name in ends]
            return "FINISHED", max((each for each in times if each is not None), default=None)
        starts = names.values() if place == RUN else [own]
        began = max((_time(n) for each in starts for n in each if n.startswith("start")), default=0)
        failed = max((_time(name) for name in own if name.startswith("failed")), default=-1)
        return ("FAILED", failed) if failed >= began else ("RUNNING", None)

    def _end_time(self, place: str, name: str) -> int | None:
        """Return the time of an end; None if its entry is damaged, which `_send` reports."""
        try:
            return self._outbox.read(place, name).time
        except StoreError:
            raise
        except BadInput:
            return None

    def _forget(self, place: str) -> None:
        """Have a place's MLflow runs created again by the next delivery: one was deleted."""
        self.gone = True
        for each in {place, str(iteration_of(place)), RUN} - {"None"}:
            if each != RUN or self._runs.owns(RUN):
                self._runs.forget(each)


def _entry_problem(what: str, place: str, name: str, error: Exception) -> str:
    return f"{what} {place}/{name}: {' '.join(str(error).split())[:300]}"


def _refuses_entry(error: Exception) -> bool:
    """Return whether only this entry's artifacts are refused; another entry's may arrive."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status in _ENTRY_STATUSES


def _is_gone(error: Exception) -> bool:
    return any(sign in str(error) for sign in _GONE)


def _time(name: str) -> int:
    return int(name.split("-")[1])


def _log_datasets(client: Any, run_id: str, datasets: Sequence[Dataset]) -> None:
    if not datasets:
        return
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import DatasetInput, InputTag

    inputs = []
    for each in datasets:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow finds two equal ways to read a folder
            source = resolve_dataset_source(each.uri)
        dataset = MetaDataset(source, name=each.name, digest=each.digest)
        tags = [InputTag("mlflow.data.context", each.context)]
        inputs.append(DatasetInput(dataset._to_mlflow_entity(), tags))
    client.log_inputs(run_id, inputs)


def _artifact_errors() -> tuple[type[Exception], ...]:
    """Return the errors of the artifact store that MLflow does not wrap: HTTP's, a disk's, S3's."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return (OSError, Boto3Error, BotoCoreError, ClientError)


def _mlflow_error() -> type[Exception]:
    from mlflow.exceptions import MlflowException

    error: type[Exception] = MlflowException
    return error
