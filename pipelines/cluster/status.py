"""A run's status from Kubeflow, the store and the pods."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput, StoreError
from lidr.components.shared.core.text import one_line
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import read_failure, run_key, scheduled_run
from lidr.components.shared.store.usage import Usage, read_usage
from lidr.pipelines.cluster import runs
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.namespace import RunNamespaces, namespace_of
from lidr.pipelines.cluster.nodes import WorkflowGraph, read_graph
from lidr.pipelines.cluster.outcome import RunOutcome, outcome_of
from lidr.pipelines.cluster.tasks import StepTask, other_tasks, rows_of, step_tasks
from lidr.pipelines.cluster.waiting import FailedTasks, PodReport, inspect_pods
from lidr.pipelines.stamp import Stamp, lidr_version
from lidr.pipelines.status import END, SHOWN, Status, StepRow, merged
from lidr.pipelines.stored import StoredRun

_STALE = (
    "Kubeflow's list of tasks ends before the run did (Argo compresses a large workflow's status); "
    "later steps are shown from the store"
)
_NO_PODS = (
    "Kubeflow calls the run running, but no pod of it is in namespace {}. If its Workflow was "
    "deleted, `lidr cancel` ends it, and the same `lidr submit` continues it"
)


class Watcher:
    """Reads the status of one run, repeatedly.

    Args:
        client: of the profile's Kubeflow.
        profile: where the run is.
        name: of the run.
        run_id: which of that name; "" for the newest.

    Raises:
        BadInput: there is no such run.
    """

    def __init__(self, client: Client, profile: Profile, name: str, run_id: str = "") -> None:
        self._client = client
        self._profile = profile
        self._name = name
        if run_id:
            found = runs.read_run(client, run_id)
        else:
            found = runs.newest_run(client, profile.kubeflow.experiment, name)
        self.run_id: str = found.run_id
        self._namespace: RunNamespaces | None = None
        self._notes: list[str] = []
        self._store: Store | None = self._open_store(profile.store, Stamp.parse(found.description))
        try:
            self._namespace = namespace_of(profile)
        except BadInput as error:
            self._notes.append(f"why pods wait is not shown: {error.message}")

    def read_status(self) -> Status:
        """Return the current status."""
        run = runs.read_run(self._client, self.run_id)
        graph = read_graph(self._client, run)
        stored = StoredRun.read(self._store, self._name) if self._store else None
        # A promotion, or a run not submitted by lidr, writes no result; a schedule's run has
        # its result under another name.
        ours = Stamp.parse(run.description) is not None and not run.recurring_run_id
        known = self._store is not None and ours
        outcome = outcome_of(run, graph, stored, known=known)
        parts = step_tasks(graph.nodes, runs.first_iteration(run))
        live = runs.is_live(run) and outcome.state != "cancelled"
        current = [part for part in parts if live or not part.is_open]
        stored_rows = list(stored.rows()) if stored else []
        rows = list(_mark_reused(stored_rows, rows_of(current)))
        failed = failed_tasks(parts, graph)
        begun = live and any(node.began for node in graph.nodes)
        report = self._inspect_pods(runs.first_iteration(run), failed, begun=begun)
        gpu_rows = self._gpu_rows(run)
        notes = [
            *_outcome_notes(outcome, stored),
            *self._notes,
            *([] if len(current) == len(parts) or outcome.state == "cancelled" else [_STALE]),
            *_run_notes(run, graph, report),
        ]
        return Status(
            run=self._name,
            state=outcome.state,
            place=self._client.host,
            rows=merged(stored_rows, gpu_rows, self._add_failure(rows, failed), report.rows),
            notes=tuple(notes),
            links=self._links(stored),
        )

    def _gpu_rows(self, run: runs.Run) -> list[StepRow]:
        """Return how long the run's processes have held GPUs, as they note it on the store.

        Kubeflow's tasks do not show this: their times include the wait for a node.
        """
        if self._store is None:
            return []
        name = scheduled_run(self._store, self.run_id) if run.recurring_run_id else self._name
        seconds: dict[tuple[int, str], float] = defaultdict(float)
        for usage in self._read_usage(self._store, name) if name else []:
            seconds[usage.iteration, usage.step] += usage.gpu_seconds
        return [
            StepRow(iteration, step, gpu_seconds=held)
            for (iteration, step), held in seconds.items()
            if step in SHOWN
        ]

    def _read_usage(self, store: Store, name: str) -> list[Usage]:
        """Return a run's records of GPU time; none if one is damaged, which a note then says."""
        try:
            return read_usage(store, name)
        except StoreError:
            raise
        except BadInput as error:
            note = f"GPU hours are not shown: {error.message}"
            self._notes += [note] if note not in self._notes else []
            return []

    def _add_failure(self, rows: list[StepRow], failed: FailedTasks) -> list[StepRow]:
        """Return rows, the failed one with the message that its step left on the store."""
        found = read_failure(self._store, self._name, self.run_id) if self._store else None
        if found is None:
            return rows
        step = found["step"]
        place = END if step == "report" else max(found["iteration"], 0), step
        if place not in failed.steps:  # a task may join several steps
            place = next((each for each in failed.steps if each[0] == place[0]), place)
        message = found["message"] if place[1] == step else f"{step}: {found['message']}"
        return [
            replace(row, note=one_line(f"{row.note}: {message}" if row.note else message))
            if (row.iteration, row.step) == place and row.state == "failed"
            else row
            for row in rows
        ]

    def _open_store(self, uri: str, stamp: Stamp | None) -> Store | None:
        if stamp and not stamp.is_on(uri):
            self._notes.append(
                f"the run is on the store {stamp.store}, not on the profile's ({uri}): what it has "
                "written is not shown"
            )
            return None
        try:
            store = open_store(uri)
            store.exists(run_key(self._name, "recipe.json"))
        except BadInput as error:
            self._notes.append(f"the store is not shown: {error.message}")
            return None
        return store

    def _inspect_pods(self, first: int, failed: FailedTasks, *, begun: bool) -> PodReport:
        """Return what the pods show, as far as they may be read.

        Args:
            first: the first iteration that the run's pipeline holds.
            failed: what has failed.
            begun: whether the run is live and a task of it has begun, so that it must have pods.
        """
        if self._namespace is None:
            return PodReport()
        try:
            found = self._namespace.pods(self.run_id)
            if begun and not found:
                return PodReport(notes=(_NO_PODS.format(self._namespace.name),))
            return inspect_pods(self._namespace, found, self.run_id, first, failed)
        except BadInput as error:
            return PodReport(notes=(f"why pods wait is not shown: {error.message}",))

    def _links(self, stored: StoredRun | None) -> dict[str, str]:
        links = {"Kubeflow": self._client.link(f"runs/details/{self.run_id}")}
        if stored:
            links |= runs.mlflow_link(self._profile, stored.recipe)
        if stored and (result := stored.result):
            links["report"] = str(result["report"])
        return links


def _outcome_notes(outcome: RunOutcome, stored: StoredRun | None) -> Iterator[str]:
    if outcome.note:
        remedy = "; the same `lidr submit` continues it" if outcome.state == "failed" else ""
        yield outcome.note + remedy
    if stored and stored.stop_reason:
        yield stored.stop_reason


def failed_tasks(parts: Iterable[StepTask], graph: WorkflowGraph) -> FailedTasks:
    """Return what has failed according to Kubeflow."""
    steps = frozenset((part.iteration, part.step) for part in parts if part.state == "failed")
    return FailedTasks(steps, frozenset(other_tasks(graph.nodes, "failed")))


def _run_notes(run: runs.Run, graph: WorkflowGraph, report: PodReport) -> Iterator[str]:
    """Yield what the rows do not show."""
    stamp = Stamp.parse(run.description)
    if stamp and stamp.version != lidr_version():
        yield f"submitted by lidr {stamp.version}; this is {lidr_version()}"
    if run.error and run.error.message:
        yield one_line(run.error.message)
    if graph.message and not graph.cancelled:
        yield graph.message
    others = other_tasks(graph.nodes, "failed")
    if runs.is_live(run):
        others |= {what: why for what, why in other_tasks(graph.nodes, "waiting").items() if why}
    for what, why in {**others, **report.others}.items():
        yield f"{what}: {why or 'failed'}"
    yield from report.notes


def _mark_reused(stored: Iterable[StepRow], rows: Iterable[StepRow]) -> Iterator[StepRow]:
    """Yield Kubeflow's rows; a step whose task took less time than its stage was reused.

    Args:
        stored: the store's rows, with the seconds that each stage took when it was made.
        rows: Kubeflow's rows.
    """
    made = {row.place: row.seconds for row in stored if row.state == "done"}
    for row in rows:
        reused = row.state == "done" and row.seconds < made.get(row.place, 0.0)
        yield replace(row, note="reused") if reused else row
