"""Goes through what a user does, on a cluster: `python -m tests.cluster --help`."""

from __future__ import annotations

import sys
import threading
import time
import traceback

from tests.cluster.cluster import Cluster, environment
from tests.cluster.options import NEEDS, parse
from tests.cluster.parts import PARTS, groups
from tests.cluster.results import Failure, LeftOut, Result, line, table

_RESTART_TIMEOUT_SECONDS = 120.0
"""What interrupted faults have to start again what they had stopped."""


def main(arguments: list[str]) -> int:
    """Run the parts; return 0 where none failed, 1 where one did, 2 without a cluster."""
    options = parse(arguments, list(PARTS))
    if options is None:
        print(NEEDS.format(parts=", ".join(PARTS)), file=sys.stderr)
        return 2
    cluster = Cluster(options)
    try:
        environment(cluster)
    except Failure as error:
        print(f"the cluster cannot be used: {error}", file=sys.stderr)
        return 2
    results = run_parts(cluster)
    print(table(results))
    print(line(results, cluster.figures), flush=True)
    return 1 if any(each.state == "failed" for each in results) else 0


def run_parts(cluster: Cluster) -> list[Result]:
    """Run the parts one after another, and remove what they have made."""
    results: dict[str, Result] = {}
    try:
        for group in groups(cluster.options.parts, crowded=cluster.options.crowded):
            _run_beside(cluster, group, results)
    except KeyboardInterrupt:
        cluster.say("interrupted; what is done counts")
    finally:
        cluster.remove()
    return [results[part] for part in cluster.options.parts if part in results]


def _run_beside(cluster: Cluster, group: list[str], results: dict[str, Result]) -> None:
    """Run parts beside one another; each has its result as soon as it has ended."""
    # Events: CPython 3.11 takes a thread for ended once a join of it was interrupted.
    ended = {part: threading.Event() for part in group}

    def run(part: str) -> None:
        cluster.say(f"== {part}")
        try:
            results[part] = found = _result(cluster, part)
            cluster.say(f"== {part}: {found.state}. {found.found}")
        finally:
            ended[part].set()

    for part in group:
        threading.Thread(target=run, args=(part,), daemon=True).start()
    try:
        for each in ended.values():
            each.wait()
    except KeyboardInterrupt:
        cluster.interrupted.set()
        if "faults" in group:
            cluster.say("interrupted; waiting until what was stopped is there again")
            ended["faults"].wait(_RESTART_TIMEOUT_SECONDS)
        raise


def _result(cluster: Cluster, part: str) -> Result:
    begun = time.monotonic()
    try:
        found, state = PARTS[part](cluster), "passed"
    except LeftOut as reason:
        found, state = str(reason), "left out"
    except AssertionError as error:
        found, state = " ".join(str(error).split()), "failed"
    except Exception as error:
        traceback.print_exc()
        found, state = f"{type(error).__name__}: {' '.join(str(error).split())}", "failed"
    return Result(part, state, time.monotonic() - begun, found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
