"""Benchmarks that lidr knows by name: `lidr evaluate --list-tasks`.

They are ours, and those of lm-evaluation-harness 0.4.13 that we have tested. A recipe may name the
harness's other tasks as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from lidr.components.evaluate.items.published import SOURCES
from lidr.components.shared.core.languages import NAMES


class Method(StrEnum):
    """How an answer is obtained."""

    GENERATE = "generate"
    LIKELIHOOD = "likelihood"
    """The likeliest of the answer choices."""
    JUDGE = "judge"
    """A text that another model judges (the recipe's `judge` section)."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark.

    Attributes:
        title: its name.
        task: what to write under `evaluation.tasks`, or under `judge.tasks` if a judge scores it.
        languages: ISO 639-1 codes of its languages.
        method: how an answer is obtained.
        metric: how an item is scored, in words.
        data: its key in `evaluation.data`, or else where its items come from.
        revision: the commit that lidr pins its items to; "" if it pins none.
        max_tokens: the task's own limit on an answer, in tokens; 0 if it has none.
    """

    title: str
    task: str
    languages: tuple[str, ...]
    method: Method
    metric: str
    data: str
    revision: str = ""
    max_tokens: int = 0


_MGSM = ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")
_GLOBAL = ("ar", "bn", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "pt", "sw", "yo", "zh")
_PROX = (
    *("af", "ar", "bn", "cs", "de", "en", "es", "fr", "hi", "hu", "id", "it", "ja", "ko", "mr"),
    *("pt", "ru", "sr", "sw", "te", "th", "uk", "ur", "vi", "yo", "zh", "zu"),
)
_INCLUDE = (
    *("ar", "az", "be", "bg", "bn", "de", "el", "es", "et", "eu", "fa", "fi", "fr", "he", "hi"),
    *("hr", "hu", "hy", "id", "it", "ja", "ka", "kk", "ko", "lt", "ms", "nl", "pl", "pt", "ru"),
    *("sq", "sr", "ta", "te", "tl", "tr", "uk", "ur", "vi", "zh"),
)
_OKAPI = (
    *("ar", "bn", "ca", "da", "de", "es", "eu", "fr", "gu", "hi", "hr", "hu", "hy", "id", "it"),
    *("mr", "nl", "pt", "ro", "ru", "sk", "sr", "sv", "ta", "te", "uk", "vi"),
)
_TINY = ("de", "en", "es", "fr")


def benchmarks() -> tuple[Benchmark, ...]:
    """Return the benchmarks that lidr knows by name."""
    return (*_ours(), *_harness(), *_judged())


def _ours() -> tuple[Benchmark, ...]:
    generate, exact, proof = Method.GENERATE, "the same number", "math-verify"
    mgsm, mmath, math500 = ((SOURCES[f], _revision(f)) for f in ("mgsm", "mmath", "math500"))
    return (
        Benchmark("MGSM, as the paper asks", "mgsm_paper_{language}", mgsm[0].languages, generate,
            exact, "mgsm", mgsm[1], 2048),
        Benchmark("MGSM, told to think in its language", "mgsm_steps_{language}", mgsm[0].languages,
            generate, exact, "mgsm", mgsm[1], 2048),
        Benchmark("MMATH", "mmath_{language}", mmath[0].languages, generate, proof, "mmath",
            mmath[1], 4096),
        Benchmark("MATH-500", "math500_{language}", math500[0].languages, generate, proof,
            "math500", math500[1], 4096),
        Benchmark("tiny world", "tiny_world_{language}", _TINY, generate, "the last number",
            "the stage `prepare`"),
    )  # fmt: skip


def _harness() -> tuple[Benchmark, ...]:
    generate, likelihood = Method.GENERATE, Method.LIKELIHOOD
    mgsm, flexible = "juletxara/mgsm", "exact_match (flexible-extract)"
    return (
        Benchmark("MGSM, direct", "mgsm_direct_{language}", _MGSM, generate, flexible, mgsm),
        Benchmark("MGSM, native CoT", "mgsm_native_cot_{language}", _MGSM, generate, flexible,
            mgsm),
        Benchmark("MGSM, English CoT", "mgsm_en_cot_{language}", _MGSM, generate, flexible, mgsm),
        Benchmark("Global-MMLU-Lite", "global_mmlu_{language}", _GLOBAL, likelihood, "acc",
            "CohereLabs/Global-MMLU-Lite"),
        Benchmark("MMLU-ProX-Lite", "mmlu_prox_lite_{language}", _PROX, generate, "exact_match",
            "li-lab/MMLU-ProX-Lite", max_tokens=2048),
        Benchmark("INCLUDE (base, 44)", "include_base_44_{language_name}", _INCLUDE, likelihood,
            "acc", "CohereLabs/include-base-44"),
        Benchmark("multilingual MMLU", "m_mmlu_{language}",
            tuple(sorted({*_OKAPI, "en", "is", "nb", "zh"})), likelihood, "acc",
            "alexandrainst/m_mmlu"),
        Benchmark("multilingual HellaSwag", "hellaswag_{language}", _OKAPI, likelihood, "acc",
            "alexandrainst/m_hellaswag"),
        Benchmark("HellaSwag", "hellaswag", ("en",), likelihood, "acc", "Rowan/hellaswag"),
        Benchmark("multilingual ARC", "arc_{language}", (*_OKAPI, "zh"), likelihood, "acc",
            "alexandrainst/m_arc"),
        Benchmark("ARC", "arc_challenge", ("en",), likelihood, "acc", "allenai/ai2_arc"),
        Benchmark("multilingual TruthfulQA", "truthfulqa_{language}_mc1", (*_OKAPI, "zh"),
            likelihood, "acc", "alexandrainst/m_truthfulqa"),
        Benchmark("TruthfulQA", "truthfulqa_mc1", ("en",), likelihood, "acc",
            "truthfulqa/truthful_qa"),
    )  # fmt: skip


def _judged() -> tuple[Benchmark, ...]:
    """Return the benchmarks that a judge scores, in any language that the user has questions in."""
    every, judge, files = tuple(NAMES), Method.JUDGE, "judge.tasks"
    return (
        Benchmark("X-AlpacaEval", "x_alpacaeval", every, judge, "win probability", files),
        Benchmark("head-to-head with M_t", "head_to_head", every, judge, "win probability", files),
        Benchmark("multilingual MT-Bench", "mt_bench", every, judge, "grade of 10", files),
        Benchmark("CARE", "care", every, judge, "grade of 10", files),
    )


def _revision(family: str) -> str:
    parts = re.split("[/@]", SOURCES[family].source.address)
    return next(part for part in parts if len(part) == 40)
