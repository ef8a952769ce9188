"""Evaluating five MGSM languages against the bare engine on the same requests.

A random 4M-parameter Llama answers 250 made-up questions a language (`mgsm_paper`, greedy, cut at
`--tokens`) on the transformers engine. One side is `run_tasks`, from recipe to scored items, its
index of tasks included; the other hands the very same requests to the engine in one call. The sides
take turns, and both give the same texts.

- `cost_of_evaluation`: wall seconds of the first over the second, the median of the repeats.

Usage: python -m benchmarks.evaluation [--items 250] [--tokens 64] [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.training import Shape, write_model
from lidr.components.evaluate.harness import Scored, run_tasks
from lidr.components.evaluate.limits import TASKS
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.engines import ChatRequest, Completion
from lidr.components.shared.engines.transformers_engine import TransformersEngine
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.store.local import LocalStore

LANGUAGES = ("en", "es", "de", "fr", "ru")
_SHAPE = Shape(vocabulary=2_000, width=256, layers=4)


class Noting(TransformersEngine):
    """Keeps what it is asked, and cuts answers: a random model would write to the bitter end."""

    asked: list[ChatRequest]
    tokens: int

    def complete(self, requests: Iterable[ChatRequest | None]) -> Iterator[Completion]:
        """Answer as the engine does."""
        given = (request for request in requests if request is not None)
        self.asked = [
            replace(each, decoding=replace(each.decoding, max_tokens=self.tokens)) for each in given
        ]
        return super().complete(self.asked)


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser(description="evaluation against the bare engine.")
    parser.add_argument("--items", type=int, default=250, help="items per language")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side")
    options = parser.parse_args()
    os.environ.setdefault(EVENTS_VARIABLE, os.devnull)
    os.environ["TQDM_DISABLE"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = _recipe(folder, options.items)
        model = write_model(LocalStore(folder / "store"), folder / "model", _SHAPE)
        engine = Noting(
            model_files(model).folder, dtype="float32", max_length=0, batch_tokens=16_384
        )
        engine.tokens = options.tokens
        ratios = [_ratio(engine, recipe, folder) for _ in range(options.repeats + 1)][1:]
    print(json.dumps({"cost_of_evaluation": round(median(ratios), 3), "of": sorted(ratios)}))


def _ratio(engine: Noting, recipe: Recipe, folder: Path) -> float:
    began = time.perf_counter()
    scored = run_tasks(engine, recipe, [TASKS], folder)
    evaluated = time.perf_counter() - began
    requests = engine.asked
    began = time.perf_counter()
    bare = {answer.key: answer.text for answer in engine.complete(requests)}
    alone = time.perf_counter() - began
    _require_same(scored, bare)
    print(f"evaluation {evaluated:.1f} s, engine alone {alone:.1f} s", flush=True)
    return round(evaluated / alone, 4)


def _require_same(scored: list[Scored], bare: dict[str, str]) -> None:
    if sorted(item.completion.text for item in scored) != sorted(bare.values()):
        raise SystemExit("the two sides gave other texts")


def _recipe(folder: Path, items: int) -> Recipe:
    for code in LANGUAGES:
        lines = (
            json.dumps({"question": _question(code, number), "answer": str(number % 97)})
            for number in range(items)
        )
        (folder / f"{code}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return Recipe.model_validate(
        {
            "name": "benchmark",
            "languages": {"dominant": "en", "others": LANGUAGES[1:]},
            "model": {"source": "none"},
            "prompts": {"files": dict.fromkeys(LANGUAGES, "none")},
            "evaluation": {
                "tasks": ["mgsm_paper_{language}"],
                "data": {"mgsm": f"{folder}/{{language}}.jsonl"},
            },
        }
    )


def _question(code: str, number: int) -> str:
    words = " ".join(f"w{(number * 7 + place * 13) % 1900}" for place in range(20 + number % 60))
    return f"w{LANGUAGES.index(code)} {words}"


if __name__ == "__main__":
    main()
