"""The three rewarders side by side in the tiny world, one iteration each, with their controls.

All runs share M_0, and those of several samples its answers. What they differ in is who says which
answer is better:

- `lidr`: the model's own translations of its English answers, as in the demo.
- `judge, oracle`: a judge that knows every right answer and language: the most that a choice among
  samples can give here.
- `judge, by length`: a judge that likes long answers, and knows nothing.
- `judge, by lot`: one that draws its grades: what learning from any samples does.
- `icr, tuned on all`: the implicit reward of M_1 of the run `lidr` against M_0.
- `icr, tuned on English`: of a model whose only preferences are English ones, M_1 of the run
  `english`, against M_0. This is what the method is about.
- `icr, exchanged`: that of `icr, tuned on all` with policy and reference exchanged: must not help.

Verdicts of the reward check do not stop these runs; the table says what they were.

The last line is JSON: by run its pairs, how often the one right side is the chosen one, the check's
verdict, and accuracy and off-target answers of M_0 and M_1.

Usage: python -m benchmarks.rewarders [--folder FOLDER] [--samples 4] [--prompts 300] [--only NAME]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from lidr.components.shared.config.evaluation import MAX_ITERATIONS
from lidr.components.shared.core.digest import seed_of
from lidr.components.shared.core.languages import LanguageIdentifier
from lidr.components.shared.numbers.answer import extract_number
from lidr.components.shared.store.stage import open_stage
from lidr.components.toy.problems import LANGUAGES, draw_problems, question

SEED = 0
OTHERS = LANGUAGES[1:]

Grades = Callable[[str, str], float]
"""A judge: prompt and answer to a grade from 0 to 10."""


@dataclass(frozen=True)
class Contestant:
    """One run.

    Attributes:
        name: for people; the run's name is made of it.
        settings: of the recipe, as `--set` takes them.
        grades: of its judge, if it has one.
    """

    name: str
    settings: list[str] = field(default_factory=list)
    grades: Grades | None = None

    @property
    def run(self) -> str:
        """The run's name."""
        return self.name.replace(",", "").replace(" ", "-")


def main() -> None:
    """Run all of them and print what came of each."""
    parser = argparse.ArgumentParser(description="The three rewarders in the tiny world.")
    parser.add_argument("--folder", type=Path, help="keep the store here")
    parser.add_argument("--samples", type=int, default=4, help="of each prompt")
    parser.add_argument("--prompts", type=int, default=300, help="of the iteration")
    parser.add_argument("--only", default="", help="run this one, whose models are there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        world = _World(options.folder or Path(name), options.samples, options.prompts)
        found = {}
        for contestant in world.contestants():
            if options.only not in ("", contestant.name):
                continue
            began = time.monotonic()
            found[contestant.name] = world.outcome(contestant)
            print(f"{contestant.name}: {time.monotonic() - began:.0f} s", flush=True)
            print(json.dumps(found[contestant.name]), flush=True)
    print(json.dumps(found))


class _World:
    """A store, and the runs on it.

    Args:
        folder: of the store, and of what belongs to it.
        samples: of each prompt.
        prompts: of the iteration.
    """

    def __init__(self, folder: Path, samples: int, prompts: int) -> None:
        self._folder = folder
        self._store = folder / "store"
        self._prompts = prompts
        self._sampled = [f"generation.samples={samples}", "generation.temperature=1.0"]

    def contestants(self) -> Iterator[Contestant]:
        """Yield the runs; those of icr name models of runs that are over by then."""
        oracle = self._oracle()

        def judged(name: str) -> list[str]:
            named = f"judge={{endpoint: {{model: {name}}}}}"  # grades of another are not reused
            return [*self._sampled, "pairing.rewarder=judge", named]

        def english(prompt: str, answer: str) -> float:
            return oracle(prompt, answer) if self._language_of[prompt] == "en" else 5.0

        yield Contestant("lidr")
        yield Contestant("judge, oracle", judged("oracle"), oracle)
        yield Contestant("judge, by length", judged("length"), lambda _, text: (len(text) - 65) / 2)
        yield Contestant("judge, by lot", judged("lot"), lambda *texts: seed_of(*texts) % 11)
        yield Contestant("english", [*judged("english"), "generation.temperature=1.5"], english)
        yield self._implicit("icr, tuned on all", "lidr", 1, 0)
        yield self._implicit("icr, tuned on English", "english", 1, 0)
        yield self._implicit("icr, exchanged", "lidr", 0, 1)

    def outcome(self, contestant: Contestant) -> dict[str, Any]:
        """Run one, and return what came of it."""
        self._run(contestant)
        states = [self._state(contestant.run, t) for t in (0, 1)]
        counts = open_stage(states[1]["pairs"]).counts()
        reward = counts["reward"]
        whole = next(place for key, place in reward["places"].items() if key in ("*-*", "*"))
        return {
            "pairs": counts["pairs"],
            "candidates": counts["candidates"],
            "right": whole.get("right"),
            "verdict": reward["verdict"],
            "length_penalty": counts.get("length_penalty"),
            "models": [_measured(state["evaluation"]) for state in states],
        }

    def _implicit(self, name: str, run: str, policy: int, reference: int) -> Contestant:
        """Return a run of icr with two models of another one."""

        named = [str(self._state(run, t)["model"]) for t in (policy, reference)]
        models = f"policy: {named[0]}, reference: {named[1]}"
        section = f"pairing={{filters: paper, rewarder: icr, icr: {{{models}}}}}"
        return Contestant(name, [*self._sampled, section])

    def _state(self, run: str, t: int) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(
            (self._store / f"runs/{run}/iteration-{t}/state.json").read_text()
        )
        return state

    def _oracle(self) -> Grades:
        """Return a judge that knows what is right, and in which language it must be said."""
        identifier = LanguageIdentifier(LANGUAGES)
        problems = draw_problems(SEED, "prompts", self._prompts * MAX_ITERATIONS)
        answers = {question(each, code): each.answer for each in problems for code in LANGUAGES}
        self._language_of = {question(each, code): code for each in problems for code in LANGUAGES}

        def grade(prompt: str, answer: str) -> float:
            code = self._language_of[prompt]
            right = extract_number(answer, code) == int(answers[prompt])
            fits = identifier.identify([answer])[0] == code
            return 7.0 * right + 3.0 * fits

        return grade

    def _run(self, contestant: Contestant) -> None:
        settings = [
            f"seed={SEED}",
            f"prompts.per_iteration={self._prompts}",
            "gate.max_iterations=1",
            *contestant.settings,
            "pairing.reward.on_stop=train",  # behind a whole section of pairing
        ]
        sets = [part for each in settings for part in ("--set", each)]
        command = ["run", "tiny_world", "--store", str(self._store), "--run", contestant.run, *sets]
        if contestant.grades is None:
            _lidr(*command)
            return
        from tests.judges import Says, ScriptedJudge

        grades = contestant.grades
        server = ScriptedJudge(lambda asked: Says(f"Score: {_grade(grades, asked)}"))
        layer = self._folder / "judge.yaml"
        layer.write_text(yaml.safe_dump({"judge": {"url": server.url}}))
        try:
            _lidr(*command, "--profile", "local", "--profile", str(layer))
        finally:
            server.close()


def _grade(grades: Grades, asked: Any) -> int:
    """Return a judge's grade of what a request to it holds, a whole number from 0 to 10."""
    grade = grades(asked.block("user"), asked.block("answer"))
    return round(min(10.0, max(0.0, grade)))


def _measured(evaluation: str) -> dict[str, Any]:
    """Return accuracy in English, that of the others with limits, and their off-target share."""
    counts = open_stage(evaluation).counts()
    languages = counts["languages"]
    return {
        "en": languages["en"]["accuracy"]["value"],
        "others": {key: counts["average"][key] for key in ("value", "low", "high")},
        "off_target": fmean(languages[code]["off_target"]["value"] for code in OTHERS),
    }


def _lidr(*arguments: str) -> None:
    command = [sys.executable, "-m", "lidr.pipelines.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")


if __name__ == "__main__":
    main()
