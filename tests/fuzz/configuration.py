"""Recipes and profiles: YAML as people write it, and as they do not."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from jsonschema import Draft202012Validator

from lidr.components.shared.config.profile import Profile, load_profile
from lidr.components.shared.config.recipe import Recipe, load_recipe
from lidr.pipelines.cli.inputs import parse_settings
from lidr.pipelines.cluster.recurring import Recurrence
from tests.fuzz import mutations
from tests.fuzz.running import Target
from tests.fuzz.scratch import scratch
from tests.yaml_text import read_yaml

_SHIPPED = Path(__file__).resolve().parents[2] / "pipelines"

_EXTRA = {
    "recipes": {
        "pairing": {"filters": {"off_target": False}},
        "gate": {"tolerances": {"es": 0.05}},
        "generation": {"samples": 2, "temperature": 0.7, "stop": ["###"]},
        "training": {"lora": {"rank": 8}, "epochs": 2},
        "judge": {
            "endpoint": {"model": "m"},
            "tasks": [{"name": "mt_bench", "questions": "q/{language}.jsonl"}],
        },
    },
    "profiles": {
        "steps": {"train": {"memory": "8Gi", "accelerators": 1}},
        "kubeflow": {"host": "https://kfp.example.org", "namespace": "lidr"},
        "engine": {"max_num_seqs": 64, "endpoint": {"url": "http://models:8000/v1"}},
        "judge": {"url": "http://judge:8000/v1"},
    },
}


class _Kind:
    """One of the two kinds of files.

    Args:
        folder: with the shipped ones.
        model: their class.
        load: what reads them.
    """

    def __init__(self, folder: str, model: Any, load: Any) -> None:
        files = sorted((_SHIPPED / folder).glob("*.yaml"))
        self.texts = [file.read_text("utf-8") for file in files]
        self.trees = [read_yaml(text) for text in self.texts]
        self.trees += [tree | _EXTRA[folder] for tree in self.trees]
        (schema,) = (_SHIPPED / folder).glob("*.schema.json")
        self._schema = Draft202012Validator(json.loads(schema.read_text("utf-8")))
        self._model, self._load = model, load

    def text(self, random: Random) -> bytes:
        if random.random() < 0.2:
            return mutations.data(random, [text.encode() for text in self.texts])
        return mutations.text(random, self.texts).encode("utf-8", "surrogatepass")

    def tree(self, random: Random) -> bytes:
        changed = mutations.tree(random, random.choice(self.trees))
        return json.dumps(changed, ensure_ascii=False).encode("utf-8", "surrogatepass")

    def check(self, data: bytes) -> None:
        path = scratch() / "file.yaml"
        path.write_bytes(data)
        found = self._load(path)
        assert self._model.model_validate_json(found.model_dump_json()) == found
        given = found.model_dump(mode="json", exclude_unset=True)
        faults = [fault.message for fault in self._schema.iter_errors(given)]
        assert not faults, f"the schema says otherwise: {faults[0][:300]}"
        raw = read_yaml(data.decode("utf-8-sig"))
        assert_same_truth(raw, given)


def _layers(random: Random) -> tuple[bytes, bytes]:
    return _PROFILES.text(random), _PROFILES.tree(random)


def _check_layers(layers: tuple[bytes, bytes]) -> None:
    paths = [scratch() / "base.yaml", scratch() / "over.yaml"]
    for path, data in zip(paths, layers, strict=True):
        path.write_bytes(data)
    found = load_profile(*paths)
    assert Profile.model_validate_json(found.model_dump_json()) == found


def assert_same_truth(raw: Any, read: Any) -> None:
    """True is no number, and 1 is not true: both stay what they are."""
    if isinstance(raw, dict) and isinstance(read, dict):
        for key in raw.keys() & read.keys():
            assert_same_truth(raw[key], read[key])
    elif isinstance(raw, list) and isinstance(read, list):
        for one, other in zip(raw, read, strict=False):
            assert_same_truth(one, other)
    else:
        assert isinstance(raw, bool) <= isinstance(read, bool), f"{raw!r} became {read!r}"


def _settings(random: Random) -> list[str]:
    seeds = ["training.beta=0.2", "languages.others=[es, de]", "name: x", "a=&a [*a]", "x={y: 1}"]
    return [mutations.text(random, seeds) for _ in range(random.randint(1, 2))]


def _check_settings(settings: list[str]) -> None:
    assert all(key and key == key.strip() for key in parse_settings(settings))


_INTERVALS = ("30m", "6h", "1d", "0 3 * * *", "0 0 3 ? * MON-FRI")


def _interval(random: Random) -> str:
    return mutations.text(random, _INTERVALS, 2)


def _check_interval(text: str) -> None:
    when = Recurrence.parse(text)
    assert Recurrence.of(when.trigger()) == when
    assert bool(when.seconds) != bool(when.cron)


_RECIPES = _Kind("recipes", Recipe, load_recipe)
_PROFILES = _Kind("profiles", Profile, load_profile)

TARGETS = [
    Target("recipe, as text", _RECIPES.text, _RECIPES.check, 6_000),
    Target("recipe, by structure", _RECIPES.tree, _RECIPES.check, 6_000),
    Target("profile, as text", _PROFILES.text, _PROFILES.check, 6_000),
    Target("profile, by structure", _PROFILES.tree, _PROFILES.check, 6_000),
    Target("profile, in layers", _layers, _check_layers, 6_000),
    Target("--set", _settings, _check_settings, 30_000),
    Target("--every", _interval, _check_interval, 40_000),
]
