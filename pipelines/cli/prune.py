"""lidr prune: remove what nothing refers to any more."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.registry.ancestry import open_existing
from lidr.components.shared.registry.versions import all_versions, model_names
from lidr.pipelines.cli.console import PlainConsole
from lidr.pipelines.cli.inputs import not_empty, read_profile
from lidr.pipelines.cli.outputs import Output, OutputOption, say
from lidr.pipelines.cli.registered import connect, open_registry
from lidr.pipelines.cli.sizes import size_text
from lidr.pipelines.local import running
from lidr.pipelines.maintenance.prune_findings import PRUNED, live_runs, note_findings
from lidr.pipelines.maintenance.prune_plan import make_plan
from lidr.pipelines.maintenance.prune_policy import PrunePolicy
from lidr.pipelines.maintenance.prune_removal import prune

if TYPE_CHECKING:
    from lidr.components.shared.registry.versions import Version
    from lidr.components.shared.store.base import Store
    from lidr.pipelines.maintenance.prune_plan import PrunePlan

_DAY = 86400.0


def prune_command(
    store: Annotated[
        str, typer.Option("--store", help="Folder or s3://bucket/prefix.", callback=not_empty)
    ],
    keep_last: Annotated[
        int,
        typer.Option("--keep-last", min=1, metavar="K", help="Versions of each model to keep."),
    ],
    grace: Annotated[
        float,
        typer.Option("--grace", min=0, metavar="DAYS", help="Keep everything younger."),
    ] = 14.0,
    registries: Annotated[
        list[str] | None,
        typer.Option(
            "--registry",
            metavar="URI",
            help="MLflow with versions that refer to the store; repeatable. "
            "Default: MLFLOW_TRACKING_URI, or the store's own mlflow.db.",
        ),
    ] = None,
    forget: Annotated[
        list[str] | None,
        typer.Option("--forget", metavar="NAME", help="A model that was deleted for good."),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            "--profile", help="Of a cluster; runs that are live in its Kubeflow are kept whole."
        ),
    ] = None,
    record: Annotated[
        bool,
        typer.Option(
            "--record", help=f"Note the findings in {PRUNED}, and in one line of the log."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Remove model versions, stages and checkpoints that nothing kept refers to."""
    home = open_existing(store)
    clients = [connect(uri) for uri in registries or ()] or [open_registry(home.uri)]
    owners = _versions(clients)
    live = live_runs(read_profile(*profile), home) if profile else ()
    policy = PrunePolicy(keep_last, grace * _DAY, time.time(), tuple(forget or ()), live)
    _require_idle(home, dry_run)
    plan = make_plan(home, [version for version, _ in owners], policy)
    if record:
        note_findings(home, plan, dry_run=dry_run)
    else:
        _print(plan, output, dry_run)
    if dry_run:
        return
    if plan.versions or plan.removals:
        _ask(plan, yes)
        _require_idle(home, dry_run)  # again: the answer may have taken hours
        with _progress(plan.size) as advance:
            prune(plan, lambda version: next(c for v, c in owners if v is version), advance)
    if aborted := home.abort_uploads("stages", policy.now - policy.grace):
        print(f"lidr: {aborted} half-written uploads aborted", file=sys.stderr)


def _versions(clients: list[Any]) -> list[tuple[Version, Any]]:
    """Return every version of every registry, with its registry's client."""
    return [
        (version, client)
        for client in clients
        for name in model_names(client)
        for version in all_versions(client, name)
    ]


def _require_idle(store: Store, dry_run: bool) -> None:
    """Refuse while this machine executes a run on the store: what it needs is not known yet.

    A dry run prints a note instead.
    """
    if names := running(store.uri):
        if not dry_run:
            raise BadInput(
                f"run {names[0]!r} is being executed on the store {store.uri}",
                remedy="Wait for it, or stop it.",
            )
        say(f"lidr: note: run {names[0]!r} is being executed", error=True)


def _ask(plan: PrunePlan, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInput("prune asks before it removes anything", remedy="Give --yes.")
    typer.confirm("Remove all this?", abort=True, err=True)


@contextmanager
def _progress(size: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal; yield the function that advances it by some bytes."""
    columns = (TextColumn("removing"), BarColumn(), DownloadColumn())
    screen = PlainConsole(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=size)
        yield lambda done: bar.advance(task, done)


def _print(plan: PrunePlan, output: Output, dry_run: bool) -> None:
    if output is Output.JSON:
        print(json.dumps(_document(plan, dry_run), indent=2))
        return

    console = PlainConsole(soft_wrap=True)
    if not plan.versions and not plan.removals:
        console.print("Nothing to remove.")
        return
    for version in plan.versions:
        console.print(Text(f"version {version.label}  {version.source}"))
    table = Table("stages of", "why", "stages", "objects", "bytes", box=SIMPLE_HEAD)
    for column in table.columns[2:]:
        column.justify = "right"
    for (step, why), removals in sorted(_groups(plan).items()):
        objects = sum(len(removal.entries) for removal in removals)
        size = size_text(sum(removal.size for removal in removals))
        table.add_row(step, why, f"{len(removals):,}", f"{objects:,}", size)
    console.print(table)
    verb = "would become" if dry_run else "become"
    console.print(
        f"{len(plan.versions)} versions and {len(plan.removals)} stages; "
        f"{size_text(plan.size)} {verb} free."
    )


def _groups(plan: PrunePlan) -> dict[tuple[str, str], list[Any]]:
    groups: dict[tuple[str, str], list[Any]] = {}
    for removal in plan.removals:
        groups.setdefault((removal.stage.node.step, removal.why.value), []).append(removal)
    return groups


def _document(plan: PrunePlan, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "bytes": plan.size,
        "versions": [
            {"name": v.name, "version": v.number, "source": v.source} for v in plan.versions
        ],
        "stages": [
            {
                "uri": removal.stage.uri,
                "step": removal.stage.node.step,
                "why": removal.why.value,
                "marker_stays": removal.why.name == "EARLIER",
                "objects": len(removal.entries),
                "bytes": removal.size,
            }
            for removal in plan.removals
        ],
    }
