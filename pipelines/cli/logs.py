"""lidr logs: what a run's steps print."""

from __future__ import annotations

from typing import Annotated

import typer

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import printable_line
from lidr.pipelines.cli.inputs import LOCAL, ProfileOption, StoreOption, read_profile
from lidr.pipelines.cli.status import RunArgument
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.logs import read_logs
from lidr.pipelines.cluster.namespace import namespace_of
from lidr.pipelines.local_status import existing_store, log_lines
from lidr.pipelines.status import SHOWN


def logs_command(
    run: RunArgument,
    step: Annotated[
        str, typer.Argument(metavar="[STEP]", help="e.g. train. Default: all of them.")
    ] = "",
    iteration: Annotated[
        int | None, typer.Option("--iteration", min=0, help="Only the steps of M_t. Default: all.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what Kubeflow and Argo print around a step.")
    ] = False,
    profile: ProfileOption = LOCAL,
    store: StoreOption = None,
) -> None:
    """Print the logs of a run's steps."""
    if step and step not in SHOWN:
        raise BadInput(f"no step {step!r}", remedy=f"Steps are {', '.join(SHOWN)}.")
    place = read_profile(*profile, store=store)
    try:
        if place.runner == "local":
            _print_local(place, run, step, iteration, follow, everything)
        else:
            _print_pods(place, run, step, iteration, follow, everything)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _print_pods(
    place: Profile, run: str, step: str, iteration: int | None, follow: bool, everything: bool
) -> None:
    client, namespace = Client(place), namespace_of(place)
    lines = read_logs(client, namespace, run, step, iteration, follow=follow, everything=everything)
    for title, line in lines:
        print(f"{title} | {printable_line(line)}", flush=True)


def _print_local(
    place: Profile, run: str, step: str, iteration: int | None, follow: bool, everything: bool
) -> None:
    if iteration is not None:
        raise BadInput(
            "the log of a run on this machine does not tell iterations apart",
            remedy="Leave --iteration out.",
        )
    store = existing_store(place.store)
    for line in log_lines(store, run, step, follow=follow, everything=everything):
        print(printable_line(line), flush=True)
