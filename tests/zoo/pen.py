"""One shape at hand: its files, a recipe over them, and lidr's steps on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lidr.components.generate.run import generate
from lidr.components.pair.run import pair
from lidr.components.prepare.run import prepare
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.engines import start_engine
from lidr.components.shared.forward.loading import load_chat
from lidr.components.shared.forward.tokens import TokenPair, tokenize_pairs
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.models.chat import ChatRenderer, ChatSettings
from lidr.components.shared.models.sources import ModelFiles, model_files
from lidr.components.shared.records.schema import PreferencePair
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import new_stage, open_stage
from lidr.components.train.run import train
from lidr.components.translate.run import translate
from tests.zoo.scripted import Says, ScriptedEngine
from tests.zoo.shapes import Shape
from tests.zoo.truth import FIRST_DAY, SECOND_DAY, day

CONTEXT = 448
QUESTIONS = {
    "en": "Nina has {} books. Nina finds 2. How many books are left?{}",
    "es": "Nina tiene {} libros. Nina encuentra 2. ¿Cuántos libros quedan?{}",
}


@dataclass(frozen=True)
class Pen:
    """A shape and a folder for what belongs to it."""

    shape: Shape
    root: Path

    @cached_property
    def folder(self) -> Path:
        """The model's files."""
        return self.shape.build(self.root / "model")

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer as transformers loads it."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder)

    def ids(self, *tokens: str) -> list[int]:
        """Return the ids of tokens."""
        return [self.tokenizer.convert_tokens_to_ids(token) for token in tokens]

    @cached_property
    def prompt_files(self) -> dict[str, str]:
        """A file of prompts of mixed lengths for each language."""
        files = {}
        for code, text in QUESTIONS.items():
            rows = [
                {"prompt_id": f"p{n}", "text": text.format(n, " Nina 4." * (n % 3 * 6))}
                for n in range(4)
            ]
            path = self.root / f"{code}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
            files[code] = str(path)
        return files

    def recipe(self, **sections: Any) -> Recipe:
        """Return a recipe over the model; sections are laid over its own."""
        training = {
            "batch_size": 3,
            "learning_rate": 1e-3,
            "precision": "float32",
            "schedule": "linear",
            "warmup_ratio": 0.0,
            "max_length": CONTEXT,
        }
        return Recipe.model_validate(
            {
                "name": "zoo",
                "languages": {"dominant": "en", "others": ["es"]},
                "model": {
                    "source": str(self.folder),
                    "max_length": CONTEXT,
                    "date": f"{FIRST_DAY:%Y-%m-%d}",  # as when a run begins
                    **sections.pop("model", {}),
                },
                "prompts": {"files": self.prompt_files, "per_iteration": 4},
                "generation": {"engine": "transformers", "max_tokens": 64, "chunk_size": 4},
                "translation": {"max_tokens": 64, "round_trip_sample": 0},
                "pairing": {"filters": "paper"},
                "evaluation": {"tasks": ["belebele_{language}"]},
                "training": training | sections.pop("training", {}),
                **sections,
            }
        )

    @cached_property
    def inputs(self) -> str:
        """URI of the stage `prepare`, written on the first day."""
        with day(FIRST_DAY):
            return self.prepared(self.recipe())

    @property
    def store(self) -> str:
        """URI of the store."""
        return str(self.root / "store")

    def prepared(self, recipe: Recipe) -> str:
        """Import the model as M_0."""
        return prepare(recipe=recipe.model_dump_json(), store=self.store)

    @cached_property
    def engine(self) -> Any:
        """The transformers engine, the model loaded."""
        return start_engine(self.recipe(), ModelFiles(self.folder))

    def tokens(self, records: Sequence[PreferencePair]) -> list[TokenPair]:
        """Return pairs as training reads them."""
        return tokenize_pairs(records, self.chat, CONTEXT).pairs

    @cached_property
    def chat(self) -> ChatRenderer:
        """What renders the model's chats in training."""
        return load_chat(ChatSettings.of(self.recipe().model), self.folder)

    def train(self, recipe: Recipe, records: Sequence[PreferencePair], inputs: str = "") -> str:
        """Train M_0 on pairs and return the stage's URI."""
        stage = new_stage(LocalStore(Path(self.store)), "pair", 1, {}, {"pairs": repr(records)})
        if not stage.done():
            stage.write_records("pairs.parquet", records, PreferencePair)
            stage.finish({"pairs": len(records)})
        return self.trained(recipe, stage.uri, inputs or self.inputs)

    def trained(self, recipe: Recipe, pairs: str, inputs: str) -> str:
        """Train M_0 on the pairs of a stage."""
        return train(
            recipe=recipe.model_dump_json(),
            launch=Launch(micro_batch_size=2).text(),
            store=self.store,
            inputs=inputs,
            pairs=pairs,
            model=inputs,
            iteration=1,
        )

    def iterated(self, recipe: Recipe, says: Says) -> dict[str, str]:
        """Run generate, translate, pair and train; the model writes what it is told to."""
        inputs = self.inputs
        given = {"recipe": recipe.model_dump_json(), "store": self.store, "inputs": inputs}
        given |= {"model": inputs, "iteration": 1}
        with day(SECOND_DAY), self.scripted(says):
            responses = generate(**given)
            translations = translate(responses=responses, **given)
        pairs = pair(responses=responses, rewards=translations, **given)
        model = self.trained(recipe, pairs, inputs)
        return {"responses": responses, "pairs": pairs, "model": model}

    @contextmanager
    def scripted(self, says: Says) -> Any:
        """Let steps start an engine whose model writes what it is told to."""

        def opened(recipe: Recipe, stage: str) -> ScriptedEngine:
            engine = start_engine(recipe, model_files(stage))
            return ScriptedEngine(engine, self.tokenizer, says)

        with patch("lidr.components.rollout.engine_session.open_engine", opened):
            yield

    def answers(self, recipe: Recipe, model: str) -> str:
        """Generate with a trained model, for real, and return the stage's URI."""
        return generate(
            recipe=recipe.model_dump_json(),
            store=self.store,
            inputs=self.inputs,
            model=model,
            iteration=2,
        )


def preference(number: int, prompt: str, chosen: str, rejected: str) -> PreferencePair:
    """Return a pair."""
    return PreferencePair(
        [{"role": "user", "content": prompt}],
        [{"role": "assistant", "content": chosen}],
        [{"role": "assistant", "content": rejected}],
        f"p{number}",
        "es",
        "en",
        "translation_chosen",
        1,
        "m0",
    )


def read(uri: str, name: str) -> list[dict[str, Any]]:
    """Return the rows of a stage's file of JSON lines."""
    return [json.loads(line) for line in open_stage(uri).read(name).splitlines()]
