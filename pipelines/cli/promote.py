"""lidr promote: a version becomes the champion, here or in another registry."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lidr.components.shared.config.machine import MACHINE
from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.gpu import TENSOR_PARALLEL
from lidr.components.shared.core.names import RUN_DIGEST_CHARS
from lidr.components.shared.registry.ancestry import open_existing
from lidr.components.shared.registry.audit import entries
from lidr.components.shared.registry.copies import copy_version, target_account
from lidr.components.shared.registry.evidence import require_files, store_of, verdict_of
from lidr.components.shared.registry.promotion import PromotionOrder, permit_promotion, promote
from lidr.components.shared.registry.versions import PARENT_TAG, files_of, read_version
from lidr.pipelines.begin import begin
from lidr.pipelines.cli.execution import execute_here
from lidr.pipelines.cli.inputs import LOCAL, ProfileOption, read_profile, read_recipe
from lidr.pipelines.cli.outputs import Output, OutputOption, say
from lidr.pipelines.cli.registered import (
    HomeOption,
    ModelArgument,
    ReasonOption,
    audit_log_at,
    connect,
    open_registry,
)
from lidr.pipelines.local import LocalJob

if TYPE_CHECKING:
    from lidr.components.shared.config.profile import Profile
    from lidr.components.shared.registry.audit import AuditEntry
    from lidr.components.shared.registry.versions import Version


def promote_command(
    name: ModelArgument,
    version: Annotated[
        str, typer.Argument(metavar="[VERSION]", help="A number, or @ and an alias.")
    ] = "@candidate",
    to: Annotated[str, typer.Option("--to", metavar="ALIAS", help="The alias to move.")] = (
        "champion"
    ),
    reason: ReasonOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="Promote without a passed gate; needs --reason.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare the digests of all its files first.")
    ] = False,
    copy_to: Annotated[
        str,
        typer.Option(
            "--copy-to",
            metavar="URI",
            help="Another MLflow, where the version is registered and promoted instead.",
        ),
    ] = "",
    copy_files: Annotated[
        str,
        typer.Option(
            "--copy-files",
            metavar="STORE",
            help="With --copy-to: copy the files to this store. Default: refer to them.",
        ),
    ] = "",
    evaluate: Annotated[
        str,
        typer.Option(
            "--evaluate",
            metavar="RECIPE",
            help="Evaluate it and the champion on this recipe's benchmarks; its gate decides.",
        ),
    ] = "",
    profile: ProfileOption = LOCAL,
    store: HomeOption = "lidr-store",
    output: OutputOption = Output.TEXT,
) -> None:
    """Promote a version that passed the gate; the champion before it becomes `previous`."""
    order = PromotionOrder(alias=to, reason=reason, force=force, verify=verify)
    order.validate()
    if copy_files and not copy_to:
        raise BadInput("--copy-files needs --copy-to", remedy="Name the other registry.")
    if evaluate and (force or copy_to or verify):
        raise BadInput(
            "--evaluate does not go with --force, --verify or --copy-to",
            remedy="Promote in two steps.",
        )
    if profile != LOCAL and not evaluate:
        raise BadInput("--profile needs --evaluate", remedy="Leave it out, or name a recipe.")
    client = open_registry(store)
    chosen = read_version(client, name, version)
    if evaluate:
        place = read_profile(*profile)
        entry = _promote_after_evaluation(client, chosen, order, evaluate, place, store)
    elif copy_to:
        chosen, entry = _promote_copy(client, chosen, copy_to, copy_files, order, store)
    else:
        entry = promote(client, chosen, audit_log_at(client, name, store), order)
    _print(chosen, entry, output)
    if output is Output.TEXT and not evaluate:
        _note_comparison(chosen, entry)


def _promote_after_evaluation(
    client: Any, version: Version, order: PromotionOrder, recipe: str, place: Profile, store: str
) -> AuditEntry:
    """Run the promotion pipeline on this machine and return the audit log's new entry."""
    audit_log = audit_log_at(client, version.name, store)
    root = store_of(version) or audit_log.uri.rpartition("/registry/")[0]
    home = open_existing(root, remedy="Restore the store of the registered model.")
    begun = begin(read_recipe(recipe, None, None), place, home, here=True)
    settings = {
        "MLFLOW_TRACKING_URI": client.tracking_uri,
        TENSOR_PARALLEL: str(place.resources_of("evaluate").tensor_parallel or ""),
        MACHINE: place.machine.text(),
    }
    job = LocalJob(
        recipe=begun.recipe.model_dump_json(),
        store=home.uri,
        # A digest, since a registered model may have a name that a folder may not have.
        run=f"promotion-{digest_of(audit_log.uri)[:RUN_DIGEST_CHARS]}-{version.number}",
        settings=tuple((name, value) for name, value in settings.items() if value),
        promotion=(
            ("name", version.name),
            ("version", str(version.number)),
            ("alias", order.alias),
            ("reason", order.reason),
        ),
    )
    begun.say()
    execute_here(begun.recipe, job)
    wanted = order.alias, version.number
    return [e for e in entries(audit_log) if (e.move.alias, e.move.version) == wanted][-1]


def _promote_copy(
    client: Any, version: Version, uri: str, files: str, order: PromotionOrder, store: str
) -> tuple[Version, AuditEntry]:
    """Copy a version to another registry and promote it there; no alias moves here."""
    verdict = verdict_of(version)
    permit_promotion(version, verdict, order, before=None)
    order = replace(order, verdict=verdict)
    require_files(version, verify=order.verify)
    here = audit_log_at(client, version.name, store)
    with target_account():
        target = connect(uri)
    copy = copy_version(client, version, target, files, here)
    if files_of(copy) == files_of(version):  # verified above
        order = replace(order, verify=False)
    with target_account():
        return copy, promote(target, copy, audit_log_at(target, version.name, store), order)


def _print(version: Version, entry: AuditEntry, output: Output) -> None:
    if output is Output.JSON:
        print(json.dumps({"name": version.name, **entry.to_dict()}))
        return
    move = entry.move
    was = "for the first time" if move.before is None else f"instead of version {move.before}"
    was = "as before" if move.before == move.version else was
    say(f"{version.label} is {move.alias} {was}{', forced' * move.forced}: {version.source}")


def _note_comparison(version: Version, entry: AuditEntry) -> None:
    """Print a note if the gate compared the version with one that it does not replace."""
    move = entry.move
    parent = version.tags.get(PARENT_TAG, "")
    if move.before in (None, move.version) or move.forced or not parent:
        return
    if parent != f"{version.name}/{move.before}":
        note = f"the gate compared it with {parent}, not with version {move.before}"
        say(f"lidr: note: {note}", error=True)
