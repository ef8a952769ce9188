"""Pruning: what goes, what never does, and an interruption at every single step of it."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.exceptions import RestException

from lidr.components.shared.core.errors import (
    BadInput,
    DamagedObject,
    LidrError,
    RegistryFailed,
    StoreUnavailable,
    TrackingFailed,
)
from lidr.components.shared.lineage.graph import Graph, Presence, read_node, trace
from lidr.components.shared.lineage.verify import verify
from lidr.components.shared.models.sources import model_uri
from lidr.components.shared.registry.ancestry import judging_stages_of, read_ancestry
from lidr.components.shared.run_lease import LeaseOwner, run_lease
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.marker import MARKER, PRUNED_MARKER, current_uri
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import PROMOTIONS
from lidr.components.shared.store.stage import Stage, new_stage, open_stage
from lidr.pipelines.local import running
from lidr.pipelines.maintenance import prune_removal
from lidr.pipelines.maintenance.prune_plan import PrunePlan, RemovalReason, make_plan
from lidr.pipelines.maintenance.prune_policy import PrunePolicy
from lidr.pipelines.maintenance.prune_removal import prune
from tests.chains import Chain, adapter_stage, make_chain, outside_world

MONTH = 30 * 86400.0
WEEK = MONTH / 4


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Chain:
    return make_chain(str(tmp_path_factory.mktemp("chain") / "store"), iterations=3)


@pytest.fixture
def chain(built, tmp_path) -> Chain:
    """Four models: M_0 to M_3, written a month ago."""
    shutil.copytree(built.store, tmp_path / "store")
    copy = Chain(str(tmp_path / "store"), built.name, built.run)
    store = open_store(copy.store)
    copy.rounds = [
        {step: Stage(store, stage.prefix, stage.identity) for step, stage in stages.items()}
        for stages in built.rounds
    ]
    age(copy.store)
    return copy


def age(folder: str | Path, seconds: float = MONTH) -> None:
    then = time.time() - seconds
    for path in Path(folder).rglob("*"):
        os.utime(path, (then, then))


def policy(keep_last: int = 1, **changes: object) -> PrunePolicy:
    return PrunePolicy(keep_last, WEEK, time.time(), **changes)


def versions(chain: Chain, **aliases: int) -> list:
    roles = {t: [alias for alias, at in aliases.items() if at == t] for t in range(4)}
    return [chain.version(t, *roles[t]) for t in range(len(chain.rounds))]


def planned(chain: Chain, keep_last: int = 1, **aliases: int) -> PrunePlan:
    return make_plan(open_store(chain.store), versions(chain, **aliases), policy(keep_last))


def carry_out(plan: PrunePlan) -> None:
    prune(replace(plan, versions=()), lambda version: None)


def by_uri(plan: PrunePlan) -> dict[str, RemovalReason]:
    return {removal.stage.uri: removal.why for removal in plan.removals}


def uris(chain: Chain, t: int, *steps: str) -> set[str]:
    return {chain.rounds[t][step].uri for step in steps or chain.rounds[t]}


def test_only_the_last_version_s_iteration_stays_whole(chain):
    plan = planned(chain)
    assert [version.number for version in plan.versions] == [1, 2, 3]
    earlier = {uri for uri, why in by_uri(plan).items() if why is RemovalReason.EARLIER}
    unused = {uri for uri, why in by_uri(plan).items() if why is RemovalReason.UNUSED}
    made = ("generate", "translate", "pair", "train")
    assert earlier == uris(chain, 1, *made) | uris(chain, 2, *made)
    assert unused == (
        uris(chain, 0, "evaluate", "register")
        | uris(chain, 1, "evaluate", "gate", "register")
        | uris(chain, 2, "gate", "register")
    )
    assert plan.removals[0].stage.node.step == "register"


def test_what_is_kept_is_verified_afterwards(chain):
    known = versions(chain)
    carry_out(make_plan(open_store(chain.store), known, policy()))
    found = read_ancestry(None, known[3], chain.store)
    assert [*found.findings, *verify(found.graph)] == []
    presence = {node.uri: node.presence for node in found.graph}
    assert presence[chain.model(3).uri] is Presence.WHOLE
    assert presence[chain.model(2).uri] is Presence.PRUNED
    assert {stage.done() for stage in chain.rounds[3].values()} == {True}
    assert not chain.model(1).done()
    assert not any(Path(chain.store, chain.model(1).prefix).rglob("*.safetensors"))
    assert make_plan(open_store(chain.store), known, policy()).removals == ()


def test_a_pruned_stage_is_not_done_and_can_be_made_again(chain):
    stage = chain.model(2)
    marker = stage.store.read(stage.key(MARKER))
    carry_out(planned(chain))
    assert stage.store.read(stage.key(PRUNED_MARKER)) == marker
    with pytest.raises(BadInput, match="not complete"):
        open_stage(stage.uri)
    again = new_stage(stage.store, "train", 1, stage.identity["inputs"], stage.identity["settings"])
    assert again.uri == stage.uri
    again.write("model/config.json", b"anew")
    again.finish({})
    assert not stage.store.exists(stage.key(PRUNED_MARKER))


@pytest.mark.parametrize("alias", ["champion", "previous", "a-name-of-a-user-s-own"])
def test_what_an_alias_points_at_stays(chain, alias):
    plan = planned(chain, **{alias: 1})
    assert [version.number for version in plan.versions] == [1, 3]
    assert not uris(chain, 1) & set(by_uri(plan))
    assert uris(chain, 0, "evaluate").isdisjoint(by_uri(plan))  # M_1 was compared with it


def test_what_another_registry_refers_to_stays(chain):
    all_ = versions(chain)
    copied = {**all_[1].tags, "lidr.copied_to": "https://production"}
    all_[1] = replace(all_[1], tags=copied)
    plan = make_plan(open_store(chain.store), all_, policy())
    assert 2 not in [version.number for version in plan.versions]


def test_more_versions_of_each_model_may_be_kept(chain):
    assert [version.number for version in planned(chain, 3).versions] == [1]
    assert planned(chain, 9).versions == ()
    assert planned(chain, 9).removals == ()


def test_young_versions_and_stages_stay(chain):
    all_ = versions(chain)
    all_[0] = replace(all_[0], created=datetime.now(UTC))
    plan = make_plan(open_store(chain.store), all_, policy())
    assert [version.number for version in plan.versions] == [2, 3]
    assert chain.model(1).uri in by_uri(plan)
    age(Path(chain.store, chain.model(1).prefix), 3600)
    plan = make_plan(open_store(chain.store), all_, policy())
    assert not uris(chain, 1, "generate", "translate", "pair", "train") & set(by_uri(plan))


def test_unfinished_stages_go_when_they_are_old(chain):
    store = open_store(chain.store)
    dead = new_stage(store, "train", 1, {"pairs": "x"}, {})
    live = new_stage(store, "train", 1, {"pairs": "y"}, {})
    for stage in (dead, live):
        stage.write("checkpoints/00000002/optimizer.pt", b"o")
        stage.write("checkpoints/00000002/COMPLETE", b"{}")
    age(Path(chain.store, dead.prefix))
    plan = planned(chain, 9)
    assert by_uri(plan) == {dead.uri: RemovalReason.UNFINISHED}
    carry_out(plan)
    assert not Path(chain.store, dead.prefix).exists()
    assert len(list(Path(chain.store, live.prefix).rglob("*.pt"))) == 1


def test_old_checkpoints_of_a_finished_stage_go(chain):
    stage = chain.model(3)
    stage.store.write(stage.key("checkpoints/00000002/optimizer.pt"), b"o" * 100)
    assert planned(chain, 9).removals == ()
    age(Path(chain.store, stage.prefix))
    plan = planned(chain, 9)
    assert (by_uri(plan), plan.size) == ({stage.uri: RemovalReason.STRAY}, 100)
    carry_out(plan)
    assert stage.done() and verify(trace([stage.uri])) == []


def test_a_run_that_has_not_ended_keeps_all_it_needs(chain):
    """A run of the same recipe: in iteration 1 it will find the first run's stages done."""
    second = Chain(chain.store, chain.name, "second", chain.rounds[:1])
    second.end(0)
    plan = planned(chain)
    assert not (uris(chain, 0) | uris(chain, 1)) & set(by_uri(plan))
    assert [version.number for version in plan.versions] == [3]  # M_1 would be its next version
    assert chain.model(2).uri in by_uri(plan)
    age(Path(chain.store, "runs"))
    assert planned(chain).versions[0].number == 1  # nobody has touched it for a month


def test_a_run_that_has_just_begun_stops_it(chain):
    open_store(chain.store).write("runs/new/events.jsonl", b"")
    with pytest.raises(BadInput, match=r"'new' .* has not evaluated M_0.*remove runs/new"):
        planned(chain)


def test_a_store_that_does_not_answer_makes_nothing_unused(chain, tmp_path, monkeypatch):
    """Which of its stages a version means that was registered where the store was before."""
    moved = make_chain(str(tmp_path / "before"), 1)
    answers = iter([False])

    def away_once(store: LocalStore, uri: str) -> str:
        if next(answers, True):
            return current_uri(store, uri)
        raise StoreUnavailable("away")

    monkeypatch.setattr("lidr.components.shared.registry.ancestry.current_uri", away_once)
    with pytest.raises(StoreUnavailable):
        make_plan(open_store(chain.store), [*versions(chain), moved.version(1)], policy())


def test_a_registry_that_is_another_store_s_stops_it(chain, tmp_path):
    """Though that store has the same world."""
    other = make_chain(str(tmp_path / "other"), 1, name="other")
    assert other.world.digest == chain.world.digest
    for known in ([], [other.version(0), other.version(1)]):
        with pytest.raises(BadInput, match=r"knows no model of the store.*MLFLOW_TRACKING_URI"):
            make_plan(open_store(chain.store), known, policy())


def test_a_registry_that_lacks_one_model_of_the_store_stops_it(chain):
    second = make_chain(chain.store, 1, name="second", run="second")
    age(chain.store)
    known = versions(chain)
    with pytest.raises(BadInput, match=r"no model 'second' of it.*--registry.*--forget"):
        make_plan(open_store(chain.store), known, policy())
    plan = make_plan(open_store(chain.store), known, policy(forget=["second"]))
    assert second.model(1).uri in by_uri(plan)


@pytest.mark.parametrize("data", [b"garbage", b'{"identity": {}, "counts": {}, "files": {}}'])
def test_a_damaged_marker_of_the_register_step_is_named(chain, data):
    stage = chain.rounds[1]["register"]
    stage.store.write(stage.key(MARKER), data)
    age(chain.store)
    with pytest.raises(BadInput, match=rf"^{stage.uri}/_SUCCESS: is damaged.*delete the stage"):
        planned(chain)


@pytest.mark.parametrize("name", [MARKER, PRUNED_MARKER])
def test_a_damaged_marker_behind_a_kept_version_stops_it(chain, name):
    """Else what its stage was made from would look unused."""
    stage = chain.rounds[2]["pair"]
    stage.store.delete(stage.key(MARKER))
    stage.store.write(stage.key(name), b"garbage")
    age(chain.store)
    with pytest.raises(BadInput, match=rf"^{stage.uri}/{name}: is damaged"):
        planned(chain)


def test_a_damaged_marker_that_was_put_aside_is_no_registration(chain):
    stage = chain.rounds[1]["register"]
    stage.store.delete(stage.key(MARKER))
    stage.store.write(stage.key(PRUNED_MARKER), b"garbage")
    age(chain.store)
    assert stage.uri in by_uri(planned(chain))


def test_the_weights_under_an_adapter_and_those_a_world_starts_from_stay(chain):
    """The last version is an adapter on a world that stands for M_1 of an earlier run."""
    world = outside_world(chain.store, model_uri(chain.model(1).uri))
    adapter = adapter_stage(chain.store, world)
    tags = {**chain.tags(3), "lidr.model_digest": adapter.digest}
    tags["lidr.adapter"] = f"{adapter.uri}/adapter"
    age(chain.store)
    last = replace(chain.version(3), number=5, source=model_uri(chain.model(1).uri), tags=tags)
    plan = make_plan(open_store(chain.store), [*versions(chain), last], policy())
    assert {adapter.uri, world.uri, chain.model(1).uri}.isdisjoint(by_uri(plan))
    assert by_uri(plan)[chain.rounds[1]["generate"].uri] is RemovalReason.EARLIER


class Registry:
    """What pruning asks of MLflow.

    Args:
        refusal: error code of its answer to a deletion; "" if it deletes.
        champion: number of the version with the alias.
        copied: number of the version that another registry refers to; 0 for none.
    """

    tracking_uri = "https://mlflow"

    def __init__(self, refusal: str = "", champion: int = 4, copied: int = 0) -> None:
        self.refusal = refusal
        self.champion = champion
        self.copied = str(copied)
        self.deleted: list[str] = []

    def get_registered_model(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(aliases={"champion": str(self.champion)}, tags={})

    def get_model_version(self, name: str, version: str) -> SimpleNamespace:
        if self.refusal == "RESOURCE_DOES_NOT_EXIST":
            raise RestException({"error_code": self.refusal, "message": "a test"})
        tags = {"lidr.copied_to": "https://production"} if version == self.copied else {}
        return SimpleNamespace(tags=tags)

    def delete_model_version(self, name: str, version: str) -> None:
        if self.refusal:
            raise RestException({"error_code": self.refusal, "message": "a test"})
        self.deleted.append(version)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("PERMISSION_DENIED", BadInput),
        ("TEMPORARILY_UNAVAILABLE", TrackingFailed),
        ("BAD_REQUEST", RegistryFailed),
    ],
)
def test_the_files_of_a_version_that_mlflow_does_not_delete_stay(chain, code, error):
    with pytest.raises(error):
        prune(planned(chain), lambda version: Registry(code))
    assert all(chain.model(t).done() for t in range(4))


def test_a_version_that_another_process_deleted_stops_nothing(chain):
    prune(planned(chain), lambda version: Registry("RESOURCE_DOES_NOT_EXIST"))
    assert [chain.model(t).done() for t in range(4)] == [True, False, False, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"champion": 3}, "tiny/3 has become champion since the plan"),
        ({"copied": 3}, "tiny/3 has been copied to https://production since the plan"),
    ],
)
def test_nothing_goes_if_one_of_the_versions_has_got_an_alias_or_a_copy(chain, change, message):
    registry, before = Registry(**change), left_in(Path(chain.store))
    with pytest.raises(LidrError, match=message):
        prune(planned(chain), lambda version: registry)
    assert registry.deleted == []
    assert left_in(Path(chain.store)) == before


def test_a_marker_that_does_not_arrive_and_is_needed_stays(chain, monkeypatch):
    def damaged(store: LocalStore, key: str) -> bytes:
        raise DamagedObject(f"{key} arrived damaged", remedy="Run again.")

    plan = planned(chain)
    earlier = [each for each in plan.removals if each.why is RemovalReason.EARLIER]
    assert earlier
    monkeypatch.setattr(LocalStore, "read", damaged)
    for each in earlier:
        stage = each.stage.node.stage
        with pytest.raises(DamagedObject):
            prune_removal._put_marker_aside(stage, needed=True)
        assert stage.done(), "its marker is the only one"


class Power(BaseException):
    """It is out."""


class Failing(LocalStore):
    """A local store that dies at its n-th change."""

    def __init__(self, root: Path, left: int) -> None:
        super().__init__(root)
        self.left = left

    def _spend(self) -> None:
        if not self.left:
            raise Power
        self.left -= 1

    def write(self, key: str, data: bytes) -> None:
        self._spend()
        super().write(key, data)

    def delete(self, key: str) -> None:
        self._spend()
        super().delete(key)


@pytest.mark.parametrize("changes", [2, 3])
def test_an_interruption_anywhere_leaves_no_half_stage_done_and_a_rerun_ends_it(
    built, tmp_path, monkeypatch, changes
):
    """Every attempt dies after so many changes, the last one ends; they all decide again."""
    monkeypatch.setattr("lidr.components.shared.store.deletion.ThreadPoolExecutor", OneByOne)
    for name in ("straight", "stony"):
        shutil.copytree(built.store, tmp_path / name)
        age(tmp_path / name)
    known = {name: leading_to(versions(built), built, tmp_path / name) for name in ROADS}
    carry_out(make_plan(open_store(str(tmp_path / "straight")), known["straight"], policy()))
    attempts = 1
    while not _survives(Failing(tmp_path / "stony", changes), known["stony"]):
        assert_nothing_half_is_done(tmp_path / "stony", built, known["stony"][3])
        attempts += 1
    assert left_in(tmp_path / "stony") == left_in(tmp_path / "straight")
    assert attempts > 15


ROADS = ("straight", "stony")


def _survives(store: Failing, known: list) -> bool:
    try:
        carry_out(make_plan(store, known, policy()))
    except Power:
        return False
    return True


def left_in(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


class OneByOne:
    """Does what a pool of threads does, in order."""

    def __init__(self, _: int) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function, items):
        return map(function, items)


def leading_to(known: list, chain: Chain, folder: Path) -> list:
    return [replace(v, source=v.source.replace(chain.store, str(folder))) for v in known]


def assert_nothing_half_is_done(folder: Path, chain: Chain, last) -> None:
    store = open_store(str(folder))
    for stage in chain.stages:
        node = read_node(Stage(store, stage.prefix))
        if node.presence is Presence.WHOLE:
            assert verify(Graph({node.uri: node}, ())) == []
    assert verify(read_ancestry(None, last, store.uri).graph) == []


def test_a_stage_that_is_written_again_meanwhile_stays(chain):
    plan = planned(chain)
    stage = chain.model(1)
    stage.store.write(stage.key("checkpoints/00000001/optimizer.pt"), b"o")
    carry_out(plan)
    assert stage.done() and stage.files()


def test_judging_stages_are_named_by_the_version(chain):
    found = judging_stages_of(chain.version(1), open_store(chain.store))
    names = {uri.split("/")[-2] for uri in found}
    assert names == {"evaluate", "gate"}


def test_a_run_that_is_being_executed_here_is_known(chain):
    lock = Path(chain.store, "runs/first/lock")
    lock.touch()
    assert running(chain.store) == []
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert running(chain.store) == ["first"]


def test_nothing_goes_while_a_promotion_is_executed_anywhere(chain, monkeypatch):
    monkeypatch.setattr(LeaseOwner, "ended_here", False)  # as if another machine had it
    with (
        run_lease(chain.store, "promotion-0-2", PROMOTIONS),
        pytest.raises(BadInput, match="evaluates a version"),
    ):
        planned(chain)
    planned(chain)


def test_a_promotion_that_is_being_executed_here_is_known(chain):
    lock = Path(chain.store, "promotions/promotion-0-2/lock")
    lock.parent.mkdir(parents=True)
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert running(chain.store) == ["promotion-0-2"]
