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
    note_local_inputs,
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
            help="First iteration to run. Default: the first unfinished one.",
        ),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            "--every",
            help="Schedule: 6h, 1d or a cron line. Checks the inputs this often, and runs if they "
            "changed.",
        ),
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
            "--every cannot be combined with --wait or --from-iteration",
            remedy="Leave them out, or leave --every out.",
        )
    loaded, cluster = read_recipe(recipe, seed, settings), read_profile(*profile)
    require_store(cluster)
    store = open_store(cluster.store)
    when = Recurrence.parse(every) if every is not None else None
    name = run_name(run, loaded) if run is not None else ""
    today = "" if when else utc_day()  # a schedule's runs begin on many days
    begun = begin(loaded, cluster, store, name, today=today, scheduled=when is not None)
    if when:
        _require_room(begun.run)
    require_reachable(begun.recipe, cluster)
    client = Client(cluster)
    client.check()
    account = account_of(begun.recipe, cluster, *(() if when else (store, begun.run)))
    start = StartPoint(1, resumed=False)
    if when and not dry_run:
        put_recipe(store, begun.recipe.model_dump_json())
    elif not when:
        start = prepare_start(begun.recipe, cluster, begun.run, from_iteration, dry=dry_run)
    text = compile_loop(
        begun.recipe,
        cluster,
        begun.default_run,
        begun.recipe.gate.max_iterations,
        start.first,
        watching=when is not None,
        resumed=start.resumed,
        on_store=True,
        account=account,
    )
    first = start.first if start.resumed else 0
    submission = Submission(begun.recipe, cluster, begun.run, text, first, begun.given)
    note_local_inputs(begun.recipe)
    if when:
        _schedule(client, submission, when, dry_run, output)
        begun.say()
    else:
        _submit(client, submission, begun, dry_run, wait, output)


def _require_room(name: str) -> None:
    """Refuse a schedule's name that leaves its runs no room for a hyphen and a digest."""
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
