"""What `python -m tests.cluster` is told on its command line."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

NEEDS = """\
tests.cluster needs a cluster, and none was named. It would need:
  --kubeconfig F   of an administrator of a cluster with Kubernetes, Kubeflow Pipelines 2.17,
                   Trainer 2.3 and Kueue (manifests/README.md), or --foundation FOLDER to apply
  --kfp-host URL   of Kubeflow Pipelines' API, as this machine reaches it
  --profile P      the cluster profile to run with; images that it names, where nodes find them
and kubectl on the PATH. Parts: {parts}."""


@dataclass(frozen=True)
class Options:
    """The command line.

    Attributes:
        kubeconfig: of an administrator.
        kfp_host: address of Kubeflow Pipelines' API.
        parts: names of the parts to run, in order.
        profiles: of the cluster, as `lidr --profile` takes them.
        overlay: name of the overlay that is installed.
        foundation: folder with what lidr stands on; "" where it is there.
        kfp_namespace: where Kubeflow Pipelines itself runs.
        seed: every random choice follows from it.
        kills: faults to inject.
        minutes: after which no further fault is injected; 0 is no limit.
        only: words of the faults to inject; none stands for all.
        lives: runs that live through the faults at the same time.
        longest: seconds for which a component is stopped at most.
        folder: of local runs and partial results.
        crowded: run `submit` beside other parts, too.
        small: give the run that several parts look at small sizes, too.
        keep: leave everything that was made.
        tag: of the images to upgrade to.
        stop: by component, the command that stops it, in place of scaling it to 0.
        start: by component, the command that starts it again.
        workloads: by component, `kind/name@namespace` in place of the usual one.
    """

    kubeconfig: str
    kfp_host: str
    parts: tuple[str, ...]
    profiles: tuple[str, ...] = ("cluster",)
    overlay: str = "kind"
    foundation: str = ""
    kfp_namespace: str = "kubeflow"
    seed: int = 0
    kills: int = 50
    minutes: float = 0.0
    only: tuple[str, ...] = ()
    lives: int = 2
    longest: float = 300.0
    folder: Path = Path("build/cluster")
    crowded: bool = False
    small: bool = False
    keep: bool = False
    tag: str = ""
    stop: dict[str, list[str]] = field(default_factory=dict)
    start: dict[str, list[str]] = field(default_factory=dict)
    workloads: dict[str, str] = field(default_factory=dict)


def parse(arguments: Sequence[str], parts: Sequence[str]) -> Options | None:
    """Return the options; None where no cluster was named.

    Args:
        arguments: of the command line.
        parts: the names of all parts, in order.
    """
    parser = _parser(parts)
    given = parser.parse_args(arguments)
    if not given.kubeconfig:
        return None
    if not given.kfp_host:
        parser.error("--kubeconfig needs --kfp-host as well")
    asked = [*(given.part or [part for part in parts if part != "record"])]
    asked += ["record"] if given.record else []
    chosen = tuple(part for part in parts if part in asked)
    return Options(
        kubeconfig=str(Path(given.kubeconfig).absolute()),
        kfp_host=given.kfp_host,
        parts=chosen,
        profiles=tuple(given.profile or ["cluster"]),
        overlay=given.overlay,
        foundation=given.foundation,
        kfp_namespace=given.kfp_namespace,
        seed=given.seed,
        kills=given.kills,
        minutes=given.minutes,
        only=tuple(given.only),
        lives=given.lives,
        longest=given.longest,
        folder=given.folder.absolute(),
        crowded=given.crowded,
        small=given.small,
        keep=given.keep,
        tag=given.tag,
        stop={name: shlex.split(value) for name, value in _pairs(parser, given.stop)},
        start={name: shlex.split(value) for name, value in _pairs(parser, given.start)},
        workloads=dict(_pairs(parser, given.workload)),
    )


def _parser(parts: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster", description="Go through what a user does, on a cluster."
    )
    add = parser.add_argument
    add("--kubeconfig", default="", help="Of an administrator of the cluster.")
    add("--kfp-host", default="", help="Kubeflow Pipelines' API, as this machine reaches it.")
    add("--part", action="append", choices=parts, metavar="NAME", help=", ".join(parts))
    add("--profile", action="append", help="As `lidr --profile`; repeatable. Default: cluster.")
    add("--overlay", default="kind", help="The overlay that is installed. Default: kind.")
    add("--foundation", default="", help="Folder (or file) to apply with what lidr stands on.")
    add("--kfp-namespace", default="kubeflow", help="Of Kubeflow Pipelines. Default: kubeflow.")
    add("--seed", type=int, default=0, help="Every random choice follows from it.")
    add("--kills", type=int, default=50, help="Faults to inject. Default: 50.")
    add("--minutes", type=float, default=0.0, help="No fault after so long. Default: no limit.")
    add("--only", nargs="*", default=[], help="Words of the faults to inject, e.g. pod, disk.")
    add("--lives", type=int, default=2, help="Runs at a time under faults. Default: 2.")
    add("--longest", type=float, default=300.0, help="Seconds of a stop at most. Default: 300.")
    add("--folder", type=Path, default=Path("build/cluster"), help="For local runs and results.")
    add("--crowded", action="store_true", help="Quicker; others' load is in the overhead, too.")
    add("--small", action="store_true", help="Small sizes everywhere, for a slow cluster.")
    add("--keep", action="store_true", help="Leave what was made.")
    add("--record", action="store_true", help="Renew tests/recordings.")
    add("--tag", default="", help="Tag of images in the cluster that `upgrade` goes to and back.")
    add("--stop", action="append", default=[], metavar="NAME=CMD", help="Stops a component.")
    add("--start", action="append", default=[], metavar="NAME=CMD", help="Starts it again.")
    add(
        "--workload",
        action="append",
        default=[],
        metavar="NAME=KIND/NAME@NAMESPACE",
        help="Where a component is, if not where manifests/ and Kubeflow put it.",
    )
    return parser


def _pairs(parser: argparse.ArgumentParser, given: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for each in given:
        name, found, value = each.partition("=")
        if not found or not value:
            parser.error(f"{each!r} is not NAME=VALUE")
        pairs.append((name, value))
    return pairs
