"""lidr submit: a recipe as a run, or as a schedule, in Kubeflow."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import listening
from lidr.components.shared.core.names import MAX_RUN_CHARS, RUN_DIGEST_CHARS
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.recipes import put_recipe
from lidr.pipelines.begin import begin, utc_day
from lidr.pipelines.cli.inputs import (
    CLUSTER,
    ProfileOption,
    RecipeArgument,
    RunOption,
    SeedOption,
    SetOption,
    read_profile,
    read_recipe,
    run_name,
)
from lidr.pipelines.cli.outputs import Output, OutputOption, say
from lidr.pipelines.cli.status_table import as_json, open_table, print_status
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.recurring import Recurrence, schedule
from lidr.pipelines.cluster.status import Watcher
from lidr.pipelines.cluster.submit import (
    StartPoint,
    Submission,
    prepare_start,
    require_reachable,
    require_store,
    submit,
)
from lidr.pipelines.cluster.watch import follow
from lidr.pipelines.compiled import compile_loop
from lidr.pipelines.planning.budget import account_of

if TYPE_CHECKING:
    from lidr.pipelines.begin import Begun


def submit_command(
    recipe: RecipeArgument,
    profile: ProfileOption = CLUSTER,
    run: RunOption = None,
    seed: SeedOption = None,
    settings: SetOption = None,
    from_iteration: Annotated[
        int | None,
        typer.Option(
            "--from-iteration",
            min=1,
            help="First to run. Default: the first unfinished one.",
        ),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option("--every", help="Schedule: 6h, 1d or a cron line; runs if inputs are new."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run until it ends.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, and create nothing.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Run a recipe in Kubeflow; the same command again finds the same run."""
    if every is not None and (wait or from_iteration is not None):
        raise BadInput(
            "--every makes a schedule, which has no end and no --from-iteration",
            remedy="Leave --wait and --from-iteration out.",
        )
    asked, place = read_recipe(recipe, seed, settings), read_profile(*profile)
    require_store(place)
    store = open_store(place.store)
    when = Recurrence.parse(every) if every is not None else None
    given = run_name(run, asked) if run is not None else ""
    today = "" if when else utc_day()  # a schedule's runs begin on many days
    begun = begin(asked, place, store, given, today=today, scheduled=when is not None)
    science, name = begun.recipe, begun.run
    if when:
        _require_room(name)
    require_reachable(science, place)
    client = Client(place)
    client.check()
    account = account_of(science, place, *(() if when else (store, name)))
    start = StartPoint(1, resumed=False)
    if when and not dry_run:
        put_recipe(store, science.model_dump_json())
    elif not when:
        start = prepare_start(science, place, name, from_iteration, dry=dry_run)
    text = compile_loop(
        science,
        place,
        begun.name,
        science.gate.max_iterations,
        start.first,
        watching=when is not None,
        resumed=start.resumed,
        on_store=True,
        account=account,
    )
    submission = Submission(science, place, name, text, start.first if start.resumed else 0)
    if when:
        _schedule(client, submission, when, dry_run, output)
        begun.say()
    else:
        _submit(client, submission, begun, dry_run, wait, output)


def _require_room(name: str) -> None:
    """Refuse a schedule's name to which its runs cannot add a hyphen and a digest."""
    added = 1 + RUN_DIGEST_CHARS
    if len(name) > (longest := MAX_RUN_CHARS - added):
        raise BadInput(
            f"{name!r} has {len(name)} characters, and the names of a schedule's runs add {added}",
            remedy=f"Name the schedule with a --run of {longest} characters at most.",
        )


def _submit(
    client: Client, submission: Submission, begun: Begun, dry: bool, wait: bool, output: Output
) -> None:
    done = submit(client, submission, dry=dry)
    begun.say()
    followed = wait and bool(done.run_id)
    if output is Output.JSON and not followed:
        print(json.dumps(asdict(done)))
    else:
        text = " ".join(part for part in (done.run, done.outcome, done.link) if part)
        for line in filter(None, (text, done.note)):
            say(line, error=output is Output.JSON)
    if followed:
        _wait(client, submission, done.run_id, output)


def _wait(client: Client, submission: Submission, run_id: str, output: Output) -> None:
    def open_watcher() -> Watcher:
        return Watcher(client, submission.profile, submission.run, run_id)

    try:
        with open_table() as show, listening(_report):
            status = follow(open_watcher, show)
    except KeyboardInterrupt:
        print(f"lidr: run {submission.run} continues; `lidr status` shows it", file=sys.stderr)
        raise typer.Exit(130) from None
    if output is Output.JSON:
        print(json.dumps(as_json(status)))
    else:
        print_status(status)
    if status.state != "done":
        raise typer.Exit(1)


def _report(event: dict[str, object]) -> None:
    say(f"lidr: {event.get('message', '')}", error=True)


def _schedule(
    client: Client, submission: Submission, when: Recurrence, dry: bool, output: Output
) -> None:
    identity = schedule(client, submission, when, dry=dry)
    link = client.link(f"recurringrun/details/{identity}") if identity else ""
    if output is Output.JSON:
        result = {"schedule": submission.run, "id": identity, "when": str(when), "link": link}
        print(json.dumps(result))
    else:
        checks = f"checks {when}" if identity else f"would check {when}"
        say(" ".join(part for part in (submission.run, checks, link) if part))
