from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from lidr.components.register.run import register
from lidr.components.shared.core.digest import digest_of, digest_of_uri
from lidr.components.shared.core.errors import TrackingFailed
from lidr.components.shared.registry.history import history
from lidr.components.shared.registry.promotion import PromotionOrder, promote
from lidr.components.shared.registry.versions import read_version
from lidr.components.shared.stats.intervals import wilson
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import note_admission
from lidr.components.shared.store.stage import MARKER
from lidr.components.shared.tracking import mlflow_client
from tests.fakes import finished_stage, make_recipe
from tests.warm import python

LANGUAGES = ("en", "es", "de")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "LIDR_GIT_SHA", "KFP_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(store) -> MlflowClient:
    return mlflow_client(store)


@pytest.fixture
def name(request) -> str:
    """A registered model of the test's own: all tests share one database."""
    return request.node.name


def world_at(store: str) -> str:
    return finished_stage(store, "prepare", {"model/config.json": b"{}"}).uri


def trained_at(store: str, pairs: str, rows: Sequence[dict[str, float]] = ()) -> str:
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    files = {"model/config.json": b"{}", "metrics.jsonl": lines}
    return finished_stage(store, "train", files, pairs=pairs).uri


def evaluation_at(store: str, model: str) -> str:
    languages = {
        code: {"accuracy": wilson(4 + n, 10), "off_target": wilson(n, 10)}
        for n, code in enumerate(LANGUAGES)
    }
    counts = {"languages": languages, "average": wilson(11, 20)}
    return finished_stage(store, "evaluate", {}, counts, model=digest_of_uri(model)).uri


def decision_at(store: str, model: str, decision: str) -> str:
    counts = {"decision": decision}
    after = digest_of_uri(model)
    return finished_stage(store, "gate", {}, counts, after=after, decision=decision).uri


def arguments(store: str, name: str, model: str = "", **changes: object) -> dict[str, object]:
    """Return what the loop hands to register for M_0, or for another model."""
    model = model or world_at(store)
    return {
        "recipe": make_recipe(registry={"model_name": name}).model_dump_json(),
        "store": store,
        "run": "tiny-world-seed0",
        "inputs": world_at(store),
        "model": model,
        "evaluation": evaluation_at(store, model),
        "decision": "",
        "iteration": 0,
        "parent": "",
    } | changes


def after_training(store: str, name: str, pairs: str, *, decision: str = "promote") -> dict:
    model = trained_at(store, pairs)
    decision = decision_at(store, model, decision)
    return arguments(store, name, model, decision=decision, iteration=1, parent=f"{name}/1")


def forget(store: str) -> None:
    """Delete the markers of all register stages, as a process that dies too early leaves them."""
    for marker in Path(store, "stages", "register").glob(f"*/{MARKER}"):
        marker.unlink()


def versions(client: MlflowClient, name: str) -> dict[int, object]:
    return {int(v.version): v for v in client.search_model_versions(f"name = '{name}'")}


def candidate(client: MlflowClient, name: str) -> int:
    return int(client.get_model_version_by_alias(name, "candidate").version)


def test_a_version_points_at_the_files_of_the_model(store, client, name):
    model = world_at(store)
    assert register(**arguments(store, name, model)) == f"{name}/1"
    version = versions(client, name)[1]
    assert version.source == f"{model}/model"
    assert Path(version.source, "config.json").is_file()
    assert version.status == "READY"
    assert client.get_run(version.run_id).info.status == "FINISHED"


@pytest.mark.parametrize("source", ["hf://org/name@abc123", "s3://bucket/models/m", "/models/m"])
def test_an_outside_model_is_registered_where_it_is(store, client, source):
    name = f"outside {digest_of(source)}"
    described = json.dumps({"source": source}).encode()
    model = finished_stage(store, "prepare", {"model.json": described}, model=source).uri
    register(**arguments(store, name, model, inputs=model))
    assert versions(client, name)[1].source == source
    assert versions(client, name)[1].tags["lidr.base_model"] == source


def test_the_registered_model_is_named_like_the_recipe_by_default(store, client):
    settings = make_recipe(name="a-recipe")
    given = arguments(store, "", recipe=settings.model_dump_json(), run="a-recipe-seed0")
    assert register(**given) == "a-recipe/1"
    assert client.get_experiment_by_name("lidr/a-recipe") is not None


def test_what_was_decided_about_the_model_is_in_the_tags(store, client, name):
    findings = [{"property": "end of turn", "decision": "<end_of_turn> (106)", "refused": False}]
    note_admission(open_store(store), "admitted", {"findings": findings})
    register(**arguments(store, name, run="admitted"))
    assert versions(client, name)[1].tags["lidr.model.end_of_turn"] == "<end_of_turn> (106)"


def test_the_tags_of_the_start_are_its_facts(store, client, name):
    given = arguments(store, name)
    register(**given)
    assert versions(client, name)[1].tags == {
        "lidr.model_digest": digest_of_uri(given["model"]),
        "lidr.iteration": "0",
        "lidr.base_model": f"{given['inputs']}/model",
        "lidr.languages": "en,es,de",
        "lidr.recipe_digest": digest_of(json.loads(given["recipe"])),
        "lidr.inputs_digest": digest_of_uri(given["inputs"]),
        "lidr.evaluation_digest": digest_of_uri(given["evaluation"]),
        "lidr.gate_verdict": "start",
    }


def test_the_tags_of_a_trained_model_lead_back_to_all_it_comes_from(
    store, client, name, monkeypatch
):
    monkeypatch.setenv("LIDR_GIT_SHA", "4d9b393")
    monkeypatch.setenv("KFP_RUN_ID", "run-7")
    register(**arguments(store, name))
    given = after_training(store, name, "pairs-digest")
    assert register(**given) == f"{name}/2"
    assert versions(client, name)[2].tags == {
        "lidr.model_digest": digest_of_uri(given["model"]),
        "lidr.iteration": "1",
        "lidr.parent_version": f"{name}/1",
        "lidr.base_model": f"{given['inputs']}/model",
        "lidr.languages": "en,es,de",
        "lidr.pairs_digest": "pairs-digest",
        "lidr.recipe_digest": digest_of(json.loads(given["recipe"])),
        "lidr.inputs_digest": digest_of_uri(given["inputs"]),
        "lidr.evaluation_digest": digest_of_uri(given["evaluation"]),
        "lidr.gate_digest": digest_of_uri(given["decision"]),
        "lidr.gate_verdict": "promote",
        "lidr.git_sha": "4d9b393",
        "lidr.kfp_run_id": "run-7",
    }


def test_repeating_it_changes_nothing(store, client, name):
    given = arguments(store, name)
    first = register(**given)
    before = versions(client, name)[1]
    assert register(**given) == first
    forget(store)
    assert register(**given) == first
    assert list(versions(client, name)) == [1]
    assert versions(client, name)[1].run_id == before.run_id


def test_threads_that_meet_leave_one_version(store, client, name):
    given = arguments(store, name)
    barrier = Barrier(4)

    def meet(_: int) -> str:
        barrier.wait()
        return register(**given)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(meet, range(4)))
    [left] = versions(client, name)
    assert found == [f"{name}/{left}"] * 4
    assert candidate(client, name) == left


@pytest.mark.parametrize("first", ["1", "2"])
def test_an_alias_that_another_process_makes_in_between_is_no_failure(
    store, client, name, monkeypatch, first
):
    register(**arguments(store, name, decision=decision_at(store, world_at(store), "stop")))
    original = MlflowClient.set_registered_model_alias

    def clashes(self, name, alias, version):
        monkeypatch.setattr(MlflowClient, "set_registered_model_alias", original)
        original(self, name, alias, first)
        raise MlflowException("UNIQUE constraint failed: registered_model_aliases.alias")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", clashes)
    assert register(**after_training(store, name, "good")) == f"{name}/2"
    assert candidate(client, name) == 2


@pytest.mark.slow
def test_processes_that_meet_leave_one_version(store, client, name):
    given = json.dumps(arguments(store, name))
    code = (
        "import json, sys\n"
        "from lidr.components.register.run import register\n"
        "print(register(**json.loads(sys.argv[1])))\n"
    )
    started = [
        subprocess.Popen([python(), "-c", code, given], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=120)[0].strip() for process in started]
    [left] = versions(client, name)
    assert ended == [f"{name}/{left}"] * 2


def test_the_candidate_is_the_newest_version_that_passed_the_gate(store, client, name):
    register(**arguments(store, name))
    assert candidate(client, name) == 1
    register(**after_training(store, name, "good"))
    assert candidate(client, name) == 2
    assert register(**after_training(store, name, "bad", decision="keep")) == f"{name}/3"
    assert candidate(client, name) == 2
    assert versions(client, name)[3].tags["lidr.gate_verdict"] == "keep"


def test_an_m_0_of_a_later_run_takes_the_candidate_from_no_other_version(store, client, name):
    def another_start(source: str) -> dict[str, object]:
        model = finished_stage(store, "prepare", {"model/config.json": b"{}"}, model=source).uri
        return arguments(store, name, model, inputs=model)

    register(**arguments(store, name))
    assert register(**another_start("a second base")) == f"{name}/2"
    assert candidate(client, name) == 1
    assert register(**after_training(store, name, "good")) == f"{name}/3"
    assert register(**another_start("a third base")) == f"{name}/4"
    assert candidate(client, name) == 3


def test_a_recipe_may_promote_what_its_gate_compared_with_the_champion(store, client, name):
    text = make_recipe(registry={"model_name": name, "promote": "gated"}).model_dump_json()

    def champion() -> int:
        return int(client.get_model_version_by_alias(name, "champion").version)

    register(**arguments(store, name, recipe=text))
    assert champion() == 1
    register(**after_training(store, name, "good") | {"recipe": text})
    assert champion() == 2
    register(**after_training(store, name, "kept", decision="keep") | {"recipe": text})
    register(**after_training(store, name, "against M_0", decision="promote") | {"recipe": text})
    assert champion() == 2
    assert candidate(client, name) == 4
    reasons = [row.entry.move.reason for row in history(client, name).rows]
    assert reasons == ["run tiny-world-seed0 starts here", "run tiny-world-seed0 passed the gate"]


@pytest.mark.parametrize("start", ["never", "gated"])
def test_a_run_whose_champion_another_run_replaces_meanwhile_gets_a_note(
    store, client, name, monkeypatch, capsys, start
):
    """The other run's version takes the place of M_0, or of no champion at all."""

    def recipe(promotes: str) -> dict[str, str]:
        settings = make_recipe(registry={"model_name": name, "promote": promotes})
        return {"recipe": settings.model_dump_json()}

    def after_the_other(client, version, audit_log, order):
        promote(client, read_version(client, name, "2"), audit_log, PromotionOrder())
        return promote(client, version, audit_log, order)

    register(**arguments(store, name) | recipe(start))
    register(**after_training(store, name, "the other's") | recipe("never"))
    monkeypatch.setattr("lidr.components.register.aliases.promote", after_the_other)
    assert register(**after_training(store, name, "ours") | recipe("gated")) == f"{name}/3"
    assert int(client.get_model_version_by_alias(name, "champion").version) == 2
    note = f"{name}/3 is not promoted: champion of {name!r} is version 2 by now"
    assert note in capsys.readouterr().err


def test_a_promotion_that_mlflow_does_not_answer_is_recorded_once(store, client, name, monkeypatch):
    original = MlflowClient.set_registered_model_alias

    def away(self, name, alias, version):
        if alias == "champion":
            raise MlflowException("the database is away")
        original(self, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", away)
    monkeypatch.setenv("LIDR_RETRY_SECONDS", "0.3")
    settings = make_recipe(registry={"model_name": name, "promote": "gated"})
    with pytest.raises(TrackingFailed):
        register(**arguments(store, name, recipe=settings.model_dump_json()))
    assert [row.note for row in history(client, name).rows] == ["not carried out"]


@pytest.mark.parametrize("last", ["the tag", "the confirmation"])
def test_a_promotion_that_was_cut_off_after_the_champion_had_moved_is_finished_by_a_repeat(
    store, client, name, monkeypatch, last
):
    text = make_recipe(registry={"model_name": name, "promote": "gated"}).model_dump_json()
    given = arguments(store, name, recipe=text)

    def dies(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch, pytest.raises(Died):
        if last == "the tag":
            patch.setattr(MlflowClient, "set_model_version_tag", dies)
        else:
            patch.setattr("lidr.components.shared.registry.promotion.confirm", dies)
        register(**given)
    assert [row.note for row in history(client, name).rows] == ["not confirmed"]
    assert register(**given) == f"{name}/1"
    [row] = history(client, name).rows
    assert (row.note, row.entry.done) == ("", True)
    noted = json.loads(versions(client, name)[1].tags["lidr.promotion"])
    assert noted["time"] == row.entry.time


def test_what_another_gate_lets_pass_is_promoted_though_the_first_one_kept_it(store, client, name):
    text = make_recipe(registry={"model_name": name, "promote": "gated"}).model_dump_json()
    register(**arguments(store, name, recipe=text))
    kept = after_training(store, name, "twice judged", decision="keep") | {"recipe": text}
    passed = decision_at(store, kept["model"], "promote")
    assert register(**kept) == f"{name}/2"
    assert register(**kept | {"decision": passed}) == f"{name}/2"
    found = versions(client, name)[2]
    assert int(client.get_model_version_by_alias(name, "champion").version) == 2
    assert candidate(client, name) == 2
    assert found.tags["lidr.gate_verdict"] == "promote"
    assert found.tags["lidr.gate_digest"] == digest_of_uri(passed)


def test_the_judgements_of_m_0_are_tagged(store, client, name):
    judged = finished_stage(store, "judge", {})
    register(**arguments(store, name, judgements=judged.uri))
    assert versions(client, name)[1].tags["lidr.judgements_digest"] == judged.digest


def test_the_digests_and_images_of_all_stages_are_tags(store, client, name, monkeypatch):
    responses = finished_stage(store, "generate", {}, {"responses": 1, "languages": {}})
    counts = {"translations": 1, "directions": {}}
    translations = finished_stage(store, "translate", {}, counts, responses=responses.digest)
    monkeypatch.setenv("LIDR_IMAGE", "lidr/pair@sha256:" + "1" * 64)
    inputs = {"responses": responses.digest, "translations": translations.digest}
    counts = {"pairs": 3, "candidates": 4, "identical_share": 0}
    pairs = finished_stage(store, "pair", {}, counts, **inputs)
    monkeypatch.setenv("LIDR_IMAGE", "lidr/train@sha256:" + "2" * 64)
    files = {"model/config.json": b"{}"}
    read = {"pairs": pairs.digest, "start": "s", "reference": "r"}
    model = finished_stage(store, "train", files, **read).uri
    monkeypatch.delenv("LIDR_IMAGE")
    judged = finished_stage(store, "judge", {})
    gate = finished_stage(
        store, "gate", {}, {"decision": "promote"}, after=model, judged_after=judged.digest
    )
    register(**arguments(store, name, model, decision=gate.uri, iteration=1))
    tags = versions(client, name)[1].tags
    found = {key: value for key, value in tags.items() if key.endswith("_digest")}
    assert {key: found[key] for key in found if "recipe" not in key and "inputs" not in key} == {
        "lidr.model_digest": digest_of_uri(model),
        "lidr.pairs_digest": pairs.digest,
        "lidr.responses_digest": responses.digest,
        "lidr.translations_digest": translations.digest,
        "lidr.start_digest": "s",
        "lidr.reference_digest": "r",
        "lidr.evaluation_digest": digest_of_uri(evaluation_at(store, model)),
        "lidr.judgements_digest": judged.digest,
        "lidr.gate_digest": gate.digest,
    }
    assert {key: tags[key][:10] for key in tags if key.startswith("lidr.image.")} == {
        "lidr.image.pair": "lidr/pair@",
        "lidr.image.train": "lidr/train",
    }


def test_repeating_an_earlier_iteration_does_not_move_the_candidate_back(store, client, name):
    start = arguments(store, name)
    register(**start)
    register(**after_training(store, name, "good"))
    forget(store)
    assert register(**start) == f"{name}/1"
    assert candidate(client, name) == 2


class Died(Exception):
    pass


def dies_in(monkeypatch, method: str, call: int) -> None:
    """Let one of MLflow's methods fail at its n-th call."""
    original = getattr(MlflowClient, method)
    calls = iter(range(1, 100))

    def sometimes(self, *args, **kwargs):
        if next(calls) == call:
            raise Died
        return original(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, method, sometimes)


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("create_model_version", 1),
        ("set_registered_model_alias", 1),
    ],
)
def test_what_was_half_done_is_completed_once(store, client, name, monkeypatch, method, call):
    given = arguments(store, name, trained_at(store, "half done"), iteration=1)
    with monkeypatch.context() as patch, pytest.raises(Died):
        dies_in(patch, method, call)
        register(**given)
    assert register(**given) == f"{name}/1"
    assert list(versions(client, name)) == [1]
    assert candidate(client, name) == 1
