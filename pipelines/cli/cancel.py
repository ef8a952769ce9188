"""lidr cancel: end a run, and list its unfinished stages."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import one_line
from lidr.components.shared.run_lease import LeaseOwner, current_owner
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.pipelines.cli.inputs import LOCAL, ProfileOption, StoreOption, read_profile
from lidr.pipelines.cli.outputs import Output, OutputOption, say
from lidr.pipelines.cli.status import RunArgument
from lidr.pipelines.cluster.cancel import (
    Cancelled,
    cancel,
    clean_stages,
    names_on_store,
    require_alone,
    wait_for_end,
    wait_for_jobs,
)
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.local_status import existing_store, local_status, stop

_RELEASE_SECONDS = 30.0
"""How long a process that was stopped may take to release its run's lease and to exit."""


def cancel_command(
    run: RunArgument,
    profile: ProfileOption = LOCAL,
    store: StoreOption = None,
    discard: Annotated[
        bool, typer.Option("--discard", help="Delete the run's unfinished stages, too.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """End a run: its pods, TrainJobs and schedule. Finished stages stay."""
    place = read_profile(*profile, store=store)
    done = (cancel_here if place.runner == "local" else _cancel)(place, run, discard)
    if output is Output.JSON:
        print(json.dumps(asdict(done)))
    else:
        _print(done)


def _cancel(place: Profile, run: str, discard: bool) -> Cancelled:
    client = Client(place)
    store, names, problem = None, [run], ""
    try:
        store = open_store(place.store)
        names = names_on_store(client, place, store, run)
    except BadInput as error:  # what runs is ended all the same
        store, problem = None, f"the stages were not checked: {error.message}"
    if discard and store:
        require_alone(client, place, store, names)
    done = cancel(client, place, run)
    if discard and store and not _has_ended(client, place, done):
        done.notes.append("the run has not ended yet, so its stages were kept; cancel again")
        discard = False
    if store:
        problem = _clean(store, names, done, discard=discard)
    done.notes += [problem] if problem else []
    return done


def _has_ended(client: Client, place: Profile, done: Cancelled) -> bool:
    """Wait for the ends of the runs and of their TrainJobs' pods, which write until then."""
    try:
        every = [*done.ended, *done.removed]
        return wait_for_end(client, done.ended) and wait_for_jobs(place, every)
    except BadInput as error:
        done.notes.append(error.message)
        return False


def _clean(store: Store, names: Sequence[str], done: Cancelled, *, discard: bool) -> str:
    """List the unfinished stages, or delete them; return what went wrong, or ""."""
    try:
        for name in names:
            clean_stages(store, name, done, discard=discard)
    except BadInput as error:
        what = "some unfinished stages may be left" if discard else "the stages were not checked"
        return f"{what}: {error.message}"
    return ""


def cancel_here(place: Profile, run: str, discard: bool) -> Cancelled:
    """Cancel a run that this machine executes, as `lidr cancel` does with a local profile."""
    home = existing_store(place.store)
    local_status(home, run)
    done = Cancelled(run)
    if stopped := stop(home, run):
        done.ended.append(run)
    patience = _RELEASE_SECONDS if stopped else 0.0
    if discard and (owner := _owner_after(place.store, run, patience)):
        done.notes.append(
            f"process {owner.process} of {owner.who} on {owner.host} executes the run, so its "
            "stages were kept; should it have died, `lidr run` takes the run over"
        )
        discard = False
    clean_stages(home, run, done, discard=discard)
    return done


def _owner_after(store: str, run: str, seconds: float) -> LeaseOwner | None:
    """Return who has the run's lease, once a process that was stopped could release it."""
    until = time.monotonic() + seconds
    while (owner := current_owner(store, run)) and time.monotonic() < until:
        time.sleep(0.2)
    return owner


def _print(done: Cancelled) -> None:
    parts = {"run": [*done.ended, *done.removed], "TrainJob": done.jobs, "schedule": done.schedules}
    ended = [
        f"{len(found)} {name}{'s' * (len(found) != 1)}" for name, found in parts.items() if found
    ]
    say(f"{done.run}: {'ended ' + ', '.join(ended) if ended else 'nothing was running'}")
    for step, uri in done.discarded.items():
        say(f"deleted   {step:<9} {uri}")
    for step, uri in done.kept.items():
        say(f"resumable {step:<9} {uri}")
    if done.kept:
        print("Submitting or running it again continues from these; --discard deletes them.")
    for note in done.notes:
        print(one_line(note))
