"""The long run: `python -m tests.faults --seed N` prints its table and puts it into the docs."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults import clashes, flips, kills
from tests.faults.bench import Bench
from tests.faults.services import Team, team
from tests.faults.table import Row, written
from tests.moto_server import moto_server


def main() -> None:
    """Run every case, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="Every choice follows from it.")
    parser.add_argument("--only", nargs="*", default=[], help="Words in the names of cases.")
    parser.add_argument("--folder", type=Path, help="Keep everything here. Default: temporary.")
    options = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"  # before the steps' libraries are imported
    with tempfile.TemporaryDirectory(prefix="lidr-faults-") as name:
        bench = Bench(options.folder or Path(name), options.seed)
        rows = list(_rows(bench, options.only))
    for row in rows:
        print(f"{row.fault}: {row.held} of {row.tried}. {row.found}")
    if not options.only:
        written(rows, options.seed)
    if any(row.held < row.tried for row in rows):
        raise SystemExit(1)


def _rows(bench: Bench, only: list[str]) -> Iterator[Row]:
    alone = [
        kills.by_moment,
        kills.by_time,
        kills.by_signal,
        flips.flipped_bytes,
        flips.flipped_checkpoints,
        clashes.two_executions,
        clashes.two_recipes,
        clashes.full_disk,
        clashes.read_only,
        clashes.clock_jumps,
    ]
    for case in alone:
        if not only or any(word in case.__name__ for word in only):
            yield case(bench)
    if only and "services" not in only:
        return
    with moto_server() as s3, team(s3) as stack:
        if stack is None:
            print("no PostgreSQL: the services are left out")
            return
        lives = Team(bench, stack, s3)
        yield lives.kills()
        yield lives.broken_network()
        yield lives.restarts("MLflow", stack.mlflow)
        yield lives.restarts("PostgreSQL", stack.postgres)


if __name__ == "__main__":
    main()
