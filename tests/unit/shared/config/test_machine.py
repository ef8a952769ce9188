"""Settings of the machine: recipes have none, profiles do, and steps are told in one variable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lidr.components.shared.config.machine import MACHINE, MOVED, Machine, TrainingSettings
from lidr.components.shared.config.profile import Profile, load_profile
from lidr.components.shared.config.recipe import Recipe, load_recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.kubernetes.launch import Launch

BASE = {
    "name": "mine",
    "languages": {"others": ["es", "de"]},
    "model": {"source": "toy"},
    "evaluation": {"tasks": ["t_{language}"]},
}


def nested(dotted: str, value: object) -> dict[str, Any]:
    for name in reversed(dotted.split(".")):
        value = {name: value}
    return dict(value)  # type: ignore[call-overload]


@pytest.mark.parametrize("key", MOVED)
def test_moved_key_is_refused_in_one_line_that_says_where_it_is_now(tmp_path: Path, key: str):
    path = tmp_path / "recipe.yaml"
    text = yaml.safe_dump(BASE)
    path.write_text(text + yaml.safe_dump(nested(key, 1)))
    with pytest.raises(BadInput) as caught:
        load_recipe(path)
    line = len(text.splitlines()) + key.count(".") + 1
    told = f"key {key!r} has moved to the profile, as {MOVED[key]}. Write it there."
    assert str(caught.value) == f"{path}:{line}: {told}"


def test_moved_key_is_refused_from_the_command_line_too(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(BASE))
    told = r"'generation\.restarts' has moved to the profile, as engine\.restarts"
    with pytest.raises(BadInput, match=told):
        load_recipe(path, {"generation.restarts": 3})


@pytest.mark.parametrize("key", MOVED)
def test_profile_has_every_moved_key_and_no_recipe_does(key: str):
    def has(kind: Any, dotted: str) -> bool:
        *parents, leaf = dotted.split(".")
        for name in parents:
            if name not in kind.model_fields:
                return False
            kind = kind.model_fields[name].annotation
            kind = getattr(kind, "__args__", (kind,))[0]
        return leaf in kind.model_fields

    assert has(Profile, MOVED[key])
    assert not has(Recipe, key)


def test_machine_travels_as_one_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert Machine().text() == ""
    assert Machine.from_environment() == Machine()
    path = tmp_path / "profile.yaml"
    path.write_text(
        "name: mine\nengine: {fused: true, endpoint: {url: 'http://m/v1'}}\njudge: {retries: 1}\n"
    )
    profile = load_profile(path)
    monkeypatch.setenv(MACHINE, profile.machine.text())
    told = Machine.from_environment()
    assert told == profile.machine
    assert (told.engine.fused, told.engine.endpoint.url) == (True, "http://m/v1")
    assert (told.judge.retries, told.judge.concurrency) == (1, 16)


@pytest.mark.parametrize("text", ["{", "[]", '{"engine": {"fusd": true}}'])
def test_machine_that_cannot_be_read_is_bad_input(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv(MACHINE, text)
    with pytest.raises(BadInput, match=MACHINE):
        Machine.from_environment()


def test_training_settings_travel_with_the_launch():
    training = {"micro_batch_tokens": 4096, "checkpoint_steps": 7, "nodes": 2}
    profile = Profile.model_validate(
        {"name": "mine", "training": {"launcher": "trainjob", **training}}
    )
    told = Launch.parse(Launch.of(profile).text())
    assert told.settings == TrainingSettings(micro_batch_tokens=4096, checkpoint_steps=7)
