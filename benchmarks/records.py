"""What lidr itself costs per record: everything around the engine, with an engine that is instant.

Prompts are read, turned into requests and seeds, answered at once, and become records, Parquet
files and a finished stage; language identification is off. Each size runs in a process of its own,
so that its peak memory is its own.

The last line is JSON: `records_per_second` per core at the largest size, `peak_mb` there,
`peak_ratio` of the largest to the smallest size, and `missing_seconds`: the time to find out what
is missing among 10,000 chunks.

Usage: python -m benchmarks.records [--sizes 100000 1000000]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lidr.components.rollout import EngineSession, roll_out
from lidr.components.rollout.answers import Answers
from lidr.components.rollout.chunks import Shard
from lidr.components.rollout.prompts import PromptBook
from lidr.components.rollout.stages import generate_stage
from lidr.components.rollout.stream import count_missing
from lidr.components.rollout.summaries import finish_responses
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.engines import (
    ChatRequest,
    Completion,
    Engine,
    Likelihoods,
    ScoreRequest,
)
from lidr.components.shared.records.schema import Prompt
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage

LANGUAGES = ("en", "es")
CHUNK = 500
CHUNKS = 10_000


class InstantEngine:
    """Answers each request when it is read."""

    def complete(self, requests: Iterable[ChatRequest | None]) -> Iterator[Completion]:
        """Yield one short completion for each request."""
        for request in requests:
            if request is not None:
                yield Completion(request.key, "At first there are 4 books.", "stop", 30, 8)

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Likelihoods]:
        """Yield nothing: nobody asks."""
        yield from ()

    def stats(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    def close(self) -> None:
        """Do nothing."""


class InstantSession(EngineSession):
    """Holds an instant engine."""

    @property
    def engine(self) -> Engine:
        """The engine."""
        return InstantEngine()

    @property
    def batches(self) -> bool:
        """It streams, as vLLM does."""
        return False


def main() -> None:
    """Measure every size in a process of its own and print the figures."""
    parser = argparse.ArgumentParser(description="What lidr itself costs per record.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--one", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ[EVENTS_VARIABLE] = os.devnull
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    found = [_in_a_process(size) for size in sorted(options.sizes)]
    for size, figures in zip(sorted(options.sizes), found, strict=True):
        print(f"{size:,} records: {figures}")
    last = found[-1]
    print(
        json.dumps(
            {
                "records_per_second": last["records_per_second"],
                "peak_mb": last["peak_mb"],
                "peak_ratio": round(last["peak_mb"] / found[0]["peak_mb"], 3),
                "missing_seconds": missing_seconds(),
            }
        )
    )


def measure(records: int) -> dict[str, float]:
    """Roll out so many records and return records per CPU second and the peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = _recipe(records // len(LANGUAGES))
        inputs = _write_inputs(folder, recipe)
        stage = generate_stage(recipe, folder, inputs.uri, inputs.uri, 1)
        answers = _answers(recipe, stage, inputs)
        began, cpu = time.monotonic(), time.process_time()
        roll_out(InstantSession(recipe, inputs.uri), [stage], lambda: answers.chunks(Shard()))
        finish_responses(recipe, answers)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        if stage.counts()["responses"] != records:
            sys.exit(f"{stage.counts()['responses']} of {records} records arrived")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "records_per_second": round(records / max(seconds, cpu)),
        "cpu_seconds": round(cpu, 1),
        "seconds": round(seconds, 1),
        "peak_mb": round(peak, 1),
    }


def missing_seconds() -> float:
    """Return how long it takes to find the one chunk that is missing among 10,000."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = _recipe(CHUNKS // len(LANGUAGES) * CHUNK)
        inputs = _write_inputs(folder, recipe)
        stage = generate_stage(recipe, folder, inputs.uri, inputs.uri, 1)
        chunks = list(_answers(recipe, stage, inputs).chunks(Shard()))
        for chunk in chunks[1:]:
            path = Path(folder) / chunk.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        began = time.monotonic()
        present = {entry.key for entry in stage.store.list(stage.prefix)}
        missing = count_missing(_answers(recipe, stage, inputs).chunks(Shard()), present)
        seconds = time.monotonic() - began
        if missing != CHUNK:
            sys.exit(f"{missing} places are missing, not {CHUNK}")
    return round(seconds, 3)


def _answers(recipe: Recipe, stage: Stage, inputs: Stage) -> Answers:
    prompts = PromptBook(inputs, recipe.prompts.per_iteration, 1)
    return Answers(recipe, stage, prompts, 1, _no_language)


def _no_language(texts: Sequence[str]) -> list[str]:
    return ["und"] * len(texts)


def _recipe(prompts: int) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "records",
            "languages": {"others": list(LANGUAGES[1:])},
            "model": {"source": "toy"},
            "prompts": {"per_iteration": prompts},
            "generation": {"chunk_size": CHUNK},
            "evaluation": {"tasks": ["tiny_world_{language}"]},
        }
    )


def _write_inputs(folder: str, recipe: Recipe) -> Stage:
    """Write a stage `prepare` with short prompts, a part at a time."""
    stage = new_stage(open_store(folder), "prepare", 1, {}, {})
    count = recipe.prompts.per_iteration
    for language in LANGUAGES:
        path = Path(folder) / f"{language}.parquet"
        with pq.ParquetWriter(path, Prompt.schema, compression="zstd") as writer:
            for start in range(0, count, 4096):
                numbers = range(start, min(start + 4096, count))
                rows = [_prompt(number, language) for number in numbers]
                writer.write_table(pa.Table.from_pylist(rows, schema=Prompt.schema))
        stage.upload(f"prompts/{language}.parquet", path)
        path.unlink()
    stage.finish({})
    return stage


def _prompt(number: int, language: str) -> dict[str, object]:
    text = f"Nina has {number} books. Nina finds 2. How many books does Nina have now?"
    return {
        "prompt_id": f"p{number}",
        "language": language,
        "text": text,
        "answer": str(number + 2),
        "translation_task": False,
    }


def _in_a_process(size: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.records", "--one", str(size)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    main()
