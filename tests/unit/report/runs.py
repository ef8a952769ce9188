"""A small run on a store, as the steps leave it, for tests of the report."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.records.parquet import to_parquet
from lidr.components.shared.records.samples import (
    MARGINS_FILE,
    SAMPLE_FILE,
    PairMargin,
    PairSample,
    pair_key,
)
from lidr.components.shared.records.schema import EvalItem
from lidr.components.shared.stats.intervals import macro_average, wilson
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage, open_stage

IDENTICAL = {
    "level": "warn",
    "measure": "identical",
    "text": "81% of the pairs have identical sides: little is left to learn",
    "remedy": "The filter `identical` drops them.",
    "places": [],
    "p": 0.0,
}

WRONG = {
    "level": "stop",
    "measure": "on_target",
    "text": "translations are in the wrong language: only 9% of 299 from German to English are in "
    "the right one; the bar is 80%",
    "remedy": "Take a model that speaks these languages better.",
    "places": ["de-en"],
    "p": 0.0001,
}

RUN = "tiny-world-seed0-0000abcd"

ACCURACY = {
    "en": (1.0, 1.0, 0.993),
    "es": (0.447, 0.953, 0.99),
    "de": (0.47, 0.947, 0.993),
    "fr": (0.467, 0.95, 0.993),
}

OFF_TARGET = {"es": (0.31, 0.0, 0.0), "de": (0.34, 0.003, 0.0), "fr": (0.29, 0.0, 0.003)}

SAMPLES = {
    "en": (
        "own_chosen",
        "Tom has 9 pens. He finds 4 more, then loses 2. How many pens does Tom have?",
        "Tom starts with 9 pens. 9 + 4 = 13. 13 - 2 = 11. The answer is 11.",
        "Tom starts with 9 pens. 9 - 4 = 5. 5 - 2 = 3. The answer is 3.",
    ),
    "es": (
        "translation_chosen",
        "Tom tiene 9 lápices. Encuentra 4 más y pierde 2. ¿Cuántos lápices tiene Tom?",
        "Tom empieza con 9 lápices. 9 + 4 = 13. 13 - 2 = 11. La respuesta es 11.",
        "Tom empieza con 9 lápices. 9 - 4 = 5. 5 - 2 = 3. La respuesta es 3.",
    ),
    "de": (
        "translation_chosen",
        "Tom hat 9 Stifte. Er findet 4 und verliert 2. Wie viele Stifte hat Tom?",
        "Tom beginnt mit 9 Stiften. 9 + 4 = 13. 13 - 2 = 11. Die Antwort ist 11.",
        "Tom starts with 9 pens. 9 + 4 = 13. 13 - 2 = 11. The answer is 11.",
    ),
    "fr": (
        "translation_chosen",
        "Tom a 9 stylos. Il en trouve 4 et en perd 2. Combien de stylos a Tom ?",
        "Tom commence avec 9 stylos. 9 + 4 = 13. 13 - 2 = 11. La réponse est 11.",
        "Tom commence avec 9 stylos. 9 + 4 = 13. 13 + 2 = 15. La réponse est 15.",
    ),
}


def recipe(**changes: object) -> Recipe:
    """Return the tiny world's recipe, changed at the top level."""
    settings = {
        "name": "tiny-world",
        "languages": {"dominant": "en", "others": ["es", "de", "fr"]},
        "model": {"source": "toy"},
        "evaluation": {"tasks": ["tiny_world_{language}"]},
        **changes,
    }
    return Recipe.model_validate(settings)


def write_run(
    folder: Path,
    iterations: int = 2,
    *,
    promoted: bool = True,
    samples: list[dict[str, str]] | None = None,
    pair_changes: dict[str, Any] | None = None,
    sample: list[PairSample] | None = None,
    start: dict[str, Any] | None = None,
    run: str = RUN,
    worse: float = 0.0,
    month: int = 8,
) -> str:
    """Write a run with its stages and states; return the store's URI.

    Args:
        folder: of the store.
        iterations: after the start.
        promoted: whether the gate lets the last one through.
        samples: instead of the usual sample pairs.
        pair_changes: counts of the pair stages that differ; None removes one.
        sample: of the pair stages, instead of one made of the sample pairs.
        start: counts of the start's evaluation that differ, by language under "languages".
        run: its name; a second run shares the stages of the first,
        worse: unless its trained models are worse by this share of right answers.
        month: of the year in which it ended.
    """
    store = open_store(str(folder))
    kept = {"run": run, "month": month}
    settings = json.loads(recipe(seed=int(worse * 100)).model_dump_json())
    store.write(f"runs/{run}/recipe.json", json.dumps(settings).encode())
    world = _finished(store, "prepare", 0, {"prompts": 1500}, {"model/config.json": b"{}"})
    measured = _evaluation(store, 0, samples, changes=start)
    _write_state(store, kept, 0, world, model=world, evaluation=measured)
    for t in range(1, iterations + 1):
        last = t == iterations
        model = _training(store, t, worse)
        pair = _pair_counts(t) | (pair_changes or {})
        decision = _decision(t, promoted or not last, last)
        _write_state(
            store,
            kept,
            t,
            world,
            model=model,
            responses=_finished(store, "generate", t, _generate_counts(t)),
            translations=_finished(store, "translate", t, _translate_counts()),
            pairs=_finished(
                store,
                "pair",
                t,
                {k: v for k, v in pair.items() if v is not None},
                {SAMPLE_FILE: to_parquet(sample or pair_sample(samples), PairSample)},
            ),
            evaluation=_evaluation(store, t, samples, worse),
            decision=_finished(store, "gate", t, decision),
            **{key: decision[key] for key in ("verdict", "promoted", "reason")},
        )
    return store.uri


def stop_before_training(folder: Path, iterations: int = 1) -> str:
    """Let the reward check stop a run's next iteration; return why.

    Args:
        folder: of the store that `write_run` has written to.
        iterations: that ended with a model.
    """
    store, t = open_store(str(folder)), iterations + 1
    reason = f"the reward check stopped the loop before training: {WRONG['text']}"
    counts = _pair_counts(t)
    counts["reward"] |= {"verdict": "stop", "reason": WRONG["text"], "findings": [WRONG]}
    pairs = _finished(
        store, "pair", t + 100, counts, {SAMPLE_FILE: to_parquet(pair_sample(), PairSample)}
    )
    unmade = dict.fromkeys(("model", "evaluation", "judgements", "decision", "version"), "")
    said = {"verdict": "stop", "promoted": False, "reason": reason}
    state = state_of(str(folder), iterations)
    rollout = {key: state[key] for key in ("responses", "translations")}
    kept = {"run": RUN, "month": 8}
    _write_state(store, kept, t, state["inputs"], pairs=pairs, **rollout, **unmade, **said)
    return reason


def forget(uri: str) -> None:
    """Remove a stage, as pruning does."""
    stage = open_stage(uri)
    for entry in stage.store.list(stage.prefix):
        stage.store.delete(entry.key)


def state_of(store: str, iteration: int) -> dict[str, Any]:
    """Return an iteration's state."""
    path = Path(store, "runs", RUN, f"iteration-{iteration}", "state.json")
    state: dict[str, Any] = json.loads(path.read_text())
    return state


def _write_state(
    store: Store, kept: dict[str, Any], iteration: int, world: str, **values: Any
) -> None:
    state = {
        "iteration": iteration,
        "inputs": world,
        "responses": "",
        "translations": "",
        "pairs": "",
        "decision": "",
        "version": f"tiny-world/{iteration + 1}",
        "verdict": "continue",
        "promoted": True,
        "reason": "the start",
        "finished": f"2026-{kept['month']:02}-0{iteration + 1}T10:00:00+00:00",
        **values,
    }
    store.write(f"runs/{kept['run']}/iteration-{iteration}/state.json", json.dumps(state).encode())


def _finished(
    store: Store,
    step: str,
    t: int,
    counts: dict[str, Any],
    files: dict[str, bytes] | None = None,
    worse: float = 0.0,
) -> str:
    stage: Stage = new_stage(store, step, 1, {}, {"iteration": t, "worse": worse})
    stage = replace(stage, began=stage.began - 20.0)
    for name, data in (files or {}).items():
        stage.write(name, data)
    return stage.finish(counts)


def _evaluation(
    store: Store,
    t: int,
    samples: list[dict[str, str]] | None,
    worse: float = 0.0,
    changes: dict[str, Any] | None = None,
) -> str:
    languages = {
        code: {
            "accuracy": wilson(round((values[t] - worse) * 300), 300),
            "if_cut_right": wilson(round((values[t] - worse) * 300), 300),
            "off_target": wilson(round(OFF_TARGET.get(code, (0, 0, 0))[t] * 300), 300),
            "truncated": wilson(0, 300),
            "mean_tokens": 31.2,
        }
        for code, values in ACCURACY.items()
    }
    changes = dict(changes or {})
    for code, row in changes.pop("languages", {}).items():
        languages[code] |= row
    average = macro_average([languages[code]["accuracy"] for code in ("es", "de", "fr")])
    counts = {
        "languages": languages,
        "average": average,
        "average_if_cut_right": average,
        "average_truncated": fmean(
            languages[code]["truncated"]["value"] for code in ("es", "de", "fr")
        ),
        "premise": {"holds": True},
        "items": 300 * len(languages),
        "tokens_per_second": 2150.0,
        "contamination": _contamination(languages),
        "engine": "transformers",
        "engine_reason": "there is no GPU",
        **changes,
    }
    files = {"items.parquet": to_parquet(_items(t, samples, worse), EvalItem)}
    return _finished(store, "evaluate", t, counts, files, worse)


def _items(t: int, samples: list[dict[str, str]] | None, worse: float) -> list[EvalItem]:
    """Return 300 items a language, of which the first ones are right; they say what samples say."""
    texts = {code: SAMPLES[code][1:] for code in SAMPLES}
    hostile = [(each["prompt"], each["chosen"], each["rejected"]) for each in samples or []]
    items = []
    for code, values in ACCURACY.items():
        for number in range(300):
            given = hostile[number % len(hostile)] if hostile else texts[code]
            prompt, right, wrong = given
            score = float(number < round((values[t] - worse) * 300))
            items.append(
                EvalItem(
                    task=f"tiny_world_{code}",
                    language=code,
                    item_id=f"e{number}",
                    prompt=prompt,
                    response=right if score else wrong,
                    target="11",
                    score=score,
                    detected_language=code,
                    finish_reason="stop",
                    output_tokens=31,
                )
            )
    return items


def _contamination(languages: dict[str, Any]) -> dict[str, Any]:
    rows = {
        code: {
            "unit": "words",
            "prompts": 600,
            "items": 300,
            "overlapping": 7 if code == "es" else 0,
            "with": row["accuracy"],
            "without": row["accuracy"],
        }
        for code, row in languages.items()
    }
    return {size: {"languages": rows} for size in ("13", "8")}


def _training(store: Store, t: int, worse: float) -> str:
    noise = random.Random(t)
    rows = []
    for step in range(1, 58):
        done = step / 57
        rows.append(
            {
                "step": step,
                "dpo_loss": (dpo := 0.69 * math.exp(-2.2 * done / t) + 0.02 * noise.random()),
                "nll_loss": (nll := 0.42 * math.exp(-1.5 * done) / t + 0.01 * noise.random()),
                "loss": dpo + nll,
                "reward_margin": 2.4 * done / t + 0.15 * noise.random(),
                "reward_accuracy": min(1.0, 0.5 + 0.5 * done**0.5 + 0.03 * noise.random()),
                "chosen_reward": 0.9 * done + 0.05 * noise.random(),
                "rejected_reward": -1.5 * done / t + 0.05 * noise.random(),
                "chosen_logps": -9 + 5 * done + 0.4 * noise.random(),
                "rejected_logps": -14 - 9 * done / t + 0.4 * noise.random(),
                "grad_norm": float("nan") if step == 5 else 1.2 + 0.5 * noise.random(),
                "learning_rate": 1e-4 * (1 - done),
                "tokens_per_second": 5200.0,
            }
        )
    metrics = "\n".join(json.dumps(row) for row in rows).encode()
    margins = [
        PairMargin(pair_key(pair), 0.25 * (number - 2))
        for number, pair in enumerate(pair_sample())
        if pair.reason is None and number % 2
    ]
    files = {
        "model/config.json": b"{}",
        "metrics.jsonl": metrics,
        MARGINS_FILE: to_parquet(margins, PairMargin),
    }
    counts = {"pairs": 1790, "steps": 57, "seconds": 25.1, "gpus": 8}
    return _finished(store, "train", t, counts, files, worse)


def _generate_counts(t: int) -> dict[str, Any]:
    languages = {
        code: {
            "responses": 300,
            "failures": {"truncated": 2} if code == "es" else {},
            "off_target": OFF_TARGET.get(code, (0, 0, 0))[t - 1],
            "output_tokens": 9000,
            "prompt_tokens": 9000,
        }
        for code in ACCURACY
    }
    return {
        "responses": 1200,
        "engine": "transformers",
        "engine_reason": "there is no GPU",
        "tokens_per_second": 2310.5,
        "languages": languages,
    }


def _directions() -> list[str]:
    return ["en-es", "en-de", "en-fr", "es-en", "de-en", "fr-en"]


def _translate_counts() -> dict[str, Any]:
    directions = {
        key: {"translations": 300, "failures": {"untagged": 1}, "output_tokens": 8800}
        for key in _directions()
    }
    return {"translations": 1800, "tokens_per_second": 2105.0, "directions": directions}


def _pair_counts(t: int) -> dict[str, Any]:
    same = (0.35, 0.81)[t - 1]
    languages = {
        code: {
            "candidates": size,
            "kept": size - 3,
            "identical": round(same * size),
            "dropped": {"translation_failed": 2, "missing_partner": 1},
        }
        for code, size in {"en": 900, "es": 300, "de": 300, "fr": 300}.items()
    }
    places = {
        key: _place(index, t) for index, key in enumerate([*_directions(), "en-*", "*-en", "*-*"])
    }
    return {
        "pairs": 1788,
        "candidates": 1800,
        "identical_share": same,
        "swapped": False,
        "languages": languages,
        "reward": {
            "verdict": "warn" if t > 1 else "train",
            "reason": IDENTICAL["text"] if t > 1 else "",
            "findings": [IDENTICAL] * (t - 1),
            "min_pairs": 32,
            "places": places,
        },
    }


def _place(index: int, t: int) -> dict[str, Any]:
    """Return what the reward check measured in a direction."""
    return {
        "on_target": wilson(300 - index, 300),
        "numbers": wilson(298 - index * t, 300),
        "code": wilson(3, 4),
        "right": wilson(155 - index, 160),
        "yield": wilson(299, 300),
        "round_trip": {"value": 97.1 - index, "low": 95.0 - index, "high": 99.0 - index, "n": 50},
        "length_ratio": 1.04,
        "verifiable": ["on_target", "numbers", "right", "yield", "round_trip"],
    }


def pair_sample(samples: list[dict[str, str]] | None = None) -> list[PairSample]:
    """Return sample pairs as candidates: every fourth is dropped, of every eighth a text lacks."""
    return [
        PairSample(
            prompt_id=f"p{number}",
            language=pair["language"],
            other_language="es" if pair["language"] == "en" else "en",
            kind=pair["kind"],
            sample=0,
            reason=None if number % 4 else ("off_target", "translation_failed")[number // 4 % 2],
            prompt=pair["prompt"],
            chosen=pair["chosen"] if number % 8 != 4 else None,
            rejected=pair["rejected"],
        )
        for number, pair in enumerate(_usual_samples() if samples is None else samples, start=1)
    ]


def _usual_samples() -> list[dict[str, str]]:
    return [
        {
            "language": code,
            "kind": kind,
            "prompt": prompt.replace("Tom", name),
            "chosen": chosen.replace("Tom", name),
            "rejected": rejected.replace("Tom", name),
        }
        for name in ("Tom", "Lena", "Ivo")
        for code, (kind, prompt, chosen, rejected) in SAMPLES.items()
    ]


def _decision(t: int, promoted: bool, last: bool) -> dict[str, Any]:
    gain = (0.489, 0.042)[t - 1] if promoted else 0.001
    mean = {"value": gain, "low": gain - 0.03, "high": gain + 0.03, "n": 900}
    reason = (
        f"mean gain {gain:+.1%}, no language fell beyond its tolerance"
        if promoted
        else "plateau: the mean gain of +0.1% (-2.9% to +3.1%) is not above +0.0%"
    )
    gains = {
        code: {
            "gain": {
                "value": (value := ACCURACY[code][t] - ACCURACY[code][t - 1]),
                "low": value - 0.02,
                "high": value + 0.02,
                "n": 300,
            },
            "won": max(0, round(value * 300)) + 2,
            "lost": 2,
            "p": 0.0004,
            "p_fall": 0.82,
            "tolerance": 0.05 if code == "fr" else 0.02,
            "off_target": _bar(OFF_TARGET.get(code, (0.0,) * 3)[t - 1 : t + 1]),
            "truncated": _bar((0.0, 0.0)),
        }
        for code in ACCURACY
    }
    return {
        "decision": "promote" if promoted else "stop",
        "p": 0.0002 if promoted else 0.43,
        "verdict": "stop" if last else "continue",
        "promoted": promoted,
        "reason": reason,
        "mean_gain": mean,
        "languages": gains,
        "remarks": [],
    }


def _bar(shares: Sequence[float]) -> dict[str, float]:
    before, after = shares
    lowered = round((before - after) * 300)
    return {
        "before": before,
        "after": after,
        "raised": max(0, -lowered),
        "lowered": max(0, lowered),
        "n": 300,
        "bar": 0.1,
        "least": 9,
        "p": 1.0,
    }
