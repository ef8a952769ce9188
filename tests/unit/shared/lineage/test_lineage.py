"""Lineage: what is found, from any stage back to the beginning, and that no changed byte hides."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lidr.components.shared.core.digest import canonical_json
from lidr.components.shared.core.errors import BadInput, StoreError, StoreUnavailable
from lidr.components.shared.lineage.graph import Presence, trace
from lidr.components.shared.lineage.verify import recipe_fault, verify
from lidr.components.shared.models.outside import model_fingerprint
from lidr.components.shared.models.sources import adapter_uri, model_uri
from lidr.components.shared.registry.ancestry import open_existing, read_ancestry, store_uri
from lidr.components.shared.registry.versions import Version
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.marker import MARKER, PRUNED_MARKER, marker_fault, sealed
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import read_state, recipe_key, state_key
from lidr.components.shared.store.stage import Stage, new_stage, open_stage
from tests.chains import Chain, adapter_stage, make_chain, outside_world
from tests.unit.shared.registry.models import fetched_model
from tests.unit.shared.store.test_local import unprivileged


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Chain:
    return make_chain(str(tmp_path_factory.mktemp("chain") / "store"))


@pytest.fixture
def chain(built, tmp_path) -> Chain:
    """A copy of its own, so that it can be damaged."""
    shutil.copytree(built.store, tmp_path / "store")
    moved = Chain(str(tmp_path / "store"), built.name, built.run)
    store = open_store(moved.store)
    moved.rounds = [
        {step: Stage(store, stage.prefix, stage.identity) for step, stage in stages.items()}
        for stages in built.rounds
    ]
    return moved


def flip(path: Path, at: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1
    path.write_bytes(data)


def behind(chain: Chain) -> list[Stage]:
    """Return the stages that M_2 was made from, and its own evidence."""
    aside = {chain.rounds[1]["gate"].uri, chain.rounds[0]["evaluate"].uri}
    aside |= {stages["register"].uri for stages in chain.rounds}
    return [stage for stage in chain.stages if stage.uri not in aside]


def places(chain: Chain, t: int = 2, version: Version | None = None) -> list[str]:
    found = read_ancestry(None, version or chain.version(t), chain.store)
    findings = [*found.findings, *verify(found.graph)]
    return [finding.uri.removeprefix(f"{chain.store}/") for finding in findings]


def test_a_lineage_goes_back_to_the_beginning_inputs_first(chain):
    graph = read_ancestry(None, chain.version(2), chain.store).graph
    assert set(graph.nodes) == {stage.uri for stage in behind(chain)}
    order = list(graph.nodes)
    for node in graph:
        assert all(order.index(uri) < order.index(node.uri) for uri in node.inputs.values())
    assert order[0] == chain.world.uri


def test_a_lineage_says_for_which_model_each_stage_was_made(chain):
    rounds = read_ancestry(None, chain.version(2), chain.store).graph.rounds()
    for t, stages in enumerate(chain.rounds):
        assert {rounds[stage.uri] for stage in stages.values() if stage.uri in rounds} == {t}


def test_the_start_has_a_short_lineage(chain):
    graph = read_ancestry(None, chain.version(0), chain.store).graph
    assert [node.step for node in graph] == ["prepare", "evaluate"]


def test_its_runs_are_those_that_name_the_version(chain):
    assert read_ancestry(None, chain.version(1), chain.store).runs == ("first",)


def test_an_intact_lineage_is_verified(chain):
    assert places(chain) == []


def test_one_flipped_byte_in_any_file_or_marker_is_found(chain):
    root = Path(chain.store)
    version = chain.version(2)  # as registered, before anything is damaged
    for stage in behind(chain):
        files = sorted(p for p in (root / stage.prefix).rglob("*") if p.is_file())
        assert root / stage.prefix / MARKER in files
        for path in files:
            before = path.read_bytes()
            flip(path)
            assert path.relative_to(root).as_posix() in places(chain, version=version), path
            path.write_bytes(before)
    assert places(chain) == []


def test_every_byte_of_a_marker_and_of_the_recipe_counts(chain):
    stage = chain.rounds[1]["train"]
    marker = stage.store.read(stage.key(MARKER))
    recipe = stage.store.read(recipe_key("first"))
    digest = chain.tags(2)["lidr.recipe_digest"]
    assert (marker_fault(marker, stage.digest), recipe_fault(recipe, digest)) == ("", "")
    for mask in (1, 0x20):
        for at in range(len(marker)):
            assert marker_fault(_flipped(marker, at, mask), stage.digest), at
        for at in range(len(recipe)):
            assert recipe_fault(_flipped(recipe, at, mask), digest), at


def _flipped(data: bytes, at: int, mask: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= mask
    return bytes(changed)


def test_a_changed_recipe_and_a_changed_state_are_found(chain):
    flip(Path(chain.store, recipe_key("first")))
    assert places(chain) == [recipe_key("first")]
    state = Path(chain.store, "runs/first/iteration-2/state.json")
    state.write_text(state.read_text().replace(chain.model(2).digest, chain.model(1).digest))
    assert places(chain) == ["runs/first", recipe_key("first")]
    state.write_text("{")
    assert places(chain) == ["runs/first"]
    [finding] = read_ancestry(None, chain.version(2), chain.store).findings
    assert finding.what == "has a damaged state of iteration 2"
    state.unlink()
    assert places(chain) == ["runs"]


def test_runs_with_other_recipes_may_share_a_version(chain):
    version = chain.version(2)
    share(chain, "longer")
    share(chain, "other")
    state = Path(chain.store, "runs/other/iteration-2/state.json")
    state.write_text(state.read_text().replace(chain.tags(2)["lidr.evaluation_digest"], DIGEST))
    found = read_ancestry(None, version, chain.store)
    assert (found.runs, found.findings) == (("first", "longer", "other"), ())
    flip(Path(chain.store, recipe_key("first")))
    names = ["first", "longer", "other"]
    assert places(chain) == [*map(recipe_key, names[:2]), "runs/other", recipe_key("other")]
    Path(chain.store, state_key("first", 2)).write_text("{")  # it may be the one that registered it
    assert places(chain) == ["runs/first", recipe_key("longer"), "runs/other", recipe_key("other")]


def share(chain: Chain, run: str) -> None:
    """Add a run whose recipe differs and whose models are the same."""
    shutil.copytree(Path(chain.store, "runs/first"), Path(chain.store, "runs", run))
    recipe = json.loads(chain.recipe)
    recipe["gate"]["max_iterations"] += 1
    Path(chain.store, recipe_key(run)).write_text(canonical_json(recipe))


def test_the_store_of_a_version_that_names_it_follows_without_asking_mlflow(chain):
    assert store_uri(None, chain.version(1)) == chain.store


def test_a_folder_among_the_runs_that_is_none_is_no_finding(chain):
    shutil.copytree(Path(chain.store, "runs/first"), Path(chain.store, "runs/first (copy)"))
    assert places(chain) == []


@pytest.mark.parametrize("error", [StoreError("full"), StoreUnavailable("HTTP 503")])
def test_a_store_that_fails_at_a_state_is_no_store_without_runs(chain, monkeypatch, error):
    read = LocalStore.read

    def failing(store: LocalStore, key: str) -> bytes:
        if key == state_key("first", 2):
            raise error
        return read(store, key)

    monkeypatch.setattr(LocalStore, "read", failing)
    with pytest.raises(StoreError, match=error.message):
        read_ancestry(None, chain.version(2), chain.store)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_store_that_must_exist_is_not_made(tmp_path, scheme):
    with pytest.raises(BadInput, match="there is no store at"):
        open_existing(f"{scheme}{tmp_path}/gone")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    assert open_existing(f"{scheme}{tmp_path}/there").uri.endswith("/there")


def test_a_store_that_the_registry_names_and_is_not_here_is_no_wrong_option(chain):
    version = chain.version(1)
    shutil.rmtree(chain.store)
    with pytest.raises(BadInput, match=r"no store at .* The registry names this store: .*relocate"):
        read_ancestry(None, version)
    with pytest.raises(BadInput, match=r"no store at .* Correct --store"):
        read_ancestry(None, version, chain.store)


@pytest.mark.parametrize("text", ["two", "-1", "1.0", "\u0662"])
def test_an_iteration_that_was_edited_in_mlflow_is_named(chain, text):
    version = chain.version(2)
    version = replace(version, tags={**version.tags, "lidr.iteration": text})
    with pytest.raises(BadInput, match=r"tiny/3 has the tag lidr.iteration .*Correct it in MLflow"):
        read_ancestry(None, version, chain.store)


def test_a_marker_of_another_stage_is_found(chain):
    ours, other = chain.rounds[1]["pair"], chain.rounds[2]["pair"]
    shutil.copy(Path(chain.store, other.key(MARKER)), Path(chain.store, ours.key(MARKER)))
    assert ours.key(MARKER) in places(chain)


def test_a_marker_without_its_seal_is_found(chain):
    stage, version = chain.rounds[2]["gate"], chain.version(2)
    content = stage.marker()
    del content["seal"]
    Path(chain.store, stage.key(MARKER)).write_text(json.dumps(content))
    assert places(chain, version=version) == [stage.key(MARKER)]


def test_what_is_gone_is_named(chain):
    pairs, responses = chain.rounds[1]["pair"], chain.rounds[2]["generate"]
    Path(chain.store, pairs.key("pairs.parquet")).unlink()
    shutil.rmtree(Path(chain.store, responses.prefix))
    assert places(chain) == [responses.prefix, pairs.key("pairs.parquet")]


def test_a_version_whose_model_is_gone_is_refused_in_one_line(chain):
    version = chain.version(2)
    shutil.rmtree(Path(chain.store, chain.model(2).prefix))
    with pytest.raises(BadInput, match=r"the model of tiny/3 is gone.*--store"):
        read_ancestry(None, version, chain.store)


def test_of_a_pruned_stage_the_record_is_verified(chain):
    stage = chain.rounds[1]["generate"]
    Path(chain.store, stage.key(MARKER)).rename(Path(chain.store, stage.key(PRUNED_MARKER)))
    shutil.rmtree(Path(chain.store, stage.key("chunks")))
    graph = trace([chain.model(2).uri])
    assert graph.nodes[stage.uri].presence is Presence.PRUNED
    assert places(chain) == []
    flip(Path(chain.store, stage.key(PRUNED_MARKER)))
    assert stage.key(PRUNED_MARKER) in places(chain)


def test_a_stage_that_is_made_again_has_no_record_any_more(chain):
    stage = chain.rounds[1]["generate"]
    Path(chain.store, stage.key(MARKER)).rename(Path(chain.store, stage.key(PRUNED_MARKER)))
    assert not stage.done()
    stage.write("chunks/0.parquet", b"anew")
    stage.finish({})
    assert not stage.store.exists(stage.key(PRUNED_MARKER))
    assert list(stage.marker()["files"]) == ["chunks/0.parquet"]


def test_a_lineage_crosses_stores_to_the_run_that_its_model_is_from(chain, tmp_path):
    """The world of a recipe with `source: models:/tiny@champion`."""
    world = outside_world(str(tmp_path / "second"), model_uri(chain.model(2).uri))
    graph = trace([world.uri])
    assert set(chain_uris(chain)) < set(graph.nodes)
    assert graph.nodes[world.uri].inputs == {"source": chain.model(2).uri}
    assert graph.rounds()[world.uri] == 3
    flip(Path(chain.store, chain.model(1).key("model/model.safetensors")))
    [finding] = verify(graph)
    assert finding.uri == f"{chain.model(1).uri}/model/model.safetensors"


def chain_uris(chain: Chain) -> list[str]:
    return [s.uri for s in chain.stages if s.prefix.split("/")[1] in ("prepare", "pair", "train")]


def test_an_adapter_s_lineage_holds_the_weights_under_it(chain):
    adapter = adapter_stage(chain.store, chain.model(1))
    graph = trace([adapter.uri])
    assert graph.nodes[adapter.uri].inputs["base"] == chain.model(1).uri
    assert chain.model(1).uri in graph.nodes
    [missing] = [node for node in graph if node.presence is Presence.GONE]
    assert missing.step == "pair"


DIGEST = "0" * 64


@pytest.mark.parametrize(
    ("place", "presence", "what"),
    [
        ("{here}/removed", Presence.GONE, "is gone"),
        ("/proc/old", Presence.GONE, "is gone"),
        ("{here}/file", Presence.DAMAGED, "cannot be read"),
        ("gs://bucket", Presence.DAMAGED, "cannot be read"),
    ],
)
def test_another_store_that_cannot_be_used_is_a_finding(tmp_path, place, presence, what):
    (tmp_path / "file").touch()
    base = f"{place.format(here=tmp_path)}/stages/train/{DIGEST}"
    world = outside_world(str(tmp_path / "store"), f"{base}/model")
    graph = trace([world.uri])
    assert graph.nodes[base].presence is presence
    assert graph.rounds() == {base: 0, world.uri: 1}
    [finding] = verify(graph)
    assert finding.uri.startswith(base)
    assert finding.what == what
    assert not (tmp_path / "removed").exists()


def test_a_file_that_cannot_be_read_is_a_finding_in_any_store(chain, tmp_path, monkeypatch):
    world = outside_world(str(tmp_path / "second"), model_uri(chain.model(2).uri))
    sha256 = LocalStore.sha256

    def forbidden(store: LocalStore, key: str) -> str:
        if store.uri == chain.store and key.endswith(".safetensors"):
            raise StoreError("may not be read")
        return sha256(store, key)

    monkeypatch.setattr(LocalStore, "sha256", forbidden)
    for asked in (world.uri, chain.model(2).uri, f"file://{chain.model(2).uri}"):
        findings = verify(trace([asked]))
        assert len(findings) == 3, asked
        assert {each.what for each in findings} == {"cannot be read: may not be read."}


def test_a_store_that_does_not_answer_ends_the_verification_if_it_is_the_lineage_s_own(
    chain, tmp_path, monkeypatch
):
    world = outside_world(str(tmp_path / "second"), model_uri(chain.model(2).uri))
    graphs = [trace([asked]) for asked in (world.uri, chain.model(2).uri)]
    asked: list[str] = []
    sha256 = LocalStore.sha256

    def away(store: LocalStore, key: str) -> str:
        if store.uri != chain.store:
            return sha256(store, key)
        asked.append(key)
        raise StoreUnavailable("HTTP 503")

    monkeypatch.setattr(LocalStore, "sha256", away)
    monkeypatch.setattr("lidr.components.shared.lineage.verify._FILES_AT_ONCE", 1)
    findings = verify(graphs[0])
    assert len(findings) > len(asked) == 1, "other files of the store are not asked for"
    assert {each.what for each in findings} == {"cannot be read: HTTP 503."}
    with pytest.raises(StoreUnavailable, match="HTTP 503"):
        verify(graphs[1])


def test_an_odd_file_is_a_finding_and_not_the_end(chain, tmp_path):
    pairs, train = chain.rounds[1]["pair"], chain.rounds[1]["train"]
    content = {key: value for key, value in train.marker().items() if key != "seal"}
    content["files"]["../b"] = {"size": 1, "sha256": DIGEST}
    train.store.write(train.key(MARKER), sealed(content))
    weights = Path(chain.store, train.key("model/model.safetensors"))
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    table = Path(chain.store, pairs.key("pairs.parquet"))
    table.unlink()
    table.mkdir()
    found = {finding.uri: finding.what for finding in verify(trace([chain.model(2).uri]))}
    assert found.keys() == {str(table), f"{train.uri}/../b", str(weights)}
    assert found[str(table)] == "is gone"
    assert found[f"{train.uri}/../b"].startswith("cannot be read: key ")
    assert found[str(weights)].startswith(f"cannot be read: {weights} leaves the store")


def test_a_folder_in_a_marker_s_place_is_no_marker(chain):
    stage = chain.rounds[1]["generate"]
    marker = Path(chain.store, stage.key(MARKER))
    marker.unlink()
    marker.mkdir()
    assert places(chain) == [stage.prefix]


def test_an_empty_marker_is_none(chain):
    stage = chain.rounds[1]["generate"]
    stage.store.write(stage.key(MARKER), b"")
    [finding] = verify(trace([stage.uri]))
    assert (finding.uri, finding.what) == (f"{stage.uri}/{MARKER}", "is not a marker")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can list."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("hidden", ["model", "model/model.safetensors"])
def test_an_outside_model_of_another_user_cannot_be_read(open_folder, hidden):
    folder = open_folder / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    graph = trace([outside_world(str(open_folder / "store"), str(folder)).uri])
    (open_folder / hidden).chmod(0)
    with unprivileged():
        [finding] = verify(graph)
    (open_folder / hidden).chmod(0o700)
    assert finding.uri == str(folder)
    assert finding.what.startswith("cannot be read: ")
    assert "Permission denied" in finding.what


def test_an_outside_model_with_a_broken_link_cannot_be_read(tmp_path):
    folder = tmp_path / "snapshots"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(tmp_path / "blobs" / "0")
    [finding] = verify(trace([outside_world(str(tmp_path / "store"), str(folder)).uri]))
    assert finding.what.startswith("cannot be read: ")
    assert "model.safetensors" in finding.what


@pytest.mark.parametrize("failing", ["exists", "read", "list"])
def test_an_outside_model_whose_store_fails_is_a_finding(tmp_path, monkeypatch, failing):
    source = fetched_model(str(tmp_path / "other"))
    described = {"source": source.uri, "digest": model_fingerprint(source.uri)}
    world = new_stage(open_store(str(tmp_path / "store")), "prepare", 1, {}, {})
    world.finish({}, {"model": described})
    graph = trace([world.uri])
    assert verify(graph) == []
    original = getattr(LocalStore, failing)

    def away(store: LocalStore, key: str) -> object:
        if store.uri == str(tmp_path / "other"):
            raise StoreUnavailable("HTTP 503")
        return original(store, key)

    monkeypatch.setattr(LocalStore, failing, away)
    found = [(finding.uri, finding.what) for finding in verify(graph)]
    expected = [] if failing == "list" else [(source.uri, "cannot be read: HTTP 503.")]
    assert found == expected, "a folder is not listed by the store"


def test_a_recipe_that_is_nested_too_deeply_is_another_one():
    assert recipe_fault(b"[" * 100_000, DIGEST) == "is not the recipe that was registered"


def test_a_stage_of_another_store_that_cannot_be_read_is_damaged_alone(
    chain, tmp_path, monkeypatch
):
    models = [chain.model(t) for t in (1, 2)]
    worlds = [outside_world(str(tmp_path / "second"), model_uri(each.uri)).uri for each in models]
    read = LocalStore.read

    def forbidden(store: LocalStore, key: str) -> bytes:
        if key == models[0].key(MARKER):
            raise StoreError("may not be read")
        return read(store, key)

    monkeypatch.setattr(LocalStore, "read", forbidden)
    for asked in (worlds, worlds[::-1]):
        nodes = trace(asked).nodes
        damaged = {uri for uri, node in nodes.items() if node.presence is Presence.DAMAGED}
        assert damaged == {models[0].uri}
        assert nodes[models[0].uri].stage.store.uri == chain.store
        assert nodes[models[1].uri].presence is Presence.WHOLE


def test_a_store_that_cannot_be_used_is_asked_once(tmp_path, monkeypatch):
    asked: list[str] = []

    def noting(uri: str, **options: bool) -> Store:
        asked.append(uri)
        return open_store(uri, **options)

    sources = [f"gs://bucket/stages/train/{digit * 64}/model" for digit in "ab"]
    worlds = [outside_world(str(tmp_path), source).uri for source in sources]
    monkeypatch.setattr("lidr.components.shared.store.stage.open_store", noting)
    assert len(trace(worlds).nodes) == 4
    assert asked.count("gs://bucket") == 1


def test_the_lineage_s_own_store_must_be_usable():
    with pytest.raises(StoreError, match="cannot use the store at /proc/old"):
        trace([f"/proc/old/stages/train/{DIGEST}"])


@pytest.mark.parametrize(
    "name", ["llama", "stages/llama/8b", f"stages/llama/{DIGEST}", "stages/train/8b"]
)
def test_a_model_from_outside_is_named_and_compared(tmp_path, name):
    folder = tmp_path / "models" / name
    folder.mkdir(parents=True)
    world = outside_world(str(tmp_path / "store"), str(folder))
    [node] = trace([world.uri])
    assert node.outside == {"source": str(folder)}
    assert node.section("facts")["prompt_files"]["en"][0]["file"] == "s3://prompts/en.jsonl"
    [finding] = verify(trace([world.uri]))
    assert (finding.uri, finding.what) == (str(folder), "is not the model that was brought in")
    pinned = outside_world(str(tmp_path / "store"), "hf://org/name@abc")
    assert verify(trace([pinned.uri])) == []


def fetched_world(store: str) -> tuple[Stage, Stage]:
    """Write a base model that was fetched, and the world stage of a recipe that begins with it."""
    source = fetched_model(store)
    described = {"source": source.uri, "digest": model_fingerprint(source.uri)}
    world = new_stage(open_store(store), "prepare", 1, {"model": described["digest"]}, {})
    world.finish({}, {"model": described})
    return source, world


def test_every_byte_of_a_fetched_base_is_compared(tmp_path):
    source, world = fetched_world(str(tmp_path / "store"))

    def found() -> list[tuple[str, str]]:
        findings = verify(trace([world.uri]))
        return [(finding.uri.removeprefix(source.uri), finding.what) for finding in findings]

    assert found() == []
    for path in sorted((tmp_path / "store" / source.prefix).iterdir()):
        before = path.read_bytes()
        path.write_bytes(before[::-1] + b"+")
        [(name, what)] = found()
        if path.name == MARKER:
            assert name == ""
            assert what.startswith(f"cannot be read: {path} ")
        else:
            assert (name, what) == (f"/{path.name}", "was changed after it was written")
        path.unlink()
        gone = ("", "is not complete") if path.name == MARKER else (f"/{path.name}", "is gone")
        assert found() == [gone]
        path.write_bytes(before)
    assert found() == []
    shutil.rmtree(tmp_path / "store" / source.prefix)
    assert found() == [("", "is gone")]


def test_a_fetched_base_is_found_in_a_store_that_moved_or_may_only_be_read(tmp_path, monkeypatch):
    source, world = fetched_world(str(tmp_path / "store"))
    shutil.move(tmp_path / "store", tmp_path / "elsewhere")
    graph = trace([f"{tmp_path}/elsewhere/{world.prefix}"])
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert verify(graph) == []
    weights = tmp_path / "elsewhere" / source.prefix / "model-1.safetensors"
    flip(weights)
    [finding] = verify(graph)
    assert (finding.uri, finding.what) == (str(weights), "was changed after it was written")


@pytest.mark.parametrize(
    "edited",
    [
        {"facts": [1]},
        {"facts": {"model": {"source": "{own}/model"}}},
        {"origin": {"image": [1]}},
    ],
)
def test_an_edited_marker_is_a_finding(tmp_path, edited):
    world = outside_world(str(tmp_path / "store"), "hf://org/name@abc")
    text = json.dumps(world.marker() | edited).replace("{own}", world.uri)
    world.store.write(world.key(MARKER), text.encode())
    graph = trace([world.uri])
    assert graph.nodes[world.uri].outside == {"source": "hf://org/name@abc"}  # of model.json
    assert not graph.nodes[world.uri].section(next(iter(edited)))
    [finding] = verify(graph)
    assert finding.what == "was changed after it was written"


def test_sealed_facts_that_are_no_object_are_no_facts(tmp_path):
    world = outside_world(str(tmp_path / "store"), "hf://org/name@abc")
    content = {key: value for key, value in world.marker().items() if key != "seal"}
    world.store.write(world.key(MARKER), sealed(content | {"facts": [1]}))
    assert trace([world.uri]).nodes[world.uri].outside == {"source": "hf://org/name@abc"}


def test_a_base_that_was_changed_to_its_own_stage_is_a_finding(chain):
    adapter = adapter_stage(chain.store, chain.model(1))
    adapter.store.write(adapter.key("base.json"), json.dumps({"stage": adapter.uri}).encode())
    found = [finding.uri for finding in verify(trace([adapter.uri]))]
    assert adapter.key("base.json") in [uri.removeprefix(f"{chain.store}/") for uri in found]


def test_a_marker_that_is_anything_is_no_lineage(tmp_path):
    store = open_store(str(tmp_path))
    for number, data in enumerate((b"", b"[]", b'{"identity": 3}', b"\xff\x00", b"{}" * 9)):
        store.write(f"stages/train/{number}/{MARKER}", data)
        [node] = trace([f"{store.uri}/stages/train/{number}"])
        assert node.presence is Presence.DAMAGED
        assert marker_fault(data, str(number)) == "is not a marker"


def test_markers_say_where_they_were_made(tmp_path, monkeypatch):
    names = {"LIDR_IMAGE": "r/t@sha256:1", "LIDR_GIT_SHA": "4d9", "KFP_RUN_ID": "7"}
    before = make_chain(str(tmp_path / "a"), 0).world
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    after = make_chain(str(tmp_path / "b"), 0).world
    assert after.digest == before.digest
    expected = {"image": "r/t@sha256:1", "git_sha": "4d9", "kfp_run_id": "7"}
    assert expected.items() <= open_stage(after.uri).marker()["origin"].items()


def test_a_moved_store_finds_its_stages_by_digest(chain, tmp_path):
    adapter = adapter_stage(chain.store, chain.world)
    world = outside_world(chain.store, model_uri(chain.model(1).uri), adapter_uri(adapter.uri))
    shutil.move(chain.store, tmp_path / "elsewhere")
    store = open_store(str(tmp_path / "elsewhere"))
    state = read_state(store, "first", 2)
    assert state["model"] == f"{store.uri}/{chain.model(2).prefix}"
    assert state["version"] == "tiny/3"
    assert model_uri(f"{store.uri}/{adapter.prefix}") == f"{store.uri}/{chain.world.prefix}/model"
    assert model_uri(f"{store.uri}/{world.prefix}") == f"{store.uri}/{chain.model(1).prefix}/model"
    assert adapter_uri(f"{store.uri}/{world.prefix}") == f"{store.uri}/{adapter.prefix}/adapter"
    found = read_ancestry(None, chain_version(chain, 2), store.uri)
    assert [*found.findings, *verify(found.graph)] == []


def chain_version(chain: Chain, t: int):
    """Return a version as it was registered before the store moved."""
    store = open_store(str(Path(chain.store).with_name("elsewhere")))
    here = Chain(store.uri, chain.name, chain.run)
    here.rounds = [
        {step: Stage(store, stage.prefix) for step, stage in stages.items()}
        for stages in chain.rounds
    ]
    version = here.version(t)
    return type(version)(
        version.name,
        version.number,
        version.source.replace(store.uri, chain.store),
        version.tags,
        (),
        "",
        version.created,
    )
