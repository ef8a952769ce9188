"""Shards with a real engine: whoever does a chunk, its bytes are the same."""

from __future__ import annotations

import pytest

from lidr.components.generate.run import generate
from lidr.components.merge.run import merge
from lidr.components.prepare.run import prepare
from lidr.components.shared.store.stage import open_stage
from lidr.components.translate.run import translate
from tests.e2e.rollouts import make_recipe
from tests.fakes import tell
from tests.unit.shared.engines.cases import lively_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    lively_model(folder / "model", context=1024)
    return folder


def files(uri: str) -> dict[str, str]:
    return {name: file["sha256"] for name, file in open_stage(uri).marker()["files"].items()}


def rolled_out(folder, store: str, shards: int) -> list[dict[str, str]]:
    recipe = make_recipe(folder, "transformers")
    world = prepare(recipe=recipe, store=store)
    common = {"recipe": recipe, "store": store, "inputs": world, "model": world, "iteration": 1}
    for shard in reversed(range(shards)):
        share = {"shard": shard, "shards": shards}
        responses = generate(**common, **share)
        translations = translate(**common, responses=responses, **share)
    if shards > 1:
        responses, translations = merge(**common)
    return [files(responses), files(translations)]


def test_the_number_of_shards_changes_no_byte(model, tmp_path, monkeypatch):
    whole = rolled_out(model, str(tmp_path / "1"), 1)
    assert len(whole[0]) == 36
    assert rolled_out(model, str(tmp_path / "shards"), 3) == whole
    tell(monkeypatch, fused=True)
    assert rolled_out(model, str(tmp_path / "fused"), 2) == whole
