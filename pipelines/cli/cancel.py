"""lidr cancel: end a run, and list its unfinished stages."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.core.text import one_line
from lidr.components.shared.run_lease import LeaseOwner, current_owner
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import read_run_recipe
from lidr.pipelines.cli.inputs import LOCAL, ProfileOption, StoreOption, read_profile
from lidr.pipelines.cli.outputs import Output, OutputOption, say
from lidr.pipelines.cli.status import RunArgument
from lidr.pipelines.cluster.cancel import (
    Cancelled,
    cancel,
    clean_stages,
    names_on_store,
    sharing_run,
    wait_for_end,
    wait_for_jobs,
)
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.local import running
from lidr.pipelines.local_status import existing_store, local_state, stop
from lidr.pipelines.stored import uris_under_way

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
    """End a run, and its schedule if it has one. Finished stages stay.

    Exits with 1 if part of the run may still be running; a note then says what.
    """
    asked = read_profile(*profile, store=store)
    done = (cancel_here if asked.runner == "local" else _cancel)(asked, run, discard)
    if output is Output.JSON:
        print(json.dumps(asdict(done)))
    else:
        _print(done)
    if done.incomplete:
        raise typer.Exit(1)


def _cancel(profile: Profile, run: str, discard: bool) -> Cancelled:
    client = Client(profile)
    names, sharing, problem = [run], "", ""
    try:
        store = open_store(profile.store)
        names = names_on_store(client, profile, store, run)
        sharing = sharing_run(client, profile, store, names) if discard else ""
    except LidrError as error:  # a run can be cancelled without its store
        problem = _not_cleaned(error, discard=False)
    _require_alone(sharing)
    done = cancel(client, profile, run)
    if problem:
        done.notes.append(problem)
        return done
    if discard and not _has_ended(client, profile, done):
        done.notes.append("the run has not ended yet, so its stages were kept; cancel again")
        done.incomplete = True
        discard = False
    _clean(profile.store, names, done, discard=discard)
    return done


def _require_alone(sharing: str) -> None:
    """Refuse to delete stages that another run may be writing.

    Raises:
        BadInput: there is such a run.
    """
    if sharing:
        raise BadInput(
            f"run {sharing!r} is under way and may share stages",
            remedy="Cancel it first, or leave --discard out.",
        )


def _has_ended(client: Client, profile: Profile, done: Cancelled) -> bool:
    """Return whether the runs and their TrainJobs' pods, which may still write, end in time."""
    try:
        every = [*done.ended, *done.removed]
        return wait_for_end(client, done.ended) and wait_for_jobs(profile, every)
    except LidrError as error:
        done.notes.append(error.message)
        return False


def cancel_here(profile: Profile, run: str, discard: bool) -> Cancelled:
    """Cancel a run that this machine executes, as `lidr cancel` does with a local profile."""
    done, sharing = Cancelled(run), ""
    try:
        sharing = _sharing_here(existing_store(profile.store), run) if discard else ""
    except LidrError as error:  # a run can be cancelled without its store
        done.notes.append(f"its stages were kept: {error}")
        discard = False
    _require_alone(sharing)
    if stopped := stop(profile.store, run):
        done.ended.append(run)
    else:
        local_state(existing_store(profile.store), run)  # raises if there is no such run
    try:
        owner = _owner_after(profile.store, run, _RELEASE_SECONDS if stopped else 0.0)
    except LidrError as error:
        done.notes.append(_not_cleaned(error, discard=False))
        return done
    if owner:
        done.incomplete = True
        done.notes.append(
            f"process {owner.process} of {owner.who} on {owner.host} executes the run"
            + (", so its stages were kept" if discard else "")
            + ": stop it there; should it have died, `lidr run` takes the run over"
        )
    _clean(profile.store, [run], done, discard=discard and not owner)
    return done


def _sharing_here(store: Store, run: str) -> str:
    """Return the name of another run on this machine that may share stages; "" if there is none.

    Such a run has the same recipe, or is making the same stages now; see `sharing_run`.
    """
    recipe, unfinished = read_run_recipe(store, run), uris_under_way(store, run)
    for name in running(store.uri):
        same = recipe is not None and recipe == read_run_recipe(store, name)
        if name != run and (same or unfinished & uris_under_way(store, name)):
            return name
    return ""


def _clean(store: str, names: Sequence[str], done: Cancelled, *, discard: bool) -> None:
    """List the unfinished stages, or delete them; what goes wrong becomes a note."""
    try:
        for name in names:
            clean_stages(open_store(store), name, done, discard=discard)
    except LidrError as error:
        done.notes.append(_not_cleaned(error, discard=discard))


def _not_cleaned(error: LidrError, *, discard: bool) -> str:
    what = "some unfinished stages may be left" if discard else "the stages were not checked"
    return f"{what}: {error}"


def _owner_after(store: str, run: str, seconds: float) -> LeaseOwner | None:
    """Return who still has the run's lease after up to `seconds` of waiting; None if no one has."""
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
