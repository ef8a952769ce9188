"""lidr submit against a Kubeflow Pipelines API over HTTP."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import Unavailable
from lidr.components.shared.core.events import listening
from lidr.components.shared.store.recipes import reference_of, resolve_recipe
from lidr.components.shared.store.runs import recipe_key, state_key
from lidr.pipelines.begin import utc_day
from lidr.pipelines.cli.inputs import read_recipe
from lidr.pipelines.cluster import submit as submitting
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.status import Watcher
from lidr.pipelines.cluster.submit import Submission, submit
from lidr.pipelines.compiled import as_manifests
from lidr.pipelines.stamp import lidr_version, recipe_digest
from tests.argo import Workflow
from tests.json_server import serving
from tests.services.kubeflow import Cluster, compile_once, stamp, write_end
from tests.yaml_text import read_documents

RECIPE = "tiny_world"


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    settled = ["generation.engine=vllm", f"model.date={utc_day()}"]  # GPUs, and the day it begins
    return read_recipe(RECIPE, None, settled)


@pytest.fixture
def submission(cluster: Cluster, recipe: Recipe) -> Submission:
    text = compile_once(recipe, cluster.profile, "x", recipe.gate.max_iterations)
    return Submission(recipe, cluster.profile, "mine", text)


def test_a_run_is_submitted_once(cluster: Cluster, recipe: Recipe):
    first = cluster.json("submit", RECIPE, "--run", "mine")
    assert first["outcome"] == "created"
    run = cluster.kubeflow.run
    assert (run.display_name, run.service_account) == ("mine", "lidr-pipeline")
    assert run.runtime_config.parameters == {"run": "mine"}
    *links, stamped = run.description.splitlines()
    folder = f"{cluster.profile.store}/runs/mine"
    assert links == [
        f"report: {folder}/report.html",
        "MLflow: http://lidr-mlflow.lidr:5000/#/models/tiny-world",
    ]
    assert stamped == (
        f"lidr {lidr_version()}, recipe {recipe_digest(recipe)[:16]} from M_0, "
        f"store {cluster.profile.store}"
    )
    (experiment,) = cluster.kubeflow.experiments.values()
    assert experiment.display_name == "lidr"
    (version,) = cluster.kubeflow.versions.values()
    assert version.name == first["version"]
    inputs = version.pipeline_spec["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    assert inputs["recipe"]["defaultValue"] == reference_of(recipe)
    there = resolve_recipe(cluster.profile.store, reference_of(recipe))
    assert json.loads(there) == recipe.model_dump(mode="json")
    said = version.pipeline_spec["pipeline_spec"]["pipelineInfo"]["description"]
    assert f"sha256:{recipe_digest(recipe)}, lidr " in said
    assert first["link"] == f"{cluster.kubeflow.url}/#/runs/details/{run.run_id}"

    again = cluster.json("submit", RECIPE, "--run", "mine")
    assert (again["outcome"], again["run_id"]) == ("running", run.run_id)
    cluster.end_run()
    write_end(cluster.store, recipe, "mine")
    assert cluster.json("submit", RECIPE, "--run", "mine")["outcome"] == "done"
    assert len(cluster.kubeflow.runs) == len(cluster.kubeflow.versions) == 1


def test_a_run_links_to_the_model_that_it_registers(cluster: Cluster):
    named = ("--set", "registry.model_name=llama?3 8B")
    cluster.json("submit", RECIPE, "--run", "mine", *named)
    page = f"{cluster.profile.tracking_uri}/#/models/llama%3F3%208B"
    assert f"MLflow: {page}" in cluster.kubeflow.run.description.splitlines()


def test_a_run_is_the_same_on_another_day(cluster: Cluster, monkeypatch):
    first = cluster.json("submit", RECIPE, "--run", "mine")
    monkeypatch.setattr("lidr.pipelines.cli.submit.utc_day", lambda: "2001-02-03")
    assert cluster.json("submit", RECIPE, "--run", "mine")["run_id"] == first["run_id"]


@pytest.mark.parametrize("named", [(), ("--run", "nightly")])
def test_a_schedule_takes_over_nothing_of_a_run_of_its_name(
    cluster: Cluster, named: tuple[str, ...]
):
    first = cluster.json("submit", RECIPE, *named, "--every", "6h")
    run = cluster.json("submit", RECIPE, *named)["run"]
    begun = read_recipe(RECIPE, None, ["generation.engine=vllm", "model.date=2001-02-03"])
    cluster.store.write(recipe_key(run), begun.model_dump_json().encode())
    assert cluster.json("submit", RECIPE, *named, "--every", "6h")["id"] == first["id"]


def test_a_schedule_s_name_leaves_room_for_what_its_runs_add(cluster: Cluster):
    code, _, err = cluster.lidr("submit", RECIPE, "--run", "n" * 92, "--every", "6h")
    assert (code, err) == (
        2,
        f"lidr: error: {'n' * 92!r} has 92 characters, and the names of a schedule's runs add 9. "
        "Name the schedule with a --run of 91 characters at most.\n",
    )
    assert cluster.kubeflow.changes == []
    cluster.json("submit", RECIPE, "--run", "n" * 91, "--every", "6h")


def test_a_run_that_only_kubeflow_calls_succeeded_is_run_again(
    cluster: Cluster, submission: Submission, recipe: Recipe
):
    first = submit(cluster.client, submission)
    flow = Workflow(first.run_id)
    flow.task("root.exit-handler-1.prepare", "Failed", message="main: Error (exit code 1)")
    cluster.kubeflow.set_workflow(flow)
    cluster.end_run("SUCCEEDED")
    code, out, _ = cluster.lidr("submit", RECIPE, "--run", "mine", "--dry-run")
    assert code == 0 and "mine would resume" in out
    assert "Kubeflow calls the run succeeded, but M_0 prepare failed" in out
    second = submit(cluster.client, submission)
    assert (second.outcome, second.run_id != first.run_id) == ("resumed", True)

    del cluster.kubeflow.runs[first.run_id]  # made within the same second
    cluster.end_run("SUCCEEDED")
    third = submit(cluster.client, submission, dry=True)
    assert third.outcome == "would resume"
    assert third.note == "Kubeflow calls the run succeeded, but its result is not on the store"
    write_end(cluster.store, recipe, "mine", verdict="continue")
    assert submit(cluster.client, submission, dry=True).outcome == "would resume"


def test_a_run_that_only_kubeflow_calls_failed_is_done(
    cluster: Cluster, submission: Submission, recipe: Recipe
):
    submit(cluster.client, submission)
    cluster.end_run("FAILED")
    write_end(cluster.store, recipe, "mine")
    again = submit(cluster.client, submission)
    assert again.outcome == "done"
    assert again.note == "Kubeflow calls the run failed, but all its results are on the store"


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_a_run_that_ended_badly_is_run_again_under_its_name(
    cluster: Cluster, submission: Submission, state: str
):
    first = submit(cluster.client, submission)
    cluster.end_run(state)
    second = submit(cluster.client, submission)
    assert (second.outcome, second.run_id != first.run_id) == ("resumed", True)
    assert len(cluster.kubeflow.versions) == 1
    assert submit(cluster.client, submission).run_id == second.run_id


def test_of_several_that_submit_at_once_one_run_stays(
    cluster: Cluster, submission: Submission, monkeypatch
):
    """Both look before either has made its run; the settling time is the real one."""
    monkeypatch.setattr(submitting, "SETTLING_SECONDS", 1.1)
    both = threading.Barrier(2)
    cluster.kubeflow.before_run = lambda: None
    real = submitting._create

    def create(client: Client, what: Submission):
        both.wait(20)
        return real(client, what)

    monkeypatch.setattr(submitting, "_create", create)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: submit(cluster.client, submission), range(2)))
    assert {each.run_id for each in done} == {cluster.kubeflow.run.run_id}
    assert len(cluster.kubeflow.pipelines) == len(cluster.kubeflow.experiments) == 1


def test_the_look_for_other_runs_waits_as_long_as_a_slow_server_took_and_is_retried(
    cluster: Cluster, submission: Submission, monkeypatch
):
    def create(client: Client, what: Submission) -> Any:
        made = real(client, what)
        time.sleep(0.4)
        cluster.kubeflow.failing = 503
        return made

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        threading.Timer(0.3, setattr, (cluster.kubeflow, "failing", 0)).start()

    pauses: list[float] = []
    real = submitting._create
    monkeypatch.setattr(submitting, "_create", create)
    monkeypatch.setattr(submitting, "time", SimpleNamespace(sleep=pause, monotonic=time.monotonic))
    assert submit(cluster.client, submission).outcome == "created"
    assert pauses and pauses[0] >= 0.4


def test_a_dry_run_makes_nothing(cluster: Cluster):
    told = cluster.json("submit", RECIPE, "--dry-run")
    assert (told["outcome"], told["run_id"]) == ("would create", "")
    assert cluster.kubeflow.changes == []


@pytest.mark.parametrize(
    ("option", "words"),
    [("--run", "'' cannot name a run"), ("--every", "neither an interval nor a cron line")],
)
def test_an_empty_option_is_no_default(cluster: Cluster, option: str, words: str):
    code, _, err = cluster.lidr("submit", RECIPE, option, "")
    assert code == 2 and words in err
    assert not cluster.kubeflow.changes


def test_runs_of_several_users_are_in_their_namespaces(cluster: Cluster):
    cluster.kubeflow.multi_user = True
    code, _, err = cluster.lidr("submit", RECIPE)
    assert code == 0, err
    (experiment,) = cluster.kubeflow.experiments.values()
    assert experiment.namespace == "lidr"  # the profile's own

    cluster.configure(kubeflow={"host": cluster.kubeflow.url, "namespace": "elsewhere"})
    before = len(cluster.kubeflow.changes)
    code, _, err = cluster.lidr("submit", RECIPE)
    assert (code, err.count("\n")) == (2, 1)
    assert "in namespace elsewhere: User 'ann' is not authorized" in err
    assert len(cluster.kubeflow.changes) == before

    cluster.configure(kubeflow={"host": cluster.kubeflow.url}, namespace="")
    assert "is shared by several users" in cluster.lidr("submit", RECIPE)[2]


def _no_such_host(cluster: Cluster) -> None:
    cluster.configure(kubeflow={"host": "http://127.0.0.1:9"})


def _another_service(cluster: Cluster) -> None:
    cluster.configure(kubeflow={"host": f"{cluster.kubeflow.url}/elsewhere"})


def _no_host(cluster: Cluster) -> None:
    cluster.monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    cluster.configure(kubeflow={})


def _expired_token(cluster: Cluster) -> None:
    cluster.monkeypatch.setenv("LIDR_KFP_TOKEN", "of-yesterday")


def _login_page(cluster: Cluster) -> None:
    cluster.kubeflow.login = True


def _readonly(cluster: Cluster) -> None:
    cluster.kubeflow.readonly = True


def _in_trouble(cluster: Cluster) -> None:
    cluster.kubeflow.failing = 500


def _behind_a_gateway(cluster: Cluster) -> None:
    cluster.kubeflow.failing = 503


def _no_token_file(cluster: Cluster) -> None:
    cluster.monkeypatch.delenv("LIDR_KFP_TOKEN")
    cluster.configure(kubeflow={"host": cluster.kubeflow.url, "token_file": "/absent/token"})


def _local_store(cluster: Cluster) -> None:
    cluster.configure(store="lidr-store")


def _bad_label(cluster: Cluster) -> None:
    steps = {"train": {"node_selector": {"pool": "a b"}}}
    cluster.configure(steps=steps)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_no_such_host, "no Kubeflow Pipelines API answers at http://127.0.0.1:9"),
        (_another_service, "HTTP 404"),
        (_no_host, "does not say where Kubeflow Pipelines is"),
        (_expired_token, "needs a valid token (HTTP 401: Unauthenticated"),
        (_login_page, "does not answer as Kubeflow's API does (text/html)"),
        (_readonly, "may not create pipeline lidr-tiny-world in namespace lidr: User 'ann'"),
        (_in_trouble, "is up, but cannot report its health (HTTP 500"),
        (_behind_a_gateway, "no Kubeflow Pipelines API answers"),
        (_no_token_file, "/absent/token: the token cannot be read"),
        (_local_store, "is a folder of this machine"),
        (_bad_label, "steps.train.node_selector: pool=a b is not a valid label"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_made(cluster: Cluster, fault, message: str):
    fault(cluster)
    code, out, err = cluster.lidr("submit", RECIPE)
    assert (code, out) == (2, "")
    assert err.startswith("lidr: error: ") and err.count("\n") == 1
    assert message in err
    assert not cluster.kubeflow.runs and not cluster.kubeflow.pipelines


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "0" * 16}, "was submitted with another recipe"),
        ({"version": "0.0.9"}, "was submitted by lidr 0.0.9"),
        ({"store": "s3://elsewhere"}, "has its results in s3://elsewhere"),
        (None, "was not submitted by lidr"),
    ],
)
def test_a_run_of_something_else_is_left_alone(
    cluster: Cluster, submission: Submission, recipe: Recipe, changes, message: str
):
    submit(cluster.client, submission)
    run = cluster.kubeflow.run
    store = cluster.profile.store
    run.description = stamp(recipe, store, changes) if changes else "by hand"
    before = list(cluster.kubeflow.changes)
    code, _, err = cluster.lidr("submit", RECIPE, "--run", "mine")
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert cluster.kubeflow.changes == before


def test_a_recipe_changed_under_a_run_in_the_store_is_refused(cluster: Cluster, recipe: Recipe):
    other = recipe.model_copy(update={"seed": 7})
    cluster.store.write(recipe_key("mine"), other.model_dump_json().encode())
    code, _, err = cluster.lidr("submit", RECIPE, "--run", "mine")
    assert code == 2 and "was started with another recipe" in err
    assert cluster.kubeflow.changes == []


def test_prompt_files_of_this_machine_are_refused(cluster: Cluster):
    local = ("--set", "prompts.files.es=es.jsonl")
    code, _, err = cluster.lidr("submit", "llama3_8b_gsm8k", *local)
    assert code == 2 and "es.jsonl: prompts.files.es.0 is on this machine" in err
    assert cluster.kubeflow.requests == []


def test_items_of_this_machine_are_noted(cluster: Cluster, tmp_path: Path):
    (tmp_path / "items.jsonl").touch()
    local = ("--set", f"evaluation.data={{mgsm: {tmp_path}/items.jsonl}}", "--dry-run")
    code, _, err = cluster.lidr("submit", RECIPE, *local)
    assert code == 0 and "note: evaluation.data.mgsm name files of this machine" in err


def test_finished_iterations_can_be_left_out(cluster: Cluster, recipe: Recipe):
    code, _, err = cluster.lidr("submit", RECIPE, "--run", "mine", "--from-iteration", "2")
    assert code == 2 and "has no iteration 0" in err
    cluster.store.write(recipe_key("mine"), recipe.model_dump_json().encode())
    names = ("inputs", "model", "evaluation", "judgements", "version")
    for number in (0, 1):
        state = {name: f"{name}-{number}" for name in names}
        state |= {"iteration": number, "verdict": "continue", "promoted": True, "reason": "well"}
        cluster.store.write(state_key("mine", number), json.dumps(state).encode())
    assert cluster.json("submit", RECIPE, "--run", "mine", "--from-iteration", "2")["run_id"]
    (version,) = cluster.kubeflow.versions.values()
    ir = version.pipeline_spec["pipeline_spec"]
    tasks = ir["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert set(tasks) == {"resume-state", "iteration", "conclude"}
    number = tasks["iteration"]["inputs"]["parameters"]["number"]
    assert number["runtimeValue"]["constant"] == 2

    state |= {"verdict": "stop"}
    cluster.store.write(state_key("mine", 1), json.dumps(state).encode())
    err = cluster.lidr("submit", RECIPE, "--run", "mine", "--from-iteration", "2")[2]
    assert "stopped at iteration 1: well" in err


@pytest.mark.parametrize(
    ("ended", "verdict", "begins"),
    [(0, "continue", 1), (1, "continue", 2), (1, "stop", None), (2, "stop", None)],
)
def test_submit_goes_on_with_the_first_iteration_that_is_not_done(
    cluster: Cluster, recipe: Recipe, ended: int, verdict: str, begins: int | None
):
    """A resume costs one look, not every task of the iterations that are done."""
    cluster.store.write(recipe_key("mine"), recipe.model_dump_json().encode())
    names = ("inputs", "model", "evaluation", "judgements", "version")
    for number in range(ended + 1):
        state = {name: f"{name}-{number}" for name in names}
        word = verdict if number == ended else "continue"
        state |= {"iteration": number, "verdict": word, "promoted": True, "reason": "well"}
        cluster.store.write(state_key("mine", number), json.dumps(state).encode())
    cluster.json("submit", RECIPE, "--run", "mine")
    (version,) = cluster.kubeflow.versions.values()
    tasks = version.pipeline_spec["pipeline_spec"]["components"]["comp-exit-handler-1"]["dag"]
    rounds = [task for name, task in tasks["tasks"].items() if name.startswith("iteration")]
    numbers = [
        task["inputs"]["parameters"]["number"]["runtimeValue"]["constant"] for task in rounds
    ]
    assert numbers == (list(range(begins, 3)) if begins else [])
    assert "prepare" not in tasks["tasks"]


def test_a_token_is_fetched_with_client_credentials(cluster: Cluster, monkeypatch):
    """OAuth's own library wants https; its switch for tests allows a server without."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.delenv("LIDR_KFP_TOKEN")
    asked: list[str] = []

    def issue(request, body: bytes):
        asked.append(body.decode())
        if "client_secret" not in body.decode() and "Basic" not in str(request.headers):
            return 401, {"error": "invalid_client"}
        return 200, {"access_token": "a-token", "token_type": "Bearer", "expires_in": 3600}

    with serving(issue) as url:
        oidc = {"token_url": f"{url}/token", "client_id": "lidr"}
        cluster.configure(kubeflow={"host": cluster.kubeflow.url, "oidc": oidc})
        assert "$LIDR_KFP_CLIENT_SECRET" in cluster.lidr("submit", RECIPE, "--dry-run")[2]
        monkeypatch.setenv("LIDR_KFP_CLIENT_SECRET", "s3cret")
        code, out, err = cluster.lidr("submit", RECIPE, "--dry-run")
    assert code == 0, err
    assert len(asked) == 1 and "grant_type=client_credentials" in asked[0]
    assert "s3cret" not in out + err


def test_an_api_that_stalls_is_reported_while_it_does(cluster: Cluster, monkeypatch):
    monkeypatch.setattr("lidr.components.shared.core.retry.REPORT_SECONDS", 0.1)
    heard: list[dict[str, object]] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        cluster.configure(kubeflow={"host": host})
        client = Client(cluster.profile, seconds=0.4)
        with listening(heard.append), pytest.raises(Unavailable, match="ReadTimeoutError"):
            client.check()
    assert heard[0]["message"] == f"Kubeflow Pipelines at {host} takes long to report its health"


def test_an_identity_provider_in_trouble_is_called_that(cluster: Cluster, monkeypatch):
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.delenv("LIDR_KFP_TOKEN")
    monkeypatch.setenv("LIDR_KFP_CLIENT_SECRET", "s3cret")
    with serving(lambda request, body: (503, "<html>no upstream</html>")) as url:
        oidc = {"token_url": f"{url}/token", "client_id": "lidr"}
        cluster.configure(kubeflow={"host": cluster.kubeflow.url, "oidc": oidc})
        code, _, err = cluster.lidr("submit", RECIPE, "--dry-run")
    assert code == 2
    assert "is up, but gives no token (HTTP 503)" in err
    assert "SECRET" not in err


def test_a_token_file_is_read_again(cluster: Cluster, tmp_path: Path, monkeypatch):
    monkeypatch.delenv("LIDR_KFP_TOKEN")
    file = tmp_path / "token"
    file.write_text("a-token\n")
    cluster.configure(kubeflow={"host": cluster.kubeflow.url, "token_file": str(file)})
    client = cluster.client
    assert client.namespace == ""
    cluster.kubeflow.token = "the-next"
    file.write_text("the-next")
    assert list(client.list_all("list", "runs", client.runs.run_service_list_runs)) == []


def test_waiting_ends_with_the_run(cluster: Cluster, monkeypatch):
    looks = []

    def pause(_seconds: float) -> None:
        looks.append(1)
        cluster.kubeflow.failing = 503 if len(looks) == 1 else 0
        cluster.end_run("FAILED" if len(looks) > 1 else "RUNNING")

    monkeypatch.setattr("lidr.pipelines.cluster.watch.time.sleep", pause)
    code, out, err = cluster.lidr("submit", RECIPE, "--run", "mine", "--wait")
    assert code == 1, err
    assert "mine: failed" in out
    assert len(looks) >= 2


def test_waiting_outlasts_a_kubeflow_that_fails_just_after_the_run_was_made(
    cluster: Cluster, monkeypatch
):
    def opened(*arguments: Any) -> Watcher:
        cluster.kubeflow.failing = 0 if tried else 500
        tried.append(arguments)
        return Watcher(*arguments)

    tried: list[tuple[Any, ...]] = []
    monkeypatch.setattr("lidr.pipelines.cli.submit.Watcher", opened)
    monkeypatch.setattr("lidr.pipelines.cluster.watch.time.sleep", lambda _: cluster.end_run())
    _, out, err = cluster.lidr("submit", RECIPE, "--run", "mine", "--wait")
    assert "mine: failed" in out, err
    assert len(tried) == 2


def test_waiting_for_a_run_that_only_kubeflow_calls_succeeded_fails(cluster: Cluster, monkeypatch):
    monkeypatch.setattr(
        "lidr.pipelines.cluster.watch.time.sleep", lambda _seconds: cluster.end_run()
    )
    code, out, _ = cluster.lidr("submit", RECIPE, "--run", "mine", "--wait")
    assert code == 1
    assert "mine: failed" in out and "Kubeflow calls the run succeeded, but its result is" in out


def test_compiled_manifests_are_those_of_kfp(tmp_path: Path):
    """KFP's compiler writes the same two kinds, of any pipeline."""
    from kfp import compiler, dsl, kubernetes
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    @dsl.container_component
    def work():
        return dsl.ContainerSpec(image="python:3.11", command=["true"])

    @dsl.pipeline(name="lidr-small", description="Small.")
    def small():
        kubernetes.add_node_selector(work(), "pool", "gpu")

    file = tmp_path / "small.yaml"
    compiler.Compiler().compile(small, str(file))
    ours = list(read_documents(as_manifests(file.read_text(), "lidr")))
    options = KubernetesManifestOptions(
        pipeline_version_name=ours[1]["metadata"]["name"],
        pipeline_version_display_name=ours[1]["metadata"]["name"],
        namespace="lidr",
        include_pipeline_manifest=True,
    )
    compiler.Compiler().compile(
        small,
        str(file),
        kubernetes_manifest_format=True,
        kubernetes_manifest_options=options,
    )
    assert ours == list(read_documents(file.read_text()))


def test_compile_settles_what_the_named_run_began_with(cluster: Cluster, tmp_path: Path):
    began = read_recipe("tiny_world", None, ["generation.engine=transformers"])
    model = began.model.model_copy(update={"date": "2026-01-02"})
    began = began.model_copy(update={"model": model})
    cluster.store.write(recipe_key("mine"), began.model_dump_json().encode())
    file = tmp_path / "loop.yaml"
    code, _, err = cluster.lidr("compile", "tiny_world", "--run", "mine", "-o", str(file))
    assert code == 0 and "run mine began with it" in err
    inputs = next(read_documents(file.read_text()))["root"]["inputDefinitions"]["parameters"]
    assert inputs["run"]["defaultValue"] == "mine"
    assert inputs["recipe"]["defaultValue"] == reference_of(began)


def test_the_pipeline_of_a_recipe_as_manifests(cluster: Cluster, tmp_path: Path):
    file = tmp_path / "manifests.yaml"
    texts = []
    for _ in range(2):
        code, _, err = cluster.lidr("compile", RECIPE, "--manifests", "-o", str(file))
        assert code == 0, err
        texts.append(file.read_text())
    assert texts[0] == texts[1]
    pipeline, version = read_documents(texts[0])
    assert pipeline["metadata"] == {"name": "lidr-tiny-world", "namespace": "lidr"}
    assert version["metadata"]["name"].startswith("lidr-tiny-world-")
    assert version["spec"]["platformSpec"]["platforms"]["kubernetes"]
