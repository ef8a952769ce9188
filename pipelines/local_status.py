"""The status of a run on this machine: from its latest events, and its finished stages."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import one_line
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import is_missing_folder, open_store
from lidr.components.shared.store.runs import read_result, read_run_recipe, state_key
from lidr.pipelines.events import Event, parse_events
from lidr.pipelines.local import COLOUR_CODE, LocalJob
from lidr.pipelines.run_lock import lock_owner
from lidr.pipelines.status import END, SHOWN, STEP_NAMES, Status, StepRow, logged_by, merged
from lidr.pipelines.step_log import OwnLines
from lidr.pipelines.stored import StoredRun

_TASK = re.compile(r"(?:Executing task|Task) '([a-z-]*[a-z])(?:-\d+)?'")


def existing_store(uri: str) -> Store:
    """Open a store to read from; no folder is created.

    Raises:
        BadInput: there is no such folder.
    """
    if is_missing_folder(uri):
        raise BadInput("no such store", file=uri, remedy="Check --store.")
    return open_store(uri)


def local_status(store: Store, run: str) -> Status:
    """Return the status of a run that is, or was, executed on this machine.

    Raises:
        BadInput: there is no such run, or one of its files is damaged.
    """
    job = LocalJob(recipe="", store=store.uri, run=run)
    stored = StoredRun.read(store, run)
    events = read_events(job.events)
    state = _state(store, job, events)
    rows = merged(stored.rows() if stored else (), event_rows(events, running=state == "running"))
    failure = _failure(events)
    result = stored.result if stored else None
    notes = [one_line(f"{failure['step']}: {failure['message']}")] if failure else []
    if stored and stored.stop_reason:
        notes.append(stored.stop_reason)
    return Status(
        run=run,
        state=state,
        place=store.uri,
        rows=rows,
        notes=tuple(notes),
        links={"report": str(result["report"])} if result else {"log": str(job.log)},
    )


def local_state(store: Store, run: str) -> str:
    """Return the `state` of `local_status` without reading the run's stages.

    Raises:
        BadInput: there is no such run, or it cannot be read.
    """
    job = LocalJob(recipe="", store=store.uri, run=run)
    return _state(store, job, read_events(job.events))


def driver_of(job: LocalJob) -> int:
    """Return the id of the process that holds a run's lock; 0 if none does."""
    owner = lock_owner(job.folder)
    return owner.process if owner else 0


def stop(store: str, run: str, timeout: float = 60.0) -> bool:
    """End the process that executes a run, and wait for it; return False if none does.

    Args:
        store: URI of the store, which need not be readable.
        run: name of the run.
        timeout: seconds to wait.

    Raises:
        BadInput: the run is executed on another machine, or the process does not end.
    """
    job = LocalJob(recipe="", store=store, run=run)
    owner = lock_owner(job.folder)
    if not owner or not owner.process:
        return False
    process = owner.process
    if owner.elsewhere:
        raise BadInput(
            f"run {run!r} is executed on another machine, by process {process} on {owner.host}",
            remedy="Stop it there.",
        )
    try:
        os.kill(process, signal.SIGTERM)
    except PermissionError as error:
        raise BadInput(
            f"process {process} of run {run!r} is another user's",
            remedy="Ask that user to stop it.",
        ) from error
    except ProcessLookupError:  # it has just ended by itself
        pass
    until = time.monotonic() + timeout
    while driver_of(job):
        if time.monotonic() > until:
            raise BadInput(
                f"process {process} of run {run!r} has not ended in {timeout:.0f} s",
                remedy="Find out what it does, or kill it.",
            )
        time.sleep(0.1)
    return True


def log_lines(
    store: Store,
    run: str,
    step: str = "",
    *,
    follow: bool = False,
    everything: bool = False,
    poll_seconds: float = 0.5,
) -> Iterator[str]:
    """Yield the lines of a run's log; KFP's own lines among them name the step.

    Args:
        step: only this step's; "" for everything.
        follow: go on until the run's process has ended.
        everything: also what KFP's executor prints around a step.
        poll_seconds: between two reads, with `follow`.

    Raises:
        BadInput: there is no log on this machine.
    """
    job = LocalJob(recipe="", store=store.uri, run=run)
    steps = logged_by(step)
    names = {*steps, *(name for name, own in STEP_NAMES.items() if own in steps)}
    wanted = not step
    own = OwnLines()
    try:
        log = job.log.open(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        raise BadInput(
            "no log of this run on this machine", file=job.log, remedy="Check --store."
        ) from error
    with log:
        while True:
            alive = follow and driver_of(job)
            for line in (COLOUR_CODE.sub("", each).rstrip("\n") for each in log):
                if step and (found := _TASK.search(line)):
                    wanted = found[1] in names
                shown = own.has(line) or everything
                if shown and wanted:
                    yield line
            if not alive:
                return
            time.sleep(poll_seconds)


def read_events(path: Path) -> list[Event]:
    """Return the events of a run's latest execution."""
    try:
        return parse_events(path.read_bytes().split(b"\n"))
    except FileNotFoundError:
        return []


def event_rows(events: list[Event], *, running: bool) -> Iterator[StepRow]:
    """Yield a row for each step that has started; the shards of a step share one.

    Args:
        events: of one execution, in order.
        running: whether it is still running; if not, steps without an end were interrupted.
    """
    steps: dict[tuple[int, str], dict[str, dict[str, Event]]] = {}
    active: dict[tuple[str, str], tuple[int, str]] = {}
    for event in events:
        if event.get("step") not in SHOWN:
            continue
        shard = event.get("shard", "")
        named = event["step"], shard
        if event["event"] == "started":
            active[named] = _iteration(event), event["step"]
            steps.setdefault(active[named], {})[shard] = {}
        if named in active:
            steps[active[named]][shard][event["event"]] = event
    for (iteration, step), shards in steps.items():
        yield _row(iteration, step, shards, running)


def _iteration(event: Event) -> int:
    if event["step"] == "report":
        return END
    return max(0, int(event["iteration"]))


def _row(iteration: int, step: str, shards: dict[str, dict[str, Event]], running: bool) -> StepRow:
    """Return a step's row; it is done once all of its shards are.

    Args:
        iteration: of the row.
        step: its name.
        shards: the latest event of each kind by shard; an unsharded step has only the shard "".
        running: whether the execution is still running.
    """
    row = StepRow(iteration, step, "running" if running else "cancelled")
    parts = list(shards.values())
    if failed := next((part["failed"] for part in parts if "failed" in part), None):
        return replace(row, state="failed", note=one_line(failed["message"]))
    if len(parts) >= _shard_count(shards) and all("finished" in part for part in parts):
        note = "reused" if all("reused" in part for part in parts) else ""
        return replace(row, state="done", seconds=_seconds(parts), note=note)
    last = [part["progress"] for part in parts if "progress" in part]
    going = [part["progress"] for part in parts if "progress" in part and "finished" not in part]
    return replace(
        row,
        seconds=_seconds(parts),
        done=sum(int(each["done"]) for each in last),
        total=sum(int(each["total"]) for each in last),
        unit=next((each["unit"] for each in last), ""),
        rate=sum(float(each.get("rate", 0.0)) for each in going),
        rate_unit=next((each.get("rate_unit", "") for each in going), ""),
    )


def _shard_count(shards: Iterable[str]) -> int:
    """Return how many shards a step has, started or not: 3 for "2/3"."""
    counts = (shard.rpartition("/")[2] for shard in shards)
    return max(int(count) if count.isdecimal() else 1 for count in counts)


def _seconds(parts: list[dict[str, Event]]) -> float:
    """Return how long a step has taken: from its first shard's start to the last shard's event."""
    if len(parts) == 1 and "finished" in parts[0]:
        return float(parts[0]["finished"]["seconds"])
    latest = max(
        part.get("finished", part.get("progress", part["started"]))["time"] for part in parts
    )
    return float(latest - min(part["started"]["time"] for part in parts))


def _state(store: Store, job: LocalJob, events: list[Event]) -> str:
    if driver_of(job):
        return "running"
    if _failure(events):
        return "failed"
    if read_result(store, job.run):
        return "done"
    if read_run_recipe(store, job.run) is None and not job.events.is_file():
        raise BadInput(
            f"no run {job.run!r} in {store.uri}",
            remedy="`lidr status` without a name lists all of them.",
        )
    return "stopped" if events or store.exists(state_key(job.run, 0)) else "begun"


def _failure(events: list[Event]) -> Event | None:
    return next((event for event in events if event["event"] == "failed"), None)
