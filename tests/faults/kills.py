"""kill -9 of every process of the loop, by moment and by time, and signals to `lidr run`."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.core.processes import marked_pids
from tests.faults.bench import Bench, holds
from tests.faults.lives import SIZES, Life, chosen
from tests.faults.table import Row
from tests.layers import layer


def by_moment(bench: Bench, lives: int = 4, each: int = 3) -> Row:
    """Kill a task, or the whole run, before, inside and after what it writes."""
    tried, held, faults = 0, 0, []
    for number in range(lives):
        name = f"moments-{number}"
        rng = bench.rng(name)
        life = bench.life(name, fresh=number == 0)
        moments = [m for m in bench.whole.moments() if number == 0 or "stages/prepare" not in m]
        ahead = chosen(moments, rng, each)

        def check(life: Life = life, ahead: list[str] = ahead, rng: random.Random = rng) -> None:
            life.live_through(ahead, rng)
            life.finish()
            bench.require_same(life)

        fault = holds(check)
        tried += len(life.killed)
        held += 0 if fault else len(life.killed)
        faults += [f"{name}: {fault}"] if fault else []
        print(f"{name}: {len(life.killed)} kills {fault or 'held'}", flush=True)
    return Row("kill -9 at a moment of the store", tried, held, "; ".join(faults) or _SAME)


def by_time(bench: Bench, lives: int = 2, kills: int = 10) -> Row:
    """Kill everything after a random time, also while MLflow makes its tables."""
    tried, held, faults = 0, 0, []
    for number in range(lives):
        name = f"times-{number}"
        rng = bench.rng(name)
        life = bench.life(name)
        (life.store / "mlflow.db").unlink()

        def check(life: Life = life, rng: random.Random = rng) -> None:
            for _ in range(kills):
                if life.live(seconds=rng.uniform(0.5, 14.0)) == 0:
                    break
            life.finish()
            bench.require_same(life)

        fault = holds(check)
        tried += len(life.killed)
        held += 0 if fault else len(life.killed)
        faults += [f"{name}: {fault}"] if fault else []
        print(f"{name}: {len(life.killed)} kills {fault or 'held'}", flush=True)
    return Row("kill -9 of everything at a random time", tried, held, "; ".join(faults) or _SAME)


def by_signal(bench: Bench, signals: int = 6) -> Row:
    """Interrupt `lidr run` as it is started by a user; kill its driver and its tasks one by one."""
    rng = bench.rng("signals")
    life = bench.life("signals")
    sent: list[str] = []

    def check() -> None:
        for _ in range(signals):
            victim = rng.choice(["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL", "driver", "task"])
            if _interrupted(life, victim, rng.uniform(4, 40)):
                sent.append(victim)
        life.finish()
        bench.require_same(life)

    fault = holds(check)
    print(f"signals: {sent} {fault or 'held'}", flush=True)
    found = fault or f"{', '.join(sorted(set(sent)))}; {_SAME}"
    return Row("`lidr run` interrupted", len(sent), 0 if fault else len(sent), found)


_SAME = "datasets, models, states and registry as undisturbed"


def _interrupted(life: Life, victim: str, seconds: float) -> bool:
    """Start `lidr run`, hit one of its processes after some time, and see that all end."""
    sets = [part for item in SIZES for part in ("--set", item)]
    names = ["--store", life.uri, "--run", life.run]
    place = layer(life.folder / "profile", training={"checkpoint_steps": 2})
    names += ["--profile", "local", "--profile", place]
    process = subprocess.Popen(
        [sys.executable, "-m", "lidr.pipelines.cli", "run", "tiny_world", *names, *sets],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    before = life.work()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    if process.poll() is not None:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        return False
    mark = str(life.job.events)
    if victim.startswith("SIG"):
        process.send_signal(getattr(signal, victim))
    else:
        own = sorted(marked_pids(EVENTS_VARIABLE, mark))
        if not own:
            process.kill()
        else:
            os.kill(own[0] if victim == "driver" else own[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode, "it did not notice"
    assert "Traceback" not in errors, errors
    end = time.monotonic() + 10
    while marked_pids(EVENTS_VARIABLE, mark):
        assert time.monotonic() < end, "processes are left"
        time.sleep(0.1)
    after = life.work()
    assert before.items() <= after.items(), "finished work was lost or made again"
    return True
