"""A rollout small enough for tests with real engines: 24 prompts, three languages, many chunks."""

from __future__ import annotations

import json
from pathlib import Path

from lidr.components.shared.config.recipe import Recipe
from tests.unit.shared.engines.cases import TEXTS

LANGUAGES = ("en", "es", "de")
COUNT = 24


def make_recipe(folder: Path, engine: str) -> str:
    files = {}
    for code in LANGUAGES:
        rows = [
            {"prompt_id": f"p{number}", "text": f"{code} {number} {TEXTS[number % len(TEXTS)]}"}
            for number in range(COUNT)
        ]
        files[code] = str(folder / f"{code}.jsonl")
        Path(files[code]).write_text("\n".join(json.dumps(row) for row in rows))
    recipe = {
        "name": "kills",
        "languages": {"others": list(LANGUAGES[1:])},
        "model": {"source": str(folder / "model")},
        "prompts": {"files": files, "per_iteration": COUNT},
        "generation": {"engine": engine, "max_tokens": 40, "chunk_size": 2},
        "translation": {"max_tokens": 40, "round_trip_sample": 7},
        "pairing": {"filters": "paper"},
        "evaluation": {"tasks": ["tiny_world_{language}"]},
    }
    return Recipe.model_validate(recipe).model_dump_json()
