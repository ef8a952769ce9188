"""lidr lineage: what a registered version was made from, and whether that is unchanged."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from lidr.components.shared.core.errors import CorruptStage
from lidr.components.shared.lineage.verify import bytes_to_read, verify
from lidr.components.shared.registry.ancestry import read_ancestry
from lidr.components.shared.registry.versions import read_version
from lidr.pipelines.cli.console import PlainConsole
from lidr.pipelines.cli.outputs import Output, OutputOption
from lidr.pipelines.cli.registered import ModelArgument, StagesOption, open_registry
from lidr.pipelines.cli.sizes import size_text

if TYPE_CHECKING:
    from lidr.components.shared.lineage.graph import Graph, Node
    from lidr.components.shared.lineage.verify import LineageFinding
    from lidr.components.shared.registry.ancestry import Ancestry


def lineage_command(
    name: ModelArgument,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="Its version: a number, or @ and an alias.")
    ],
    store: StagesOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and compare its digest.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Follow a version back to the base model and the prompt files."""
    client = open_registry(store or "lidr-store")
    found = read_ancestry(client, read_version(client, name, version), store or "")
    findings = _verify(found) if verify else []
    document = _document(found, findings if verify else None)
    if output is Output.JSON:
        print(json.dumps(document, indent=2))
    else:
        _print(found, document)
    if findings:
        raise CorruptStage(
            f"{len(findings)} of the files and markers behind {found.version.label} cannot be read "
            "or are not as they were written, "
            f"first {findings[0].uri}, which {findings[0].what}",
            remedy="Restore them from a backup, or run the recipe again.",
        )


def _verify(found: Ancestry) -> list[LineageFinding]:
    """Verify everything, with a progress bar on a terminal."""
    columns = (TextColumn("verifying"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    screen = PlainConsole(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=bytes_to_read(found.graph))
        return [*found.findings, *verify(found.graph, lambda size: bar.advance(task, size))]


def _document(found: Ancestry, findings: list[LineageFinding] | None) -> dict[str, Any]:
    """Return the lineage as plain JSON; `verified` is null if nothing was verified."""
    version = found.version
    rounds = found.graph.rounds()
    return {
        "name": version.name,
        "version": version.number,
        "aliases": list(version.aliases),
        "source": version.source,
        "store": found.store.uri,
        "model": found.model,
        "runs": list(found.runs),
        "tags": dict(version.tags),
        "stages": [_to_dict(node, rounds[node.uri]) for node in found.graph],
        "verified": None if findings is None else not findings,
        "findings": [asdict(finding) for finding in findings or []],
    }


def _to_dict(node: Node, round_number: int) -> dict[str, Any]:
    return {
        "uri": node.uri,
        "step": node.step,
        "digest": node.digest,
        "iteration": round_number,
        "presence": node.presence.value,
        "inputs": dict(node.inputs),
        "outside": dict(node.outside),
        "files": len(node.files),
        "bytes": node.size,
        "seconds": node.marker.get("seconds"),
        "counts": {
            k: v for k, v in node.section("counts").items() if isinstance(v, int | float | str)
        },
        "facts": dict(node.section("facts")),
        "versions": dict(node.section("versions")),
        "origin": dict(node.section("origin")),
    }


def _print(found: Ancestry, document: dict[str, Any]) -> None:
    console = PlainConsole(soft_wrap=True)
    version = found.version
    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    console.print(Text(f"{version.label}{aliases}  {version.source}", style="bold"))
    for label, text in _facts(found):
        console.print(Text(f"{label:<13}{text}"))
    console.print(_table(found.graph))
    _print_origins(console, found.graph)
    for finding in document["findings"]:
        console.print(Text(f"{finding['uri']} {finding['what']}", style="red"))
    if document["verified"]:
        console.print("Every marker and every file is as it was written.")


def _facts(found: Ancestry) -> list[tuple[str, str]]:
    tags = found.version.tags
    rows = [
        ("base model", tags.get("lidr.base_model", "")),
        ("languages", tags.get("lidr.languages", "")),
        ("gate", tags.get("lidr.gate_verdict", "")),
        ("recipe", tags.get("lidr.recipe_digest", "")),
        ("run", ", ".join(found.runs)),
        ("cluster run", tags.get("lidr.kfp_run_id", "")),
        ("commit", tags.get("lidr.git_sha", "")),
    ]
    for node in found.graph:
        for code, files in (node.section("facts").get("prompt_files") or {}).items():
            rows += [(f"prompts {code}", f"{f['file']}  sha256 {f['sha256']}") for f in files]
        rows += [(name, place) for name, place in node.outside.items()]
    return [(label, text) for label, text in rows if text]


def _table(graph: Graph) -> Table:
    table = Table("for", "stage", "digest", "made from", "files", "bytes", "", box=SIMPLE_HEAD)
    for column in (table.columns[4], table.columns[5]):
        column.justify = "right"
    rounds = graph.rounds()
    for node in sorted(graph, key=lambda each: rounds[each.uri]):
        read = [f"{name} {uri.rpartition('/')[2][:8]}" for name, uri in node.inputs.items()]
        present = "" if node.presence == "whole" else node.presence.value
        cells = [f"M_{rounds[node.uri]}", node.step, node.digest[:12], ", ".join(read)]
        cells += [f"{len(node.files):,}", size_text(node.size), present]
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _print_origins(console: PlainConsole, graph: Graph) -> None:
    """Print images, cluster runs, commits and library versions, each with its steps."""
    steps: dict[tuple[str, str], list[str]] = {}
    for node in graph:
        versions = node.section("versions").items()
        libraries = ", ".join(f"{name} {version}" for name, version in versions)
        facts = {**node.section("origin"), "libraries": libraries}
        for name, value in facts.items():
            if value and name != "pod" and node.step not in steps.setdefault((name, value), []):
                steps[name, value].append(node.step)
    for (name, value), users in sorted(steps.items()):
        console.print(Text(f"{name.replace('_', ' '):<13}{value}  ({', '.join(users)})"))
