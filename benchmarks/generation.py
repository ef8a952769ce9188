"""generate and translate on real vLLM: against scripts, against the bare engine, and fused.

Three questions, answered in one run with one model, the same prompts and the same engine settings:

- `speedup_vs_scripts`: lidr's two steps against the usual shape of research code, a process with an
  engine of its own for every language and every direction of translation (5 languages: 13).
- `share_of_bare_engine`: output tokens per second of lidr's rollout (chunks, language
  identification, progress, Parquet and markers included) as a share of those of one
  `LLM.generate` call over the same requests in the same engine. Short runs in pairs, the first of
  a pair in turn: what else the machine does then meets both. The figure is the median of the
  pairs' ratios; `share_low` and `share_high` are its 95% interval (order statistics, no shape of
  the distribution assumed), `share_pairs` every ratio.
- `fused_speedup`: seconds of the two steps over those of the fused rollout, one engine start less.

The last line is JSON. A tiny random model stands in for a real one, so engine starts weigh more
than they would, and lidr's own work too.

Usage: python -m benchmarks.generation [--prompts 200] [--tokens 64] [--pairs 21] [--no-scripts]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from math import comb
from pathlib import Path
from statistics import median
from typing import Any

from lidr.components.rollout.answers import decoding_of
from lidr.components.rollout.translations import directions
from lidr.components.shared.config.machine import MACHINE, EngineSettings, Machine
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.engines import start_engine
from lidr.components.shared.models.sources import ModelFiles
from lidr.components.shared.store.stage import Stage, open_stage

LANGUAGES = ("en", "es", "ru", "de", "fr")

_PAIR_PROMPTS = 500
"""Prompts per language of one short run, about ten seconds. The engine holds 512 requests; what is
left to write when the last of them is answered is the same however long a run is: a run of a few
hundred requests would consist of it. A chunk of the default size holds a language's."""


def main() -> None:
    """Measure everything and print the ratios."""
    parser = argparse.ArgumentParser(description="generate and translate on real vLLM.")
    parser.add_argument("--prompts", type=int, default=200, help="prompts per language")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each answer")
    parser.add_argument("--pairs", type=int, default=21, help="pairs of runs with the bare engine")
    parser.add_argument("--only-pairs", action="store_true", help="measure nothing else")
    parser.add_argument("--no-scripts", action="store_true", help="leave the 13 scripts out")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault(EVENTS_VARIABLE, os.devnull)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.part:
        name, *arguments = options.part
        PARTS[name](*arguments)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder, options.prompts, options.tokens)
        figures = _share_of_bare(folder, options.pairs)
        if not options.only_pairs:
            figures |= _speedups(folder, scripts=not options.no_scripts)
        print(json.dumps(figures))


def _share_of_bare(folder: Path, pairs: int) -> dict[str, Any]:
    rates = _read(_run("bare", folder, folder / "bare.json", pairs))
    print(f"bare engine {rates['bare']}, lidr {rates['lidr']} output tokens/s")
    ratios = [lidr / bare for lidr, bare in zip(rates["lidr"], rates["bare"], strict=True)]
    low, high = median_interval(ratios)
    return {
        "share_of_bare_engine": round(median(ratios), 3),
        "share_low": round(low, 3),
        "share_high": round(high, 3),
        "share_pairs": [round(ratio, 3) for ratio in ratios],
    }


def median_interval(values: list[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return limits of the median from order statistics, which assume no distribution.

    The k-th smallest and the k-th largest value enclose the median unless fewer than k of n
    independent values fall on one of its sides, each with probability 1/2 (binomial).

    Args:
        values: independent measurements; few of them give the smallest and the largest.
        confidence: with which the limits hold, at least, where there are enough values.
    """
    ordered, n = sorted(values), len(values)
    outside, k = 0.0, 0
    while k < n // 2 and outside + comb(n, k) / 2**n <= (1 - confidence) / 2:
        outside += comb(n, k) / 2**n
        k += 1
    k = max(k, 1)
    return ordered[k - 1], ordered[n - k]


def _speedups(folder: Path, *, scripts: bool) -> dict[str, float]:
    separate = _seconds(partial(_steps, folder, "separate"), "two steps")
    fused = _seconds(partial(_steps, folder, "fused"), "fused")
    _require_same_records(folder)
    figures = {"fused_speedup": round(separate / fused, 3)}
    if scripts:
        seconds = _seconds(partial(_scripts, folder), "scripts")
        figures["speedup_vs_scripts"] = round(seconds / separate, 2)
    return figures


def _prepare(folder: Path, prompts: int, tokens: int) -> None:
    """Write a small model, prompts in five languages and the recipe."""
    from lidr.components.toy.pretrain import build_base_model
    from lidr.components.toy.problems import draw_problems, question

    build_base_model(folder / "model", 0, solutions=64, weak_solutions=10, translations=10)
    files = {}
    for code in LANGUAGES:
        known = code if code != "ru" else "en"  # the toy knows no Russian; any text will do
        rows = [
            {"prompt_id": problem.prompt_id, "text": question(problem, known)}
            for problem in draw_problems(0, "prompts", max(prompts, _PAIR_PROMPTS))
        ]
        file = folder / f"{code}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        files[code] = str(file)
    recipe = {
        "name": "generation",
        "languages": {"dominant": "en", "others": list(LANGUAGES[1:])},
        "model": {"source": str(folder / "model"), "max_length": 512},
        "prompts": {"files": files, "per_iteration": prompts},
        "generation": {"engine": "vllm", "max_tokens": tokens},
        "translation": {"max_tokens": tokens, "round_trip_sample": 0},
        "pairing": {"filters": "paper"},
        "evaluation": {"tasks": ["tiny_world_{language}"]},
    }
    (folder / "recipe.json").write_text(Recipe.model_validate(recipe).model_dump_json())
    _run("prepare", folder, folder / "toy.json")


def _steps(folder: Path, how: str) -> None:
    """Run generate and translate, a process each, as the pipeline does."""
    _run("generate", folder, folder / f"{how}-responses.json", how)
    _run("translate", folder, folder / f"{how}-translations.json", how)


def _scripts(folder: Path) -> None:
    """Run the 13 scripts one after another."""
    for code in LANGUAGES:
        _run("script", folder, folder / f"script-{code}.json", code, "")
    for source, target in directions(_recipe(folder)):
        _run("script", folder, folder / f"script-{source}-{target}.json", source, target)


def _run(part: str, folder: Path, out: Path, *arguments: object) -> Path:
    command = [sys.executable, "-m", "benchmarks.generation", "--part", part, str(folder), str(out)]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{part} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return out


def _seconds(function: Callable[[], None], name: str) -> float:
    began = time.monotonic()
    function()
    seconds = time.monotonic() - began
    print(f"{name}: {seconds:.1f} s", flush=True)
    return seconds


def _require_same_records(folder: Path) -> None:
    """Stop unless the fused rollout left the same places as the two steps, and nearly all texts.

    vLLM's sums depend on what shares a batch, so that a near tie of two tokens may fall otherwise.
    """
    for name, key in (("responses", "responses/"), ("translations", "translations/")):
        two, one = (
            _rows(open_stage(_read(folder / f"{how}-{name}.json")), key)
            for how in ("separate", "fused")
        )
        if two.keys() != one.keys():
            sys.exit(f"the fused rollout left other {name}")
        equal = sum(two[place] == one[place] for place in two)
        print(f"{name}: {equal} of {len(two)} texts are equal")


def _rows(stage: Stage, prefix: str) -> dict[tuple[str, ...], str | None]:
    names = stage.files(prefix=prefix)
    ids = ("prompt_id", "language", "source_language", "target_language")
    return {
        tuple(str(row.get(name)) for name in ids): row["text"]
        for row in stage.read_table(names).to_pylist()
    }


def _part_prepare(folder: str, out: str) -> None:
    from lidr.components.prepare.run import prepare

    recipe = _recipe(Path(folder)).model_dump_json()
    _write(out, {how: prepare(recipe, f"{folder}/{how}") for how in ("separate", "fused")})


def _part_generate(folder: str, out: str, how: str) -> None:
    from lidr.components.generate.run import generate

    _write(out, generate(**_common(folder, how)))


def _part_translate(folder: str, out: str, how: str) -> None:
    from lidr.components.translate.run import translate

    responses = _read(Path(folder) / f"{how}-responses.json")
    _write(out, translate(**_common(folder, how), responses=responses))


def _common(folder: str, how: str) -> dict[str, Any]:
    recipe = _recipe(Path(folder))
    os.environ[MACHINE] = Machine(engine=EngineSettings(fused=how == "fused")).text()
    inputs = _read(Path(folder) / "toy.json")[how]
    return {
        "recipe": recipe.model_dump_json(),
        "store": f"{folder}/{how}",
        "inputs": inputs,
        "model": inputs,
        "iteration": 1,
    }


def _part_script(folder: str, out: str, source: str, target: str) -> None:
    """Do what a research script does: start an engine, answer one file, write one file."""
    recipe = _recipe(Path(folder))
    engine: Any = start_engine(recipe, ModelFiles(Path(recipe.model.source)))
    if target:
        answers = _read(Path(folder) / f"script-{source}.json")
        ask = f"Translate from {NAMES[source]} to {NAMES[target]}: "
        chats = [[{"role": "user", "content": ask + answer}] for answer in answers]
    else:
        (file,) = recipe.prompts.files[source]
        lines = Path(file).read_text().splitlines()
        chats = [[{"role": "user", "content": json.loads(line)["text"]}] for line in lines]
    sampling = _sampling(recipe)
    outputs = engine._llm.chat(chats, sampling, use_tqdm=False)
    _write(out, [output.outputs[0].text for output in outputs])


def _part_bare(folder: str, out: str, pairs: str) -> None:
    """Time LLM.generate and lidr's rollout side by side in short pairs, in one engine."""
    from lidr.components.rollout import EngineSession, roll_out
    from lidr.components.rollout.answers import Answers
    from lidr.components.rollout.chunks import Shard
    from lidr.components.rollout.prompts import PromptBook
    from lidr.components.rollout.stages import generate_stage
    from lidr.components.rollout.summaries import finish_responses
    from lidr.components.shared.core.languages import LanguageIdentifier

    recipe = _recipe(Path(folder))
    inputs = _read(Path(folder) / "toy.json")["separate"]
    engine: Any = start_engine(recipe, ModelFiles(Path(recipe.model.source)))

    class Held(EngineSession):
        @property
        def engine(self) -> Any:
            return engine

    def answers(store: str) -> Answers:
        stage = generate_stage(recipe, store, inputs, inputs, 1)
        book = PromptBook(open_stage(inputs), _PAIR_PROMPTS, 1)
        return Answers(recipe, stage, book, 1, LanguageIdentifier(LANGUAGES).identify)

    def bare() -> float:
        engine._llm.reset_prefix_cache()
        began = time.monotonic()
        outputs = engine._llm.generate(texts, _sampling(recipe), use_tqdm=False)
        return _rate(sum(len(o.outputs[0].token_ids) for o in outputs), began)

    def lidr(number: int) -> float:
        engine._llm.reset_prefix_cache()
        found = answers(f"{folder}/rollout-{number}")
        session = Held(recipe, inputs)
        began = time.monotonic()
        roll_out(session, [found.stage], lambda: found.chunks(Shard()))
        finish_responses(recipe, found)
        return _rate(session.tokens, began)

    texts = _rendered(engine, answers(f"{folder}/none"))
    bare(), lidr(-1)  # the first runs warm both sides up
    figures: dict[str, list[float]] = {"bare": [], "lidr": []}
    for number in range(int(pairs)):
        sides: dict[str, Callable[[], float]] = {"bare": bare, "lidr": partial(lidr, number)}
        for side in sides if number % 2 else reversed(sides):
            figures[side].append(sides[side]())
    _write(out, figures)


def _rendered(engine: Any, answers: Any) -> list[str]:
    """Return the prompts of a rollout as text, in its order."""
    from lidr.components.rollout.chunks import Shard

    tokenizer = engine._llm.get_tokenizer()
    return [
        tokenizer.decode(engine._chat.render(chunk.task.request(item)))
        for chunk in answers.chunks(Shard())
        for item in chunk.items()
    ]


def _sampling(recipe: Recipe) -> Any:
    from vllm import SamplingParams

    decoding = decoding_of(recipe.generation)
    return SamplingParams(temperature=decoding.temperature, max_tokens=decoding.max_tokens)


def _rate(tokens: int, began: float) -> float:
    return round(tokens / (time.monotonic() - began), 1)


def _recipe(folder: Path) -> Recipe:
    return Recipe.model_validate_json((folder / "recipe.json").read_text())


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def _write(path: str, value: object) -> None:
    Path(path).write_text(json.dumps(value))


PARTS: dict[str, Callable[..., None]] = {
    "prepare": _part_prepare,
    "generate": _part_generate,
    "translate": _part_translate,
    "script": _part_script,
    "bare": _part_bare,
}

if __name__ == "__main__":
    main()
