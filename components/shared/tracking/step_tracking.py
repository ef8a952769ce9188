"""What every step of a run does for tracking: note its start and its end, and have them delivered.

Nothing here stops or delays a step: what cannot be written is a warning, what cannot be delivered
waits. Only `register` and `report`, which need MLflow or come last, deliver in their own time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from lidr.components.shared.config.machine import Machine
from lidr.components.shared.core.digest import digest_of_bytes
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.steps import STEPS, step_named
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import locate_stage
from lidr.components.shared.tracking import stage_metrics
from lidr.components.shared.tracking.client import is_server, tracking_uri
from lidr.components.shared.tracking.delivery import anything_waits, deliver, report
from lidr.components.shared.tracking.entries import Artifact, TrackingEntry
from lidr.components.shared.tracking.outbox import END, RUN, Outbox, now, place_of
from lidr.components.shared.tracking.stage_metrics import clean
from lidr.components.shared.tracking.uploader import uploader

if TYPE_CHECKING:
    from lidr.components.shared.store.base import Store

_DELIVERS = {step.name: step.delivers for step in STEPS if step.delivers}
"""Steps that deliver themselves what waits, and for how many seconds they try."""

ENDED_WELL = ("SUCCEEDED", "COMPLETE")
"""What `kfp.local` and Kubeflow Pipelines tell the exit task of a loop that ended well."""

_USED = ("gpu_hours", "cost")

Note = Callable[[object], None]
"""Takes a step's result."""


@contextmanager
def following(
    step: str, arguments: Mapping[str, Any], reused: Callable[[], bool]
) -> Iterator[Note]:
    """Track what happens inside as a step of the run that its arguments name.

    Args:
        step: name of the step.
        arguments: of its function: `run`, `store`, `recipe`, `iteration` are of interest.
        reused: tells whether the step found its work done.

    Yields:
        A function to be called with the step's result.
    """
    if not step_named(step).tracked or not arguments.get("run"):
        yield lambda result: None
        return

    follower = _Follower(step, arguments, open_store(str(arguments["store"])), reused)
    with follower.delivering():
        follower.start()
        try:
            yield follower.end
        except BaseException as error:
            follower.fail(error)
            raise


class _Follower:
    """One step of a run."""

    def __init__(
        self, step: str, arguments: Mapping[str, Any], store: Store, reused: Callable[[], bool]
    ) -> None:
        self._step = step
        self._arguments = arguments
        self._store = store
        self._reused = reused
        self._run = str(arguments["run"])
        self._iteration = int(arguments.get("iteration", 0))
        self._outbox = Outbox(store, self._run)
        self._whole = step in ("report", "cleanup")
        name = _last_of_rollout(arguments) if step == "merge" else step
        self._place = RUN if self._whole else place_of(self._iteration, name)

    def start(self) -> None:
        """Note that the step begins, unless it has ended before."""
        with _harmless():
            if self._arguments.get("recipe"):
                self._outbox.keep_recipe(str(self._arguments["recipe"]))
            if not self._whole and not self._outbox.has(self._place, END):
                moment = now()
                self._outbox.add(TrackingEntry(self._place, f"start-{moment}", moment))

    def end(self, result: object) -> None:
        """Note what the step made."""
        with _harmless():
            if self._step == "report" and "reason" not in self._arguments:
                self._end_run()
            elif self._step == "report":
                pass  # of a failed run, which cleanup has noted
            elif self._step == "cleanup":
                self._end_loop()
            elif self._step == "register":
                tags = {"lidr.version": str(result)}
                self._outbox.add(TrackingEntry(self._place, END, now(), tags=tags))
            else:
                uris = result if isinstance(result, tuple) else (result,)
                for uri in filter(None, map(str, uris)):
                    self._end_stage(uri)

    def fail(self, error: BaseException) -> None:
        """Note that the step failed, and why."""
        with _harmless():
            moment = now()
            tags = {"lidr.error": clean(str(error) or type(error).__name__)}
            self._outbox.add(TrackingEntry(self._place, f"failed-{moment}", moment, tags=tags))

    @contextmanager
    def delivering(self) -> Iterator[None]:
        """Have what waits delivered: beside the step to a server, else by the steps that wait."""
        with self._uploader():
            yield
        if self._step in _DELIVERS:
            with _harmless():
                self._deliver()

    def _uploader(self) -> Any:
        with suppress(LidrError):  # register says what is wrong with the address
            if self._step not in _DELIVERS and is_server(tracking_uri(self._store.uri)):
                return uploader(self._store.uri, self._run)
        return nullcontext()

    def _deliver(self) -> None:
        if anything_waits(self._store, self._run):
            report(deliver(self._store, self._run, _DELIVERS[self._step]), self._run)

    def _end_stage(self, uri: str) -> None:
        stage = locate_stage(uri)
        step = uri.split("/")[-2]
        place = place_of(self._iteration, step)
        if not stage.done() or self._outbox.has(place, END):
            return  # other shards are at work, or another execution of the run was first
        tags = {
            **stage_metrics.tags_of(step, stage),
            "lidr.reused": str(self._was_reused(step)).lower(),
        }
        metrics = stage_metrics.metrics_of(step, stage, self._iteration)
        if step == "train":
            told = self._outbox.steps_reported(place)
            metrics = [row for row in metrics if row[2] > told]
        self._outbox.add(
            TrackingEntry(
                place,
                END,
                now(),
                tags=tags,
                params=stage_metrics.params_of(stage),
                metrics=metrics,
                headline=stage_metrics.headline_of(step, stage, self._iteration),
                datasets=stage_metrics.datasets_of(step, stage),
            )
        )

    def _was_reused(self, step: str) -> bool:
        """Tell whether an earlier execution made the stage: a fused one was made by generate."""
        if step != "translate" or not self._reused():
            return self._reused()
        place = place_of(self._iteration, "generate")
        fused = Machine.here().engine.fused
        if not fused or not self._outbox.has(place, END):
            return True
        return self._outbox.read(place, END).tags["lidr.reused"] == "true"

    def _end_run(self) -> None:
        """Note the run's report, a new one only where it differs."""
        folder = f"runs/{self._run}"
        shown = {
            "report.html": "report.html",
            "result.json": "result.json",
            "tracking/recipe.json": "recipe.json",
        }
        result = self._store.read(f"{folder}/result.json")
        told = json.loads(result)
        stopped = told.get("stopped")
        reason = clean(str(stopped["reason"])) if stopped else ""
        tags = {"lidr.stopped": reason} if reason or self._outbox.has_ended() else {}
        used = told.get("used", {})
        last = len(told.get("iterations", ())) - 1
        metrics = [(f"used/{key}", float(used[key]), last) for key in _USED if used.get(key)]
        artifacts = [Artifact(f"{folder}/{key}", path) for key, path in shown.items()]
        plots = [entry.key for entry in self._store.list(f"{folder}/plots")]
        artifacts += [Artifact(key, key.removeprefix(f"{folder}/")) for key in plots]
        name = f"{END}-{digest_of_bytes(result)[:12]}"
        self._outbox.add(
            TrackingEntry(RUN, name, now(), tags=tags, metrics=metrics, artifacts=artifacts)
        )

    def _end_loop(self) -> None:
        """Note that the loop failed or was cancelled; its report says the rest where it did not."""
        state = str(self._arguments.get("state", ""))
        if state not in ENDED_WELL and self._outbox.begun():
            moment = now()
            tags = {"lidr.state": state}
            self._outbox.add(TrackingEntry(RUN, f"failed-{moment}", moment, tags=tags))


def _last_of_rollout(arguments: Mapping[str, Any]) -> str:
    """Return the last step that the shards of a rollout have begun, which a merge ends."""
    recipe = json.loads(str(arguments.get("recipe") or "{}"))
    rewarder = recipe.get("pairing", {}).get("rewarder", "lidr")
    return "translate" if rewarder == "lidr" else "generate"


@contextmanager
def _harmless() -> Iterator[None]:
    """Turn a failure of tracking into a warning."""
    try:
        yield
    except Exception as error:
        emit("warning", message=f"not noted for MLflow: {' '.join(str(error).split())}")
