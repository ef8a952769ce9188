from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from components.register.run import register
from components.shared.config import flatten
from components.shared.digest import digest_of, digest_of_uri
from components.shared.languages import NAMES
from components.shared.stage import MARKER
from components.shared.statistics import wilson
from components.shared.tracking import mlflow_client
from tests.fakes import finished_stage, make_recipe

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
    return finished_stage(store, "world", {"model/config.json": b"{}"}).uri


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


def decision_at(store: str, model: str, promoted: bool) -> str:
    counts = {"promoted": promoted}
    after = digest_of_uri(model)
    return finished_stage(store, "gate", {}, counts, after=after, promoted=str(promoted)).uri


def arguments(store: str, name: str, model: str = "", **changes: object) -> dict[str, object]:
    """Return what the loop hands to register for M_0, or for another model."""
    model = model or world_at(store)
    return {
        "recipe": make_recipe(registry={"model_name": name}).model_dump_json(),
        "store": store,
        "run": "tiny-world-seed0",
        "world": world_at(store),
        "model": model,
        "evaluation": evaluation_at(store, model),
        "decision": "",
        "iteration": 0,
        "parent": "",
    } | changes


def after_training(store: str, name: str, pairs: str, *, promoted: bool = True) -> dict:
    model = trained_at(store, pairs)
    decision = decision_at(store, model, promoted)
    return arguments(store, name, model, decision=decision, iteration=1, parent=f"{name}/1")


def forget(store: str) -> None:
    """Delete the markers of all register stages, as a process that dies too early leaves them."""
    for marker in Path(store, "stages", "register").glob(f"*/{MARKER}"):
        marker.unlink()


def versions(client: MlflowClient, name: str) -> dict[int, object]:
    return {int(v.version): v for v in client.search_model_versions(f"name = '{name}'")}


def runs(client: MlflowClient, name: str) -> list:
    experiment = client.get_experiment_by_name("lidr/tiny-world")
    query = f"params.`lidr.registry.model_name` = '{name}'"
    return client.search_runs([experiment.experiment_id], query)


def candidate(client: MlflowClient, name: str) -> int:
    return int(client.get_model_version_by_alias(name, "candidate").version)


def history(client: MlflowClient, run: object, key: str) -> list[tuple[int, float]]:
    found = client.get_metric_history(run.info.run_id, key)
    return sorted((metric.step, metric.value) for metric in found)


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
    model = finished_stage(store, "world", {"model.json": described}, model=source).uri
    register(**arguments(store, name, model, world=model))
    assert versions(client, name)[1].source == source
    assert versions(client, name)[1].tags["lidr.base_model"] == source


def test_the_registered_model_is_named_like_the_recipe_by_default(store, client):
    settings = make_recipe(name="a-recipe")
    assert register(**arguments(store, "", recipe=settings.model_dump_json())) == "a-recipe/1"
    assert client.get_experiment_by_name("lidr/a-recipe") is not None


def test_the_tags_of_the_start_are_its_facts(store, client, name):
    given = arguments(store, name)
    register(**given)
    assert versions(client, name)[1].tags == {
        "lidr.model_digest": digest_of_uri(given["model"]),
        "lidr.iteration": "0",
        "lidr.base_model": f"{given['world']}/model",
        "lidr.languages": "en,es,de",
        "lidr.recipe_digest": digest_of(json.loads(given["recipe"])),
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
        "lidr.base_model": f"{given['world']}/model",
        "lidr.languages": "en,es,de",
        "lidr.pairs_digest": "pairs-digest",
        "lidr.recipe_digest": digest_of(json.loads(given["recipe"])),
        "lidr.evaluation_digest": digest_of_uri(given["evaluation"]),
        "lidr.gate_digest": digest_of_uri(given["decision"]),
        "lidr.gate_verdict": "promoted",
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
    [run] = runs(client, name)
    assert history(client, run, "accuracy/es") == [(0, 0.5)]


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
    register(**arguments(store, name, decision=decision_at(store, world_at(store), False)))
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
        "from components.register.run import register\n"
        "print(register(**json.loads(sys.argv[1])))\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, given], stdout=subprocess.PIPE, text=True)
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
    assert register(**after_training(store, name, "bad", promoted=False)) == f"{name}/3"
    assert candidate(client, name) == 2
    assert versions(client, name)[3].tags["lidr.gate_verdict"] == "rejected"


def test_repeating_an_earlier_iteration_does_not_move_the_candidate_back(store, client, name):
    start = arguments(store, name)
    register(**start)
    register(**after_training(store, name, "good"))
    forget(store)
    assert register(**start) == f"{name}/1"
    assert candidate(client, name) == 2


def test_another_recipe_with_the_same_model_has_a_run_but_no_version_of_its_own(
    store, client, name
):
    register(**arguments(store, name))
    other = make_recipe(registry={"model_name": name}, training={"beta": 0.5})
    assert register(**arguments(store, name, recipe=other.model_dump_json())) == f"{name}/1"
    assert list(versions(client, name)) == [1]
    betas = {run.data.params["lidr.training.beta"] for run in runs(client, name)}
    assert betas == {"0.1", "0.5"}


def test_the_parameters_are_the_recipe_with_a_prefix(store, client, name):
    given = arguments(store, name)
    register(**given)
    [run] = runs(client, name)
    expected = flatten(json.loads(given["recipe"]))
    assert run.data.params == {f"lidr.{key}": str(value) for key, value in expected.items()}
    assert run.data.params["lidr.languages.others"] == "['es', 'de']"
    assert run.data.tags["lidr.run"] == "tiny-world-seed0"
    assert run.info.run_name == "tiny-world-seed0-M0"


def test_a_recipe_of_any_size_can_be_logged(store, client, name):
    others = [code for code in NAMES if code != "en"]
    settings = make_recipe(
        registry={"model_name": name},
        languages={"dominant": "en", "others": others},
        model={"source": "/models/m"},
        prompts={"files": {code: f"/prompts/{code}.jsonl" for code in NAMES}},
        evaluation={"tasks": [f"task_{number}_{{language}}" for number in range(400)]},
    )
    register(**arguments(store, name, recipe=settings.model_dump_json()))
    [run] = runs(client, name)
    assert run.data.params["lidr.prompts.files.zu"] == "/prompts/zu.jsonl"
    assert len(run.data.params) > 100
    assert len(run.data.params["lidr.evaluation.tasks"]) == 6000


def test_scores_stand_at_their_iteration_and_curves_at_their_step(store, client, name):
    rows = [
        {"step": 1, "loss": 0.75, "grad_norm": math.nan},
        {"step": 2, "loss": 0.5, "grad_norm": math.inf},
    ]
    model = trained_at(store, "with curves", rows)
    decision = decision_at(store, model, True)
    register(**arguments(store, name, model, decision=decision, iteration=3))
    [run] = runs(client, name)
    assert history(client, run, "accuracy/average") == [(3, 0.55)]
    assert history(client, run, "accuracy/de") == [(3, 0.6)]
    assert history(client, run, "off_target/es") == [(3, 0.1)]
    assert history(client, run, "train/loss") == [(1, 0.75), (2, 0.5)]
    assert [step for step, _ in history(client, run, "train/grad_norm")] == [1, 2]
    assert set(run.data.metrics) == {
        "accuracy/average",
        *(f"{kind}/{code}" for kind in ("accuracy", "off_target") for code in LANGUAGES),
        "train/loss",
        "train/grad_norm",
    }


def test_yields_failures_and_throughput_of_the_work_are_metrics(store, client, name):
    part = {"failures": {"truncated": 3, "empty": 1}}
    rate = {"tokens_per_second": 812.5, "prefix_cache_hit_rate": 0.25}
    responses = finished_stage(
        store, "generate", {}, {"responses": 40, "languages": {"en": part, "es": part}, **rate}
    )
    translations = finished_stage(
        store, "translate", {}, {"translations": 20, "directions": {"en-es": part}}
    )
    counts = {"pairs": 30, "candidates": 40, "identical_share": 0.1}
    inputs = {"responses": responses.digest, "translations": translations.digest}
    pairs = finished_stage(store, "pair", {}, counts, **inputs)
    model = trained_at(store, pairs.digest)
    register(**arguments(store, name, model, iteration=2))
    [run] = runs(client, name)
    logged = {key: run.data.metrics[key] for key in run.data.metrics if "accuracy" not in key}
    assert {key: value for key, value in logged.items() if "off_target" not in key} == {
        "pair/yield": 0.75,
        "pair/identical_share": 0.1,
        "generate/tokens_per_second": 812.5,
        "generate/prefix_cache_hit_rate": 0.25,
        "generate/failed_share": 0.2,
        "generate/truncated_share": pytest.approx(0.15),
        "generate/empty_share": pytest.approx(0.05),
        "translate/failed_share": 0.2,
        "translate/truncated_share": pytest.approx(0.15),
        "translate/empty_share": pytest.approx(0.05),
    }


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
        ("log_batch", 1),
        ("log_batch", 2),
        ("set_terminated", 1),
        ("create_model_version", 1),
        ("set_registered_model_alias", 1),
    ],
)
def test_what_was_half_done_is_completed_once(store, client, name, monkeypatch, method, call):
    rows = [{"step": n, "loss": 1 / n, "margin": n / 7, "norm": math.nan} for n in range(1, 402)]
    given = arguments(store, name, trained_at(store, "long", rows), iteration=1)
    with monkeypatch.context() as patch, pytest.raises(Died):
        dies_in(patch, method, call)
        register(**given)
    assert register(**given) == f"{name}/1"
    assert list(versions(client, name)) == [1]
    assert candidate(client, name) == 1
    [run] = runs(client, name)
    assert run.info.status == "FINISHED"
    assert history(client, run, "accuracy/es") == [(1, 0.5)]
    for key in ("loss", "margin"):
        expected = [(row["step"], pytest.approx(row[key])) for row in rows]
        assert history(client, run, f"train/{key}") == expected
    assert len(history(client, run, "train/norm")) == 401


@pytest.mark.parametrize(
    ("nested", "flat"),
    [
        ({}, {}),
        ({"a": 1}, {"a": 1}),
        ({"a": {"b": {"c": 1}, "d": None}}, {"a.b.c": 1, "a.d": None}),
        ({"a": [1, {"b": 2}], "c": {}}, {"a": [1, {"b": 2}]}),
    ],
)
def test_flatten_joins_nested_keys_by_dots(nested, flat):
    assert flatten(nested) == flat
