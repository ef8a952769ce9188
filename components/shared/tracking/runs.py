"""The MLflow runs of a lidr run: one for all of it, one for each iteration, one for each stage.

The id of each is noted on the store; of concurrent notes the first one counts. An MLflow run that
was created but not noted (its process died, or another was first) is found by its tags, or deleted.

With Kubeflow Pipelines' MLflow plugin each task has an MLflow run already, named by MLFLOW_RUN_ID,
and so has the whole pipeline. The pipeline's MLflow run then serves as that of the lidr run: it is
neither created nor ended here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from lidr.components.shared.config.load import flatten
from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.base import Store
from lidr.components.shared.tracking.client import client_at, experiment_id, tracking_uri
from lidr.components.shared.tracking.entries import Metric
from lidr.components.shared.tracking.outbox import RUN, Outbox
from lidr.components.shared.tracking.stage_metrics import as_params

_PARENT = "mlflow.parentRunId"
_MAX_METRICS, _MAX_PARAMS, _MAX_TAGS = 800, 100, 100
"""Most of each in one request, which may hold 1,000 in all."""
_MAX_LEVELS = 20
"""Most levels of parents above a task's MLflow run."""


class MlflowRuns:
    """Finds or creates the MLflow runs of a run; `client` is by default one for its store's URI."""

    def __init__(self, store: Store, run: str, client: Any = None) -> None:
        self.outbox = Outbox(store, run)
        self.client = client or client_at(tracking_uri(store.uri))
        self._store = store
        self._recipe = self.outbox.recipe()
        self._injected = self._find_injected()
        self.server = server_of(self.outbox)
        self._experiment = str(self._injected["experiment"]) if self._injected else ""
        self._known: dict[str, str] = {}

    def owns(self, place: str) -> bool:
        """Return whether an MLflow run is ours to end: the pipeline's own is not."""
        return place != RUN or self._injected is None

    def id_of(self, place: str, start: int | None = None) -> str:
        """Return the id of a place's MLflow run, which is created if there is none.

        Args:
            place: `RUN` for the whole run, an iteration (`"3"`) or a stage (`"3-train"`).
            start: when it began, in milliseconds since 1970.
        """
        if place not in self._known:
            self._known[place] = self._noted_run(place) or self._find_or_create(place, start)
        return self._known[place]

    def forget(self, place: str) -> None:
        """Forget a deleted MLflow run, and what was sent to it."""
        self._known.pop(place, None)
        self.outbox.delete_note(self._note_name(place))
        self.outbox.forget_sent(self.server, place)

    def log(
        self,
        run_id: str,
        time: int,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Send data to an MLflow run, in requests of a size that the server accepts.

        Repeating it changes nothing. `time` is that of the metrics, in milliseconds since 1970.
        """
        from mlflow.entities import Metric as Logged
        from mlflow.entities import Param, RunTag

        rows = [Logged(name, value, time, step) for name, value, step in metrics]
        given = [Param(name, value) for name, value in (params or {}).items()]
        facts = [RunTag(name, value) for name, value in (tags or {}).items()]
        while rows or given or facts:
            self.client.log_batch(
                run_id,
                metrics=rows[:_MAX_METRICS],
                params=given[:_MAX_PARAMS],
                tags=facts[:_MAX_TAGS],
            )
            rows, given, facts = rows[_MAX_METRICS:], given[_MAX_PARAMS:], facts[_MAX_TAGS:]

    def _find_injected(self) -> dict[str, Any] | None:
        """Return the ids of the pipeline's own MLflow run and its experiment; None if it has none.

        They are noted on the store for processes outside of the pipeline.
        """
        own = os.environ.get("MLFLOW_RUN_ID")
        note = _pipeline_note(self._store.uri)
        top = self._get_run(own) if own else None
        if top is None:
            return self.outbox.read_note(note)
        for _ in range(_MAX_LEVELS):
            parent = top.data.tags.get(_PARENT)
            if not parent:
                break
            top = self.client.get_run(parent)
        found = {"run": top.info.run_id, "experiment": top.info.experiment_id}
        if self.outbox.read_note(note) != found:
            self.outbox.delete_note(note)
            self.outbox.write_note_once(note, found)
        return found

    def _get_run(self, run_id: str) -> Any:
        """Return the task's own MLflow run; None if it is on another server than ours.

        The plugin always names the run, and its server only with `injectUserEnvVars`.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _noted_run(self, place: str) -> str | None:
        if place == RUN and self._injected:
            return self._adopt()
        note = self.outbox.read_note(self._note_name(place))
        return str(note["run"]) if note else None

    def _adopt(self) -> str:
        """Return the id of the pipeline's own run; log the recipe to it the first time."""
        assert self._injected is not None  # noqa: S101
        run_id = str(self._injected["run"])
        if self.outbox.read_note(self._note_name(RUN)) is None:
            self.log(run_id, 0, params=self._recipe_params(), tags=self._tags(RUN))
            self.outbox.write_note_once(self._note_name(RUN), {"run": run_id})
        return run_id

    def _find_or_create(self, place: str, start: int | None) -> str:
        """Find the MLflow run of a process that died before noting it, or create one."""
        tags = self._tags(place) | self._parent_tag(place, start)
        experiment = self._experiment_id()
        identity = self._identity_tags(place).items()
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity)
        found = self.client.search_runs([experiment], query, order_by=["attributes.run_id"])
        name = self._name(place)
        run = found[0] if found else self.client.create_run(experiment, start, tags, name)
        run_id = str(run.info.run_id)
        if place == RUN or place.isdigit():
            self.log(run_id, 0, params=self._recipe_params())
        noted = str(self.outbox.write_note_once(self._note_name(place), {"run": run_id})["run"])
        if not found and noted != run_id:
            self.client.delete_run(run_id)  # another process noted its own first
        return noted

    def _experiment_id(self) -> str:
        if not self._experiment:
            name = f"lidr/{self._recipe['name']}"
            self._experiment = experiment_id(self.client, name, self._store.uri)
        return self._experiment

    def _name(self, place: str) -> str:
        if place == RUN:
            return self.outbox.run
        iteration, _, step = place.partition("-")
        return f"{self.outbox.run}-M{iteration}" + (f"-{step}" if step else "")

    def _identity_tags(self, place: str) -> dict[str, str]:
        """Return the tags that identify a place on a server that several stores share.

        They include the recipe: a run whose files were deleted may be followed by a namesake.
        """
        return {
            "lidr.key": digest_of([self._store.uri, self.outbox.run, place, self._recipe]),
            **({"lidr.pipeline": str(self._injected["run"])} if self._injected else {}),
        }

    def _tags(self, place: str) -> dict[str, str]:
        iteration, _, step = ("", "", "") if place == RUN else place.partition("-")
        tags = {
            **self._identity_tags(place),
            "lidr.run": self.outbox.run,
            "lidr.store": self._store.uri,
            "lidr.recipe": str(self._recipe["name"]),
            "lidr.recipe_digest": digest_of(self._recipe),
            "lidr.git_sha": os.environ.get("LIDR_GIT_SHA", ""),
            "lidr.kfp_run_id": os.environ.get("KFP_RUN_ID", ""),
            "lidr.iteration": iteration,
            "lidr.step": step,
        }
        return {name: value for name, value in tags.items() if value}

    def _parent_tag(self, place: str, start: int | None) -> dict[str, str]:
        if place == RUN:
            return {}
        iteration, _, step = place.partition("-")
        return {_PARENT: self.id_of(iteration if step else RUN, start)}

    def _recipe_params(self) -> dict[str, str]:
        return as_params(flatten(self._recipe))

    def _note_name(self, place: str) -> str:
        return f"mlflow/{self.server}/{place}"


def server_of(outbox: Outbox) -> str:
    """Return the outbox's name for the tracking server and the pipeline's own run on it."""
    name = _server_name(outbox.store.uri)
    pipeline = outbox.read_note(_pipeline_note(outbox.store.uri))
    return digest_of([name, pipeline["run"]])[:8] if pipeline else name


def _pipeline_note(store: str) -> str:
    return f"pipeline-{_server_name(store)}"


def _server_name(store: str) -> str:
    return digest_of([tracking_uri(store), os.environ.get("MLFLOW_WORKSPACE", "")])[:8]


def iteration_run(store: Store, run: str, iteration: int, client: Any) -> str:
    """Return the id of the MLflow run of an iteration, which its model version links to.

    Raises:
        BadInput: the run has not begun.
    """
    try:
        return MlflowRuns(store, run, client).id_of(str(iteration))
    except FileNotFoundError as error:
        raise BadInput(
            f"run {run!r} in {store.uri} was never begun", remedy="Check --store and the run."
        ) from error
