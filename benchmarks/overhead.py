"""What the pipeline machinery costs: `lidr run`'s pipeline against its steps called directly.

Both sides run the tiny world, one process a step. They run it whole once; then, again and again
and in turn, with every stage done already. What is left then is imports, looking up stages, and
the machinery, so the difference of the two is the machinery alone, free of training's noise.

The last line is JSON. `loop_share` is that difference as a share of the whole loop's time, and
`seconds_per_task` is it divided by the number of KFP tasks.

Usage: python -m benchmarks.overhead [--quick] [--repeats N]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import read_state
from lidr.components.state.run import next_state, write_state
from lidr.pipelines.cli.inputs import read_recipe
from lidr.pipelines.local import LocalJob, execute, task_environment

QUICK = (
    "toy.solutions=1200",
    "toy.weak_solutions=400",
    "toy.translations=400",
    "toy.evaluation_items=20",
    "prompts.per_iteration=16",
    "translation.round_trip_sample=0",
    "pairing.reward.on_stop=train",
)
"""Sizes at which the steps take seconds. The gate stops early: only the time matters."""

State = dict[str, str]

_CALL = """
import importlib, json, sys
job = json.load(sys.stdin)
module = importlib.import_module(f"components.{job['step']}.run")
value = getattr(module, job["function"])(**job["arguments"])
open(job["answer"], "w").write(value)
"""


@dataclass(frozen=True)
class Direct:
    """The loop as a plain program: the same functions, one process each.

    Attributes:
        job: what the pipeline would be given.
    """

    job: LocalJob

    def run(self) -> None:
        """Run the loop until the gate says stop, then the report."""
        inputs = self._call("prepare", "prepare")
        state = self._end_iteration(inputs, inputs, 0, {}, {"evaluation": "", "version": ""})
        for number in range(1, self.job.max_iterations + 1):
            if state["verdict"] == "continue":
                self._iteration(inputs, number, state)
            state = self._next(number, state)
        self._call("report", "report")

    def _iteration(self, inputs: str, number: int, state: State) -> None:
        common = {"inputs": inputs, "model": state["model"], "iteration": number}
        made = {"responses": self._call("generate", "generate", **common)}
        made["translations"] = self._call("translate", "translate", **common, **made)
        made["pairs"] = self._call("pair", "pair", **common, **made)
        trained = self._call("train", "train", **common, pairs=made["pairs"])
        self._end_iteration(inputs, trained, number, made, state)

    def _next(self, number: int, state: State) -> State:
        names = ("model", "evaluation", "judgements", "version", "verdict")
        known = {name: state[name] for name in names}
        return next_state(self.job.store, self.job.run, number, **known)._asdict()

    def _end_iteration(
        self, inputs: str, model: str, number: int, made: dict[str, str], before: State
    ) -> State:
        common = {"inputs": inputs, "model": model, "iteration": number}
        evaluation = self._call("evaluate", "evaluate", **common)
        decision = self._gate(before["evaluation"], evaluation, made, number) if number else ""
        facts: dict[str, Any] = {
            "evaluation": evaluation,
            "decision": decision,
            **common,
        }
        version = self._call("register", "register", parent=before["version"], **facts)
        missing = dict.fromkeys(("responses", "translations", "pairs", "judgements"), "")
        pointers: dict[str, Any] = {**missing, **made}
        given: dict[str, Any] = {
            "recipe": self.job.recipe,
            "store": self.job.store,
            "version": version,
        }
        write_state(run=self.job.run, **facts, **pointers, **given)
        return read_state(open_store(self.job.store), self.job.run, number)

    def _gate(self, before: str, after: str, made: dict[str, str], number: int) -> str:
        return self._call(
            "gate",
            "gate",
            before=before,
            after=after,
            iteration=number,
            max_iterations=self.job.max_iterations,
            pairs=made["pairs"],
        )

    def _call(self, step: str, function: str, **arguments: object) -> str:
        """Call one step's function in a process of its own."""
        answer = self.job.folder / "answer.txt"
        given = {
            "recipe": self.job.recipe,
            "store": self.job.store,
            "run": self.job.run,
            **arguments,
        }
        job = {"step": step, "function": function, "answer": str(answer), "arguments": given}
        done = subprocess.run(
            [sys.executable, "-c", _CALL],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            env=task_environment(self.job) | {"TMPDIR": tempfile.gettempdir()},
        )
        if done.returncode:
            sys.exit(f"{step} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return answer.read_text()


def main() -> None:
    """Measure both sides and print the ratios."""
    parser = argparse.ArgumentParser(description="What the pipeline machinery costs.")
    parser.add_argument("--quick", action="store_true", help="small sizes: steps take seconds")
    parser.add_argument("--repeats", type=int, default=3, help="measurements with all stages done")
    options = parser.parse_args()
    recipe = read_recipe("tiny_world", 0, QUICK if options.quick else ())
    os.environ[EVENTS_VARIABLE] = os.devnull
    with tempfile.TemporaryDirectory() as folder:
        jobs = [_job(recipe, Path(folder) / side) for side in ("direct", "pipeline")]
        direct, pipeline = Direct(jobs[0]).run, partial(execute, jobs[1], lambda events: None)
        whole = _seconds(direct), _seconds(pipeline)
        print(f"whole loop: {whole[0]:.1f} s direct, {whole[1]:.1f} s as a pipeline")
        pairs = [(_seconds(direct), _seconds(pipeline)) for _ in range(options.repeats)]
        tasks = jobs[1].log.read_text().count("Executing task") // (1 + options.repeats)
    for one, other in pairs:
        print(f"all stages done: {one:.2f} s direct, {other:.2f} s as a pipeline")
    print(json.dumps(figures(whole, pairs, tasks)))


def figures(
    whole: tuple[float, float], pairs: Sequence[tuple[float, float]], tasks: int
) -> dict[str, float]:
    """Return the measurement's figures.

    Args:
        whole: seconds of the whole loop, direct and as a pipeline.
        pairs: the same with all stages done, once for each repeat.
        tasks: KFP tasks of the pipeline.
    """
    overhead = median(other - one for one, other in pairs)
    return {
        "loop_share": round(overhead / whole[1], 4),
        "seconds_per_task": round(overhead / tasks, 3),
        "overhead_seconds": round(overhead, 2),
        "direct_seconds": round(whole[0], 1),
        "pipeline_seconds": round(whole[1], 1),
        "tasks": tasks,
    }


def _job(recipe: Recipe, store: Path) -> LocalJob:
    bound = recipe.gate.max_iterations
    job = LocalJob(recipe.model_dump_json(), str(store), "overhead", bound, bound)
    job.folder.mkdir(parents=True)
    return job


def _seconds(function: Callable[[], None]) -> float:
    began = time.monotonic()
    function()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
