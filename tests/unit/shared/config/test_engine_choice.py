"""The engine of a run is settled once, and every address names what it was settled to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidr.components.evaluate.run import _stage as evaluate_stage
from lidr.components.rollout.stages import generate_stage, translate_stage
from lidr.components.shared.config import engine_choice
from lidr.components.shared.config.engine_choice import choose_engine, engine_identity
from lidr.components.shared.config.machine import MACHINE, EngineSettings, Machine
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.records.schema import Prompt
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.runs import recipe_key
from lidr.components.shared.store.stage import Stage
from lidr.pipelines.begin import begin
from tests.fakes import make_recipe, world_stage

AUTO = make_recipe(generation={"engine": "auto"})
CLUSTER = {"name": "far", "runner": "kubeflow", "store": "s3://b/p"}


def machine(monkeypatch: pytest.MonkeyPatch, *, vllm: bool) -> None:
    """Let this machine have a GPU and vLLM, or neither."""
    monkeypatch.setattr(engine_choice, "find_spec", lambda _: object() if vllm else None)
    monkeypatch.setattr(engine_choice, "gpu_present", lambda: vllm)


def stages(recipe: Recipe, world: Stage) -> list[Stage]:
    store, uri = world.store.uri, world.uri
    responses = generate_stage(recipe, store, uri, uri, 1)
    translations = translate_stage(recipe, store, responses.uri, uri, 1)
    return [responses, translations, evaluate_stage(recipe, store, uri, uri)]


@pytest.fixture
def world(tmp_path: Path) -> Stage:
    return world_stage(str(tmp_path), [Prompt("p0", code, "?") for code in ("en", "es", "de")])


def test_auto_is_settled_where_the_run_begins_and_said_once(monkeypatch, capsys):
    machine(monkeypatch, vllm=True)
    begun = begin(AUTO, Profile(name="here"))
    settled = begun.recipe
    assert settled.generation.engine == "vllm"
    begun.say()
    assert capsys.readouterr().err == (
        "lidr: note: engine: vllm, because there is a GPU and vllm is installed\n"
    )
    machine(monkeypatch, vllm=False)  # whatever the machine is on which a step runs
    assert choose_engine(settled)[0] == "vllm"
    again = begin(settled, Profile(name="here"))
    again.say()
    assert again.recipe == settled
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("accelerators", "engine", "why"), [(2, "vllm", "2 GPU(s)"), (0, "transformers", "no GPU")]
)
@pytest.mark.parametrize("laptop", [True, False])
def test_auto_on_a_cluster_is_what_the_profile_has_gpus_for(
    monkeypatch, laptop: bool, accelerators: int, engine: str, why: str
):
    machine(monkeypatch, vllm=laptop)
    steps = {"generate": {"accelerators": accelerators}}
    profile = Profile.model_validate(CLUSTER | {"steps": steps})
    begun = begin(AUTO, profile)
    assert begun.recipe.generation.engine == engine
    assert begun.note == f"engine: {engine}, because profile far gives a generate step {why}"


def test_run_goes_on_with_the_engine_it_began_with(monkeypatch, tmp_path: Path):
    store = LocalStore(tmp_path)
    machine(monkeypatch, vllm=False)
    first = begin(AUTO, Profile(name="here"), store, "mine").recipe
    store.write(recipe_key("mine"), json.dumps(first.model_dump(mode="json")).encode())
    machine(monkeypatch, vllm=True)
    again = begin(AUTO, Profile(name="here"), store, "mine")
    assert (again.recipe, again.run) == (first, "mine")
    assert again.note == "engine: transformers, because run mine began with it"
    assert begin(AUTO, Profile(name="here"), store, "other").recipe.generation.engine == "vllm"


def test_every_address_names_the_engine_by_one_rule(monkeypatch, world: Stage):
    machine(monkeypatch, vllm=True)
    asked, named = stages(AUTO, world), stages(begin(AUTO, Profile(name="here")).recipe, world)
    assert [stage.digest for stage in asked] == [stage.digest for stage in named]
    for stage in named:
        settings = stage.identity["settings"]
        assert settings.items() >= engine_identity(begin(AUTO, Profile(name="here")).recipe).items()
    machine(monkeypatch, vllm=False)
    for here, there in zip(stages(AUTO, world), named, strict=True):
        assert here.digest != there.digest


def test_address_does_not_depend_on_the_machine(monkeypatch, world: Stage):
    recipe = make_recipe()
    before = [stage.digest for stage in stages(recipe, world)]
    other = EngineSettings(
        fused=True, restarts=0, batch_tokens=256, gpu_memory_utilization=0.5, max_num_seqs=3
    )
    monkeypatch.setenv(MACHINE, Machine(engine=other).text())
    assert [stage.digest for stage in stages(recipe, world)] == before


@pytest.mark.parametrize(
    "vllm",
    [{"quantization": "fp8"}, {"kv_cache_dtype": "fp8"}, {"speculative": {"method": "ngram"}}],
)
def test_address_depends_on_what_changes_the_text(world: Stage, vllm: dict[str, object]):
    own = {"engine": "vllm", "chunk_size": 2}
    plain = stages(make_recipe(generation=own), world)
    changed = stages(make_recipe(generation={**own, "vllm": vllm}), world)
    for one, other in zip(plain, changed, strict=True):
        assert one.digest != other.digest


def test_server_that_the_profile_does_not_name_is_refused_before_anything_starts():
    tasks = [{"name": "care", "questions": "q/{language}.jsonl"}]
    judged = make_recipe(judge={"endpoint": {"model": "j"}, "tasks": tasks})
    with pytest.raises(BadInput, match=r"has a judge, .* Set judge\.url in the profile"):
        begin(judged, Profile(name="here"))
    served = make_recipe(generation={"engine": "openai"})
    with pytest.raises(BadInput, match=r"Set engine\.endpoint\.url in the profile"):
        begin(served, Profile(name="here"))
