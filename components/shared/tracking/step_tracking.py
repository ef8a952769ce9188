"""Tracks every step of a run: notes its start and its end in the outbox, and has them delivered.

Nothing here stops or delays a step: what cannot be written becomes a warning, what cannot be
delivered waits. Only `register`, `report` and `cleanup`, which need MLflow or come last, wait for
delivery.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from lidr.components.shared.config.machine import Machine
from lidr.components.shared.core.digest import digest_of_bytes
from lidr.components.shared.core.errors import LidrError, failure_text
from lidr.components.shared.core.events import emit
from lidr.components.shared.steps import STEPS, step_named
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import step_of
from lidr.components.shared.store.stage import locate_stage
from lidr.components.shared.tracking import stage_metrics
from lidr.components.shared.tracking.client import tracking_uri
from lidr.components.shared.tracking.database import is_server
from lidr.components.shared.tracking.delivery import anything_waits, deliver, warn_undelivered
from lidr.components.shared.tracking.entries import Artifact, TrackingEntry
from lidr.components.shared.tracking.outbox import END, RUN, Outbox, now_ms, place_of
from lidr.components.shared.tracking.stage_metrics import clean
from lidr.components.shared.tracking.uploader import uploader

if TYPE_CHECKING:
    from lidr.components.shared.store.base import Store

_DELIVERS = {step.name: step.delivery_seconds for step in STEPS if step.delivery_seconds}
"""Seconds of delivery by step, for the steps that deliver at their end themselves."""

ENDED_WELL = ("SUCCEEDED", "COMPLETE")
"""States of a loop that ended well, as `kfp.local` and Kubeflow Pipelines name them."""

_USED = ("gpu_hours", "cost")

Note = Callable[[object], None]
"""Takes a step's result."""


@contextmanager
def track_step(
    step: str, arguments: Mapping[str, Any], reused: Callable[[], bool]
) -> Iterator[Note]:
    """Track the block as a step of the run that its arguments name.

    Args:
        step: name of the step.
        arguments: of its function; `run`, `store`, `recipe` and `iteration` are read.
        reused: returns whether the step found its work done.

    Yields:
        A function to be called with the step's result.
    """
    if not step_named(step).tracked or not arguments.get("run"):
        yield lambda result: None
        return

    tracker = _StepTracker(step, arguments, open_store(str(arguments["store"])), reused)
    with tracker.delivering():
        tracker.start()
        try:
            yield tracker.end
        except BaseException as error:
            tracker.fail(error)
            raise


class _StepTracker:
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
        self._about_run = step in ("report", "cleanup")
        name = _last_of_rollout(arguments) if step == "merge" else step
        self._place = RUN if self._about_run else place_of(self._iteration, name)

    def start(self) -> None:
        """Note the step's start, unless an earlier execution has finished it."""
        with _errors_as_warnings():
            if self._arguments.get("recipe"):
                self._outbox.write_recipe(str(self._arguments["recipe"]))
            if not self._about_run and not self._outbox.has(self._place, END):
                moment = now_ms()
                self._outbox.add(TrackingEntry(self._place, f"start-{moment}", moment))

    def end(self, result: object) -> None:
        """Note what the step made."""
        with _errors_as_warnings():
            if self._step == "report":
                if "reason" not in self._arguments:  # else the run has failed: see cleanup
                    self._end_run()
            elif self._step == "cleanup":
                self._note_loop_failure()
            elif self._step == "register":
                tags = {"lidr.version": str(result)}
                self._outbox.add(TrackingEntry(self._place, END, now_ms(), tags=tags))
            else:
                uris = result if isinstance(result, tuple) else (result,)
                for uri in filter(None, map(str, uris)):
                    self._end_stage(uri)

    def fail(self, error: BaseException) -> None:
        """Note that the step failed, and why."""
        with _errors_as_warnings():
            moment = now_ms()
            tags = {"lidr.error": clean(failure_text(error))}
            self._outbox.add(TrackingEntry(self._place, f"failed-{moment}", moment, tags=tags))

    @contextmanager
    def delivering(self) -> Iterator[None]:
        """Deliver the outbox: at the end of a step in `_DELIVERS`; to a server beside any other."""
        with ExitStack() as stack:
            with _errors_as_warnings():
                stack.enter_context(self._uploader())
            yield
        if self._step in _DELIVERS:
            with _errors_as_warnings():
                if anything_waits(self._store, self._run):
                    outcome = deliver(self._store, self._run, _DELIVERS[self._step])
                    warn_undelivered(outcome, self._run)

    def _uploader(self) -> Any:
        with suppress(LidrError):  # register reports what is wrong with the URI
            if self._step not in _DELIVERS and is_server(tracking_uri(self._store.uri)):
                return uploader(self._store.uri, self._run)
        return nullcontext()

    def _end_stage(self, uri: str) -> None:
        stage, step = locate_stage(uri), step_of(uri)
        place = place_of(self._iteration, step)
        if not stage.done() or self._outbox.has(place, END):
            return  # other shards still run, or another execution of the run was first
        tags = {
            **stage_metrics.tags_of(step, stage),
            "lidr.reused": str(self._was_reused(step)).lower(),
        }
        metrics = stage_metrics.metrics_of(step, stage, self._iteration)
        if step == "train":
            reported = self._outbox.steps_reported(place)
            metrics = [row for row in metrics if row[2] > reported]
        self._outbox.add(
            TrackingEntry(
                place,
                END,
                now_ms(),
                tags=tags,
                params=stage_metrics.params_of(stage),
                metrics=metrics,
                headline=stage_metrics.headline_of(step, stage, self._iteration),
                datasets=stage_metrics.datasets_of(step, stage),
            )
        )

    def _was_reused(self, step: str) -> bool:
        """Return whether an earlier execution made the stage.

        In a fused rollout, generate makes the stage of translate as well.
        """
        if step != "translate" or not self._reused():
            return self._reused()
        place = place_of(self._iteration, "generate")
        fused = Machine.from_environment().engine.fused
        if not fused or not self._outbox.has(place, END):
            return True
        return self._outbox.read(place, END).tags["lidr.reused"] == "true"

    def _end_run(self) -> None:
        """Note the run's result and report, unless the same result was noted before."""
        folder = f"runs/{self._run}"
        shown = {
            "report.html": "report.html",
            "result.json": "result.json",
            "tracking/recipe.json": "recipe.json",
        }
        result = self._store.read(f"{folder}/result.json")
        content = json.loads(result)
        stopped = content.get("stopped")
        reason = clean(str(stopped["reason"])) if stopped else ""
        tags = {"lidr.stopped": reason} if reason or self._outbox.has_ended() else {}
        used = content.get("used", {})
        last = len(content.get("iterations", ())) - 1
        metrics = [(f"used/{key}", float(used[key]), last) for key in _USED if used.get(key)]
        artifacts = [Artifact(f"{folder}/{key}", path) for key, path in shown.items()]
        plots = [entry.key for entry in self._store.list(f"{folder}/plots")]
        artifacts += [Artifact(key, key.removeprefix(f"{folder}/")) for key in plots]
        name = f"{END}-{digest_of_bytes(result)[:12]}"
        self._outbox.add(
            TrackingEntry(RUN, name, now_ms(), tags=tags, metrics=metrics, artifacts=artifacts)
        )

    def _note_loop_failure(self) -> None:
        """Note that the loop failed or was cancelled; a good end is noted with the report."""
        state = str(self._arguments.get("state", ""))
        if state not in ENDED_WELL and self._outbox.begun():
            moment = now_ms()
            tags = {"lidr.state": state}
            self._outbox.add(TrackingEntry(RUN, f"failed-{moment}", moment, tags=tags))


def _last_of_rollout(arguments: Mapping[str, Any]) -> str:
    """Return the last step that the shards of a rollout begin; merge notes its end."""
    recipe = json.loads(str(arguments.get("recipe") or "{}"))
    rewarder = recipe.get("pairing", {}).get("rewarder", "lidr")
    return "translate" if rewarder == "lidr" else "generate"


@contextmanager
def _errors_as_warnings() -> Iterator[None]:
    """Turn a failure of tracking into a warning."""
    try:
        yield
    except Exception as error:
        emit("warning", message=f"not recorded for MLflow: {' '.join(str(error).split())}")
