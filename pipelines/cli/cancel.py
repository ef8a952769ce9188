"""lidr cancel: end a run, and list its unfinished stages."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import one_line
from lidr.components.shared.store.open import open_store
from lidr.pipelines.cli.inputs import LOCAL, ProfileOption, StoreOption, read_profile
from lidr.pipelines.cli.outputs import Output, OutputOption, say
from lidr.pipelines.cli.status import RunArgument
from lidr.pipelines.cluster.cancel import (
    Cancelled,
    cancel,
    clean_stages,
    require_alone,
    wait_for_end,
)
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.local_status import existing_store, local_status, stop


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
    done = (_cancel_here if place.runner == "local" else _cancel)(place, run, discard)
    if output is Output.JSON:
        print(json.dumps(asdict(done)))
    else:
        _print(done)


def _cancel(place: Profile, run: str, discard: bool) -> Cancelled:
    client = Client(place)
    if discard:
        require_alone(client, place, run)
    done = cancel(client, place, run)
    if discard and not wait_for_end(client, done.ended):
        done.notes.append("the run has not ended yet, so its stages were kept; cancel again")
        discard = False
    try:
        clean_stages(open_store(place.store), run, done, discard=discard)
    except BadInput as error:
        done.notes.append(f"the stages were not checked: {error.message}")
    return done


def _cancel_here(place: Profile, run: str, discard: bool) -> Cancelled:
    home = existing_store(place.store)
    local_status(home, run)
    done = Cancelled(run)
    if stop(home, run):
        done.ended.append(run)
    clean_stages(home, run, done, discard=discard)
    return done


def _print(done: Cancelled) -> None:
    parts = {"run": done.ended, "TrainJob": done.jobs, "schedule": done.schedules}
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
