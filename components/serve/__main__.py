"""`python -m lidr.components.serve`: the program of the champion's pods."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from lidr.components.serve.files import fetch, run, vllm_command
from lidr.components.serve.follow import Deployment, InferenceService, NothingToServe, follow
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.text import printable
from lidr.components.shared.models.outside import ModelLocation


def main(arguments: list[str]) -> int:
    """Run one command; return its exit status: 0 ok, 1 failure, 2 bad input; for serve, vLLM's."""
    parser = _parser()
    options, extra = parser.parse_known_args(arguments)
    if extra and options.command != "serve":
        parser.error(f"unknown arguments: {' '.join(extra)}")
    if options.command != "follow" and not options.folder.is_dir():
        order = ": FOLDER first, then vLLM's arguments" if options.command == "serve" else ""
        parser.error(f"no folder {str(options.folder)!r}{order}")
    try:
        if options.command == "follow":
            _follow(options)
        elif options.command == "fetch":
            source = os.environ.get("LIDR_CHAMPION_SOURCE", "")
            fetch(
                ModelLocation(source, os.environ.get("LIDR_CHAMPION_ADAPTER", "")), options.folder
            )
        else:
            return run(vllm_command(options.folder, extra))
    except NothingToServe as error:
        print(f"nothing to serve yet: {printable(error.message)}")
    except LidrError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lidr.components.serve", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    follower = commands.add_parser("follow", help="point a server at the version an alias names")
    follower.add_argument("model", help="name of the registered model")
    follower.add_argument("--alias", default="champion")
    follower.add_argument("--namespace", required=True)
    server = follower.add_mutually_exclusive_group(required=True)
    server.add_argument("--deployment", metavar="NAME")
    server.add_argument("--inference-service", metavar="NAME")
    for name, what in (
        ("fetch", "bring the model that LIDR_CHAMPION_SOURCE names into the pod"),
        ("serve", "serve it with vLLM; arguments after FOLDER are vLLM's"),
    ):
        commands.add_parser(name, help=what).add_argument("folder", metavar="FOLDER", type=Path)
    return parser


def _follow(options: argparse.Namespace) -> None:
    server = (
        Deployment(options.deployment, options.namespace)
        if options.deployment
        else InferenceService(options.inference_service, options.namespace)
    )
    model, unready = follow(options.model, options.alias, server)
    if model:
        print(f"{server.name} is set to serve {model.adapter or model.source}")
    else:
        note = f"; {printable(unready)}" if unready else ""
        print(f"{server.name} is already set to serve the {options.alias}{note}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
