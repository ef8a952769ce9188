"""How often language identification is right on real text, and how fast it is.

Sentences of parallel data sets (`mgsm/<code>.jsonl`, `alpagasus/<code>.jsonl`) and of two models'
French answers (`x_alpacaeval/gpt-4*.fr.jsonl`) are identified among all languages there. A label
says what was asked for, not what is there: some "French" answers are English, code or emoji, some
"Chinese" sentences French. Every miss among the answers is printed, to be judged by eye.

The last line is JSON: `accuracy` by set and language, `worst_sentences`, `misses` by set of
answers, and `texts_per_second` by kind of text.

Usage: python -m benchmarks.languages [--data DIR]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path

from lidr.components.shared.core.languages import LanguageIdentifier

_SENTENCE = re.compile(r"(?<=[.!?؟])\s+|(?<=[。！？])")
_SHORTEST = 20
"""Characters of a sentence, at least; half as many where a character is a syllable or a word."""
_DENSE = ("ja", "zh")


def main() -> None:
    """Measure accuracy and throughput and print them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="data folder")
    data: Path = parser.parse_args().data
    if not (data / "mgsm").is_dir():
        sys.exit(f"no language data in {data}; name its folder with --data")
    sets = {
        f"{folder}/{path.stem}": (path.stem, _sentences(path))
        for folder in ("mgsm", "alpagasus")
        for path in sorted((data / folder).glob("*.jsonl"))
    }
    answers = {
        path.stem: ("fr", [json.loads(line)["response"] for line in path.open(encoding="utf-8")])
        for path in sorted((data / "x_alpacaeval").glob("gpt-4*.fr.jsonl"))
    }
    identifier = LanguageIdentifier(sorted({code for code, _ in sets.values()}))
    identifier.identify([text for _, texts in answers.values() for text in texts[:50]])
    result: dict[str, dict[str, float]] = {"accuracy": {}, "misses": {}}
    speeds = {
        "sentences": _measure(identifier, sets, result, show=False),
        "answers": _measure(identifier, answers, result, show=True),
    }
    worst = min((name for name in sets), key=lambda name: result["accuracy"][name])
    print(
        json.dumps(
            {
                **result,
                "worst_sentences": {worst: result["accuracy"][worst]},
                "texts_per_second": speeds,
            }
        )
    )


def _measure(
    identifier: LanguageIdentifier,
    sets: dict[str, tuple[str, list[str]]],
    result: dict[str, dict[str, float]],
    *,
    show: bool,
) -> float:
    """Identify every set, add its figures to `result` and return the texts per second."""
    count, seconds = 0, 0.0
    for name, (code, texts) in sets.items():
        began = time.monotonic()
        found = identifier.identify(texts)
        seconds += time.monotonic() - began
        count += len(texts)
        misses = [(got, text) for got, text in zip(found, texts, strict=True) if got != code]
        result["accuracy"][name] = round(1 - len(misses) / len(texts), 4)
        print(f"{name}: {len(texts) - len(misses)} of {len(texts)} are {code}", flush=True)
        if show:
            result["misses"][name] = len(misses)
            for got, text in misses:
                print(f"  {got}: {text[:140]!r}")
    return round(count / seconds, 1)


def _sentences(path: Path) -> list[str]:
    """Return the sentences of a file's texts that are long enough to show a language."""
    shortest = _SHORTEST // 2 if path.stem in _DENSE else _SHORTEST
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    texts = [str(row.get("query") or row["instruction"]) for row in rows]
    return [s for text in texts for s in _SENTENCE.split(text) if len(s) >= shortest]


if __name__ == "__main__":
    main()
