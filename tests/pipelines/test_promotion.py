"""The promotion pipeline, run here: real ends, with steps in between that finish in a moment."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.registry.promotion import PromotionOrder, promote
from lidr.components.shared.registry.registration import AUDIT_LOG_TAG, ensure_model
from lidr.components.shared.registry.versions import read_model
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import recipe_key
from lidr.components.shared.store.stage import Stage
from lidr.components.shared.tracking import client_at, mlflow_client
from lidr.pipelines.begin import begin
from lidr.pipelines.cli.inputs import read_profile, read_recipe
from lidr.pipelines.local import LocalJob
from tests.pipelines.conftest import FakeWorld
from tests.pipelines.test_cli import main
from tests.unit.shared.registry.models import registered


def test_a_version_is_compared_with_the_champion_and_promoted(fake_world: FakeWorld, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = str(fake_world.store)
    client = mlflow_client(store)
    start = registered(client, store, "tiny-world", "keep")[0]
    promote(client, start, ensure_model(client, "tiny-world", ""), PromotionOrder())
    words = ("promote", "tiny-world", "2", "--evaluate", "tiny_world", "--output", "json")
    done = fake_world.lidr(*words)
    assert done.returncode == 0, done.stderr
    entry = json.loads(done.stdout)
    assert (entry["version"], entry["before"], entry["verdict"]) == (2, 1, "promote")
    assert entry["gate"] in fake_world.work
    assert entry["reason"] == "as the test wants it"
    assert fake_world.steps == ["prepare", "evaluate", "evaluate", "gate"]
    assert read_model(client, "tiny-world").aliases == {"champion": 2, "previous": 1}
    assert "note: the gate compared" not in done.stderr
    listed = fake_world.lidr("status", "--output", "json")
    assert (listed.returncode, json.loads(listed.stdout)) == (0, []), "a promotion is no run"
    pruned = fake_world.lidr("prune", "--keep-last", "1", "--dry-run")
    assert pruned.returncode == 0, pruned.stderr


@dataclass
class Registry:
    """A registry of a test's own, beside a store with the versions' stages.

    `jobs` has what would be executed here; `moves` makes its place with real promotions.
    """

    uri: str
    client: Any
    store: str
    jobs: list[LocalJob]
    moves: Callable[[], object] = lambda: None


@pytest.fixture
def registry(tmp_path: Path, monkeypatch) -> Registry:
    uri = f"sqlite:///{tmp_path}/registry.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    made = Registry(uri, client_at(uri), str(tmp_path / "store"), [])

    def execute(recipe: Recipe, job: LocalJob) -> None:
        made.jobs.append(job)
        made.moves()

    monkeypatch.setattr("lidr.pipelines.cli.promote.execute_here", execute)
    return made


def test_a_promotion_runs_on_the_versions_own_store_with_the_profiles_settings(
    registry, tmp_path, monkeypatch, capsys
):
    """Its model has a name that no folder may have, and an audit log as a copy's is called."""
    name = "tiny wörld"
    registry.client.create_registered_model(
        name, tags={AUDIT_LOG_TAG: f"{registry.store}/registry/t@mlflow.production"}
    )
    start, better = registered(registry.client, registry.store, name, "promote")
    audit_log = ensure_model(registry.client, name, "")
    promote(registry.client, start, audit_log, PromotionOrder())
    home = open_store(registry.store)
    begun = begin(
        read_recipe("tiny_world", None, None), read_profile("local"), home, today="2026-03-01"
    )
    home.write(recipe_key(begun.run), begun.recipe.model_dump_json().encode())
    profile = tmp_path / "two.yaml"
    profile.write_text(
        "name: two\nrunner: local\nstore: lidr-store\n"
        "steps: {generate: {accelerators: 2, tensor_parallel: 2}}\n"
    )
    registry.moves = lambda: promote(registry.client, better, audit_log, PromotionOrder())
    words = ("promote", name, "2", "--evaluate", "tiny_world", "--profile", str(profile))
    code, _, err = main(monkeypatch, capsys, *words)
    assert code == 0, err
    [job] = registry.jobs
    assert (job.store, job.folder.parent) == (home.uri, Path(home.uri, "promotions"))
    assert Recipe.model_validate_json(job.recipe).model.date == "2026-03-01"
    settings = dict(job.settings)
    assert settings["LIDR_TENSOR_PARALLEL"] == "2"
    assert settings["MLFLOW_TRACKING_URI"] == registry.uri
    assert not (tmp_path / "lidr-store").exists()


def test_a_promotion_shows_the_move_of_its_own_alias(registry, monkeypatch, capsys):
    _, better = registered(registry.client, registry.store, "tiny", "promote")
    audit_log = ensure_model(registry.client, "tiny", "")

    def moves() -> None:
        for alias in ("staging", "champion"):  # the second one is somebody else's
            promote(registry.client, better, audit_log, PromotionOrder(alias=alias))

    registry.moves = moves
    words = ("promote", "tiny", "2", "--to", "staging", "--evaluate", "tiny_world")
    code, out, err = main(monkeypatch, capsys, *words, "--output", "json")
    assert (code, json.loads(out)["alias"]) == (0, "staging"), err


def test_a_comparison_with_another_version_is_noted_unless_it_was_made_now(
    registry, monkeypatch, capsys
):
    _, second, third = registered(registry.client, registry.store, "tiny", "promote promote")
    audit_log = ensure_model(registry.client, "tiny", "")
    promote(registry.client, second, audit_log, PromotionOrder())
    note = "the gate compared it with tiny/1, not with version 2"
    registry.moves = lambda: promote(registry.client, third, audit_log, PromotionOrder())
    code, out, err = main(monkeypatch, capsys, "promote", "tiny", "3", "--evaluate", "tiny_world")
    assert (code, "tiny/3 is champion instead of version 2" in out, note in err) == (0, True, False)
    promote(registry.client, second, audit_log, PromotionOrder())
    code, _, err = main(monkeypatch, capsys, "promote", "tiny", "3")
    assert (code, note in err) == (0, True)


@pytest.mark.parametrize("copied", [False, True])
def test_a_copy_is_verified_once_where_it_refers_to_the_same_files(
    registry, tmp_path, monkeypatch, capsys, copied
):
    other = f"sqlite:///{tmp_path}/production.db"
    client_at(other)
    registered(registry.client, registry.store, "tiny", "promote")
    verified, original = [], Stage.verify

    def counted(stage: Stage, names: Sequence[str]) -> None:
        verified.append(stage.uri)
        original(stage, names)

    monkeypatch.setattr(Stage, "verify", counted)
    words = ["promote", "tiny", "2", "--verify", "--copy-to", other]
    words += ["--copy-files", str(tmp_path / "production")] * copied
    code, _, err = main(monkeypatch, capsys, *words)
    assert code == 0, err
    roots = ["store", "production"] if copied else ["store"]
    assert [uri.rpartition("/stages/")[0] for uri in verified] == [
        str(tmp_path / root) for root in roots
    ]
