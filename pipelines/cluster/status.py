"""A run's status out of everything that knows of it: Kubeflow, the store, the pods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from components.shared.errors import BadInput
from components.shared.profile import Profile
from components.shared.store import Store, open_store
from components.shared.text import one_line
from pipelines.cluster import runs
from pipelines.cluster.client import Client
from pipelines.cluster.namespace import Namespace
from pipelines.cluster.tasks import RUN_STATES, parts_of, rows_of
from pipelines.cluster.waiting import rows_of_pods
from pipelines.placement import KINDS
from pipelines.stamp import Stamp, lidr_version
from pipelines.status import Row, Status, merged
from pipelines.stored import StoredRun


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
        self.run_id: str = runs.newest_run(client, profile.kubeflow.experiment, name).run_id
        self._namespace: Namespace | None = None
        self._notes: list[str] = []
        self._store: Store | None = self._opened(profile.store)
        try:
            self._namespace = namespace_of(profile)
        except BadInput as error:
            self._notes.append(f"why pods wait is not shown: {error.message}")

    def look(self) -> Status:
        """Return the status as it is now."""
        run = runs.read_run(self._client, self.run_id)
        stamp = Stamp.parse(run.description)
        first = int(stamp.first) if stamp else 1
        notes = list(self._notes)
        if stamp and stamp.version != lidr_version():
            notes.append(f"submitted by lidr {stamp.version}; this is {lidr_version()}")
        if run.error and run.error.message:
            notes.append(one_line(run.error.message))
        stored = StoredRun.read(self._store, self._name) if self._store else None
        kept = list(stored.rows()) if stored else []
        told = rows_of(parts_of(run, first), held_by(self._profile))
        told = list(_with_reuse(kept, told, self._job_gpus()))
        rows = merged(kept, told, self._pods(first, notes))
        return Status(
            run=self._name,
            state=RUN_STATES.get(run.state or "PENDING", "waiting"),
            place=self._client.host,
            rows=rows,
            notes=tuple(notes),
            links=self._links(stored),
        )

    def _opened(self, uri: str) -> Store | None:
        try:
            store = open_store(uri)
            store.exists(f"runs/{self._name}/recipe.json")
        except BadInput as error:
            self._notes.append(f"the store is not shown: {error.message}")
            return None
        return store

    def _pods(self, first: int, notes: list[str]) -> Iterable[Row]:
        """Return what the pods tell; less access means fewer rows."""
        if self._namespace is None:
            return []
        gpus = self._job_gpus()
        try:
            found = self._namespace.pods(self.run_id)
            jobs = self._namespace.jobs(self.run_id) if found else []
            return list(rows_of_pods(self._namespace, found, jobs, first, gpus))
        except BadInput as error:
            notes.append(f"why pods wait is not shown: {error.message}")
            return []

    def _job_gpus(self) -> int:
        """Return the accelerators of a TrainJob; 0 where training runs in the step's own pod."""
        training = self._profile.training
        gpus = training.nodes * self._profile.resources_of("train").accelerators
        return gpus if training.launcher == "trainjob" else 0

    def _links(self, stored: StoredRun | None) -> dict[str, str]:
        links = {"Kubeflow": self._client.link(f"runs/details/{self.run_id}")}
        if stored and self._profile.tracking_uri:
            links["MLflow"] = f"{self._profile.tracking_uri}/#/models/{stored.recipe.name}"
        if stored and (result := stored.result):
            links["report"] = str(result["report"])
        return links


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


def _with_reuse(stored: Iterable[Row], told: Iterable[Row], gpus: int) -> Iterator[Row]:
    """Yield Kubeflow's rows: what took longer once than its task did was not done again.

    Args:
        stored: the store's rows, with the seconds that each stage took when it was made.
        told: Kubeflow's rows.
        gpus: accelerators that a TrainJob holds in all; 0 where the task itself holds them.
    """
    made = {row.place: row.seconds for row in stored if row.state == "done"}
    for row in told:
        seconds = made.get(row.place, 0.0)
        if row.state != "done" or not seconds:
            yield row
        elif row.seconds < seconds:
            yield replace(row, note="reused")
        else:
            yield replace(row, gpu_seconds=seconds * gpus) if row.step == "train" and gpus else row
