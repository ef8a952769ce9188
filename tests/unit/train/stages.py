"""The stages a train step reads, made by hand around the tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.records.schema import PreferencePair
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import new_stage
from tests.models import shaped_model, tiny_model


def model_stage(root: Path, seed: int = 0) -> str:
    stage = new_stage(LocalStore(root), "prepare", 1, {}, {"seed": seed})
    if not stage.done():
        folder = tiny_model(root / f"model-{seed}", seed)
        for path in sorted(folder.iterdir()):
            stage.upload(f"model/{path.name}", path)
        stage.finish({})
    return stage.uri


def shaped_stage(root: Path, config: Any, dtype: str = "float32") -> str:
    """Return the URI of a stage with a random model of a configuration."""
    text = json.dumps(config.to_dict(), default=str, sort_keys=True)
    stage = new_stage(LocalStore(root), "prepare", 1, {}, {"config": text, "dtype": dtype})
    if not stage.done():
        folder = shaped_model(root / f"shaped-{stage.digest[:8]}", config, dtype=dtype)
        for path in sorted(folder.iterdir()):
            stage.upload(f"model/{path.name}", path)
        stage.finish({})
    return stage.uri


def pair_stage(root: Path, pairs: list[PreferencePair]) -> str:
    name = "|".join(pair.prompt_id for pair in pairs)
    stage = new_stage(LocalStore(root), "pair", 1, {}, {"pairs": name})
    stage.write_records("pairs.parquet", pairs, PreferencePair)
    return stage.finish({"pairs": len(pairs)})


def preference(
    number: int, language: str = "es", chosen: str = "", rejected: str = "", prompt: str = ""
) -> PreferencePair:
    """Return a pair whose sides differ in length from pair to pair."""
    user = prompt or f"Nina tiene {number} libros. Nina encuentra 2."
    chosen = chosen or f"At first {number} books." + " Finally 6 books." * (number % 3)
    rejected = rejected or f"Luego Nina pierde {number}." + " Puis 3." * (number % 4)
    return PreferencePair(
        [{"role": "user", "content": user}],
        [{"role": "assistant", "content": chosen}],
        [{"role": "assistant", "content": rejected}],
        f"p{number}",
        language,
        "en",
        "translation_chosen",
        1,
        "m0",
    )


def recipe(**training: object) -> str:
    settings = {
        "batch_size": 8,
        "learning_rate": 1e-3,
        "precision": "float32",
        "schedule": "linear",
        "warmup_ratio": 0.0,
        "max_length": 128,
        **training,
    }
    return Recipe.model_validate(
        {
            "name": "test",
            "languages": {"dominant": "en", "others": ["es"]},
            "model": {"source": "toy"},
            "evaluation": {"tasks": ["tiny_world_{language}"]},
            "training": settings,
        }
    ).model_dump_json()


def launch(**machine: object) -> str:
    """Return how training is started here: four pairs a pass."""
    return Launch(**{"micro_batch_size": 4, **machine}).text()
