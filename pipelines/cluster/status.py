"""A run's status out of everything that knows of it: Kubeflow, the store, the pods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import one_line
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import read_failure, run_key
from lidr.pipelines.cluster import runs
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.namespace import Namespace
from lidr.pipelines.cluster.nodes import WorkflowGraph, read_graph
from lidr.pipelines.cluster.outcome import Outcome, outcome_of
from lidr.pipelines.cluster.tasks import TaskPart, beside_steps, parts_of, rows_of
from lidr.pipelines.cluster.waiting import Failed, Seen, look_at
from lidr.pipelines.placement import KINDS
from lidr.pipelines.stamp import Stamp, lidr_version
from lidr.pipelines.status import END, Status, StepRow, merged
from lidr.pipelines.stored import StoredRun

_STALE = (
    "Kubeflow's list of tasks ends before the run did (Argo compresses a large workflow's status); "
    "later steps are shown as the store knows them"
)


class Watcher:
    """Looks at one run, as often as asked.

    Args:
        client: the connection to Kubeflow.
        profile: where the run runs.
        name: of the run.

    Raises:
        BadInput: there is no such run.
    """

    def __init__(self, client: Client, profile: Profile, name: str) -> None:
        self._client = client
        self._profile = profile
        self._name = name
        newest = runs.newest_run(client, profile.kubeflow.experiment, name)
        self.run_id: str = newest.run_id
        self._namespace: Namespace | None = None
        self._notes: list[str] = []
        self._store: Store | None = self._opened(profile.store, Stamp.parse(newest.description))
        try:
            self._namespace = namespace_of(profile)
        except BadInput as error:
            self._notes.append(f"why pods wait is not shown: {error.message}")

    def look(self) -> Status:
        """Return the status as it is now."""
        run = runs.read_run(self._client, self.run_id)
        graph = read_graph(self._client, run)
        stored = StoredRun.read(self._store, self._name) if self._store else None
        known = self._store is not None and not run.recurring_run_id
        outcome = outcome_of(run, graph, stored, known=known)
        parts = parts_of(graph.nodes, runs.first_iteration(run))
        live = runs.is_live(run)
        sure = [part for part in parts if live or not part.is_open]
        kept = list(stored.rows()) if stored else []
        rows = list(
            _with_reuse(
                kept, rows_of(sure, held_by(self._profile)), self._job_gpus().get("train", 0)
            )
        )
        failed = failed_in(parts, graph)
        seen = self._seen(runs.first_iteration(run), failed)
        said = [
            *_disagreement(outcome),
            *_stop(stored),
            *self._notes,
            *([] if len(sure) == len(parts) else [_STALE]),
            *_said(run, graph, seen),
        ]
        return Status(
            run=self._name,
            state=outcome.state,
            place=self._client.host,
            rows=merged(kept, self._with_words(rows, failed), seen.rows),
            notes=tuple(said),
            links=self._links(stored),
        )

    def _with_words(self, rows: list[StepRow], failed: Failed) -> list[StepRow]:
        """Return rows, the failed one with what its step left on the store about it."""
        found = read_failure(self._store, self._name, self.run_id) if self._store else None
        if found is None:
            return rows
        step = found["step"]
        place = END if step == "report" else max(found["iteration"], 0), step
        if place not in failed.steps:  # a task may join several steps
            place = next((each for each in failed.steps if each[0] == place[0]), place)
        words = found["message"] if place[1] == step else f"{step}: {found['message']}"
        return [
            replace(row, note=one_line(f"{row.note}: {words}" if row.note else words))
            if (row.iteration, row.step) == place and row.state == "failed"
            else row
            for row in rows
        ]

    def _opened(self, uri: str, stamp: Stamp | None) -> Store | None:
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

    def _seen(self, first: int, failed: Failed) -> Seen:
        """Return what the pods show, as far as they may be read."""
        if self._namespace is None:
            return Seen()
        try:
            found = self._namespace.pods(self.run_id)
            jobs = self._namespace.jobs(self.run_id) if found else []
            return look_at(self._namespace, found, jobs, first, self._job_gpus(), failed)
        except BadInput as error:
            return Seen(notes=(f"why pods wait is not shown: {error.message}",))

    def _job_gpus(self) -> dict[str, int]:
        """Return the accelerators of a step's TrainJob; empty where steps make none."""
        profile = self._profile
        if profile.training.launcher != "trainjob":
            return {}
        return {
            "train": profile.training.nodes * profile.resources_of("train").accelerators,
            "rollout": profile.shards * profile.resources_of("generate").accelerators,
        }

    def _links(self, stored: StoredRun | None) -> dict[str, str]:
        links = {"Kubeflow": self._client.link(f"runs/details/{self.run_id}")}
        if stored and self._profile.tracking_uri:
            links["MLflow"] = f"{self._profile.tracking_uri}/#/models/{stored.recipe.name}"
        if stored and (result := stored.result):
            links["report"] = str(result["report"])
        return links


def _disagreement(outcome: Outcome) -> Iterator[str]:
    if outcome.note:
        goes_on = "; the same `lidr submit` goes on with it" if outcome.state == "failed" else ""
        yield outcome.note + goes_on


def _stop(stored: StoredRun | None) -> Iterator[str]:
    if stored and stored.budget_stop:
        yield str(stored.budget_stop["reason"])


def failed_in(parts: Iterable[TaskPart], graph: WorkflowGraph) -> Failed:
    """Return what Kubeflow calls failed."""
    steps = frozenset((part.iteration, part.step) for part in parts if part.state == "failed")
    return Failed(steps, frozenset(beside_steps(graph.nodes, "failed")))


def _said(run: runs.Run, graph: WorkflowGraph, seen: Seen) -> Iterator[str]:
    """Yield what there is to say beside the rows."""
    stamp = Stamp.parse(run.description)
    if stamp and stamp.version != lidr_version():
        yield f"submitted by lidr {stamp.version}; this is {lidr_version()}"
    if run.error and run.error.message:
        yield one_line(run.error.message)
    if graph.message and not graph.cancelled:
        yield graph.message
    beside = beside_steps(graph.nodes, "failed")
    if runs.is_live(run):
        beside |= {what: why for what, why in beside_steps(graph.nodes, "waiting").items() if why}
    for what, why in {**beside, **seen.beside}.items():
        yield f"{what}: {why or 'failed'}"
    yield from seen.notes


def held_by(profile: Profile) -> dict[str, int]:
    """Return how many accelerators a task of each step holds; a TrainJob's launcher holds none."""
    held: dict[str, int] = {
        kind: profile.resources_of(kind).accelerators for kind in KINDS.values()
    }
    if profile.training.launcher == "trainjob":
        held["train"] = 0
    return held


def namespace_of(profile: Profile) -> Namespace:
    """Return the namespaces that a profile's runs have their pods and TrainJobs in.

    Raises:
        BadInput: there is no access to a cluster.
    """
    return Namespace(profile.kubeflow.namespace or profile.namespace, profile.namespace)


def _with_reuse(stored: Iterable[StepRow], rows: Iterable[StepRow], gpus: int) -> Iterator[StepRow]:
    """Yield Kubeflow's rows: what took longer once than its task did was not done again.

    Args:
        stored: the store's rows, with the seconds that each stage took when it was made.
        rows: Kubeflow's rows.
        gpus: accelerators that a TrainJob holds in all; 0 where the task itself holds them.
    """
    made = {row.place: row.seconds for row in stored if row.state == "done"}
    for row in rows:
        seconds = made.get(row.place, 0.0)
        if row.state != "done" or not seconds:
            yield row
        elif row.seconds < seconds:
            yield replace(row, note="reused")
        else:
            yield replace(row, gpu_seconds=seconds * gpus) if row.step == "train" and gpus else row
