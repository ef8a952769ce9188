"""Two at once, full and read-only disks, and clocks that jump."""

from __future__ import annotations

import random
import subprocess
import sys
import time

from tests.disks import small_disk
from tests.faults.bench import Bench, holds
from tests.faults.lives import Life, begin, small_recipe
from tests.faults.table import Row

_SAME = "datasets, models, states and registry as undisturbed"


def two_executions(bench: Bench) -> Row:
    """Execute the same run twice at once: one is refused, the other is undisturbed."""
    life = bench.life("twice")

    def check() -> None:
        both = [life.start() for _ in range(2)]
        for process in both:
            process.join()
        assert sorted(process.exitcode for process in both) == [0, 1]
        assert "already being executed by process" in life.log()
        life.finish()
        bench.require_same(life)

    return _row("two executions of one run at once", check, f"the second is refused; {_SAME}")


def two_recipes(bench: Bench) -> Row:
    """Run two recipes with the same first stages on one store at once."""
    life = bench.life("recipes")
    other = Life(life.folder, small_recipe(["training.beta=0.2"]), run="other")

    def check() -> None:
        both = [life.start(), other.start()]
        for process in both:
            process.join()
        assert [process.exitcode for process in both] == [0, 0], life.log()[-500:]
        found = life.outcome()
        shared = ("registry", "tracked")  # they hold the other run's as well
        mine = {key: value for key, value in bench.outcome.items() if key not in shared}
        assert mine.items() <= found.items(), "the run is not as undisturbed"
        assert len(list(life.store.glob("stages/generate/*"))) == 1
        assert len(list(life.store.glob("stages/train/*"))) == 2

    return _row("two recipes with common stages at once", check, "shared stages are made once")


def full_disk(bench: Bench) -> Row:
    """Let the disk run full at four sizes, then make room."""
    used = _megabytes(bench.whole)
    start = _megabytes(bench.whole, "stages/prepare") + 2
    faults = []
    sizes = [start + (used - start) * share / 5 for share in range(1, 5)]
    for size in sizes:
        with small_disk(f"{size * 1024:.0f}k") as disk:
            life = Life(disk / "life", bench.recipe)
            life.folder.mkdir()

            def check(life: Life = life, disk: object = disk) -> None:
                begin(bench.whole, life)
                code = life.live()
                assert code, "the disk was large enough"
                subprocess.run(["mount", "-o", "remount,size=1g", str(disk)], check=True)
                life.finish()
                bench.require_same(life)

            fault = holds(check)
            faults += [f"{size:.0f} MiB: {fault}"] if fault else []
    tried = len(sizes)
    print(f"full disk: {faults or 'held'}", flush=True)
    found = "; ".join(faults) or f"ends with an error; with room it goes on; {_SAME}"
    return Row("disk full", tried, tried - len(faults), found)


def read_only(bench: Bench) -> Row:
    """Make the store's file system read-only between two executions."""

    def check() -> None:
        with small_disk("1g") as disk:
            life = Life(disk / "life", bench.recipe)
            life.folder.mkdir()
            begin(bench.whole, life)
            life.live(["before task pair"])
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            lidr = [sys.executable, "-m", "lidr.pipelines.cli", "run", "tiny_world"]
            command = [*lidr, "--store", life.uri]
            told = subprocess.run(command, capture_output=True, text=True, check=False)
            assert told.returncode == 2, told.stderr
            assert "read-only file system" in told.stderr, told.stderr
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            life.finish()
            bench.require_same(life)

    return _row("store read-only", check, f"refused with exit status 2; {_SAME}")


def clock_jumps(bench: Bench) -> Row:
    """Let the clock of every process jump by up to three days at each look."""
    life = bench.life("clock", prepare=jump)

    def check() -> None:
        life.finish()
        bench.require_same(life)

    return _row("clock that jumps by days at each look", check, _SAME)


def jump() -> None:
    """Replace the time of day of this process and its forks."""
    rng, now = random.Random(5), time.time
    time.time = lambda: now() + rng.uniform(-3, 3) * 86400
    time.time_ns = lambda: int(time.time() * 1e9)


def _row(name: str, check, found: str) -> Row:
    fault = holds(check)
    print(f"{name}: {fault or 'held'}", flush=True)
    return Row(name, 1, 0 if fault else 1, fault or found)


def _megabytes(life: Life, folder: str = "") -> float:
    files = [path for path in (life.store / folder).rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / 2**20
