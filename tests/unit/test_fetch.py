"""lidr fetch: what a recipe names comes into the store once, by digest, and is what it pins."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from lidr.components.evaluate.items.problems import problems
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core import retry
from lidr.components.shared.core.errors import BadInput, CorruptStage, LidrError
from lidr.components.shared.core.retry import RETRY_VARIABLE
from lidr.components.shared.inputs.fetch_plans import FetchPlan, SourceFile, fetch_plan
from lidr.components.shared.inputs.fetched import find_fetched, source_stage
from lidr.components.shared.inputs.fetching import fetch
from lidr.components.shared.inputs.named import InputKind, NamedInput
from lidr.components.shared.inputs.prompt_files import load_prompts
from lidr.components.shared.models.outside import fetch_model, model_fingerprint
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.open import open_store
from lidr.pipelines import bundle
from lidr.pipelines.begin import begin, inputs_of
from lidr.pipelines.cli.console import PlainConsole
from lidr.pipelines.cli.fetch import _progress
from lidr.pipelines.cli.inputs import read_profile, read_recipe
from lidr.pipelines.cli.sizes import size_text
from tests.fakes import make_recipe
from tests.web_hosts import REVISION, serving

MODEL = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": os.urandom(300_000),
    "tokenizer.json": b"{}",
    "training.py": b"import os",
}


TASKS = b'{"prompt_id": "p1"}\n'


def rows(language: str, first: int) -> bytes:
    lines = [{"prompt_id": f"p{n}", "text": f"{language} {n}"} for n in range(first, first + 3)]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def items(language: str) -> bytes:
    return json.dumps({"question": f"{language}: 1 + 1?", "answer": "2"}).encode() + b"\n"


@pytest.fixture
def host(monkeypatch, tmp_path):
    monkeypatch.setattr(retry, "_MAX_PAUSE", 0.02)
    monkeypatch.setenv(RETRY_VARIABLE, "5")
    monkeypatch.setenv("LIDR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with serving() as made:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", made.url)
        pattern = f"{made.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", pattern)
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        made.files["/tasks.jsonl"] = TASKS
        for code in ("en", "es"):
            made.files[f"/prompts/0/{code}.jsonl"] = rows(code, 0)
            made.files[f"/items/{code}.jsonl"] = items(code)
        made.files["/prompts/1/en.jsonl"] = rows("en", 3)
        made.add_repository("org/model", MODEL, kind="model")
        made.add_repository("org/more", {"data/es.jsonl": rows("es", 3)})
        yield made


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def recipe(host, tmp_path) -> Path:
    web = {
        code: {"source": f"{host.url}/prompts/0/{code}.jsonl", "sha256": sha256(rows(code, 0))}
        for code in ("en", "es")
    }
    more = {"source": f"{host.url}/prompts/1/en.jsonl", "sha256": sha256(rows("en", 3))}
    hub = {"source": "hf://datasets/org/more/data/es.jsonl", "revision": REVISION}
    content = {
        "name": "fetched",
        "languages": {"dominant": "en", "others": ["es"]},
        "model": {"source": f"hf://org/model@{REVISION}"},
        "prompts": {
            "files": {"en": [web["en"], more], "es": [web["es"], hub]},
            "translation_tasks": {"source": f"{host.url}/tasks.jsonl", "sha256": sha256(TASKS)},
        },
        "evaluation": {
            "tasks": ["mgsm_paper_{language}"],
            "data": {
                "mgsm": {
                    "source": f"{host.url}/items/{{language}}.jsonl",
                    "sha256": {code: sha256(items(code)) for code in ("en", "es")},
                    "licence": "CC-BY-SA-4.0",
                }
            },
        },
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(content))
    return file


def bring(recipe: Path, store: str) -> list[bundle.FetchResult]:
    return bundle.fetch_inputs(
        read_recipe(str(recipe), None, None), open_store(store), lambda _: None
    )


def test_fetch_brings_each_input_once_and_a_second_time_nothing(host, recipe, tmp_path):
    first = bring(recipe, str(tmp_path / "store"))
    assert {each.outcome for each in first} == {"fetched"}
    assert {each.label: each.licence for each in first} == {
        "model.source": "mit",
        "prompts.files.en.0": "unknown",
        "prompts.files.en.1": "unknown",
        "prompts.files.es.0": "unknown",
        "prompts.files.es.1": "mit",
        "prompts.translation_tasks": "unknown",
        "evaluation.data.mgsm": "CC-BY-SA-4.0",
    }
    host.asked.clear()
    second = bring(recipe, str(tmp_path / "store"))
    assert {each.outcome for each in second} == {"there already"}
    assert host.asked == []
    assert [each.digest for each in first] == [each.digest for each in second]


def test_a_run_after_fetch_reads_the_store_alone(host, recipe, tmp_path):
    asked = read_recipe(str(recipe), None, None)
    fingerprint = model_fingerprint(asked.model.source)
    bring(recipe, str(tmp_path / "store"))
    host.files.clear()
    host.asked.clear()
    store = open_store(str(tmp_path / "store"))
    begun = begin(asked, read_profile("local"), store)
    found = load_prompts(begun.recipe)
    assert [prompt.text for prompt in found["es"]] == [f"es {n}" for n in range(6)]
    assert [prompt.prompt_id for prompt in found["en"] if prompt.translation_task] == ["p1"]
    (item,) = problems("mgsm", "es", begun.recipe.evaluation.data)
    assert item["question"] == "es: 1 + 1?"
    folder = fetch_model(begun.recipe.model.source)
    assert {path.name for path in folder.iterdir() if path.suffix != ""} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert (folder / "model.safetensors").read_bytes() == MODEL["model.safetensors"]
    assert model_fingerprint(begun.recipe.model.source) == fingerprint, "same stages as before"
    assert begun.run == begin(asked, read_profile("local")).run, "the run keeps its name"
    assert host.asked == []


@pytest.mark.parametrize("fault", [503, 429, "truncated"])
def test_fetch_outlives_faults_of_its_hosts(host, recipe, tmp_path, fault):
    host.faults.extend([fault] * 3)
    bring(recipe, str(tmp_path / "store"))
    assert {each.outcome for each in bring(recipe, str(tmp_path / "store"))} == {"there already"}


def test_fetch_refuses_a_file_that_changed_under_its_pin(host, recipe, tmp_path):
    host.files["/items/es.jsonl"] = b'{"question": "?", "answer": "3"}\n'
    with pytest.raises(BadInput, match=r"items/es.jsonl: has the SHA-256"):
        bring(recipe, str(tmp_path / "store"))
    host.files["/items/es.jsonl"] = items("es")
    outcomes = {each.label: each.outcome for each in bring(recipe, str(tmp_path / "store"))}
    assert outcomes["evaluation.data.mgsm"] == "fetched"


def test_fetch_refuses_a_model_that_the_hub_lacks(host, recipe, tmp_path):
    host.files.pop(f"/api/models/org/model/revision/{REVISION}")
    with pytest.raises(BadInput, match=rf"hf://org/model@{REVISION} cannot be looked up"):
        bring(recipe, str(tmp_path / "store"))


def test_fetch_compares_local_files_and_the_hub_s_with_their_pins(host, tmp_path):
    store = open_store(str(tmp_path / "store"))
    (tmp_path / "en.jsonl").write_bytes(items("en"))
    with pytest.raises(BadInput, match=r"en.jsonl: has the SHA-256 .*, the recipe pins 000"):
        fetch_plan(named(f"{tmp_path}/en.jsonl#sha256={'0' * 64}"), store)
    pinned = f"{tmp_path}/en.jsonl#sha256={sha256(items('en'))}"
    assert fetch_plan(named(pinned), store).files()[0].sha256 == sha256(items("en"))
    host.add_repository("org/items", {"en.jsonl": items("en")})
    source = f"hf://datasets/org/items@{REVISION}/en.jsonl#sha256={'0' * 64}"
    assert [each.sha256 for each in fetch_plan(named(source), store).files()] == ["0" * 64]


def test_a_pin_counts_where_the_source_is_in_the_store_already(host, tmp_path):
    store = open_store(str(tmp_path / "store"))
    host.add_repository("org/items", {"en.jsonl": items("en")})
    source = f"hf://datasets/org/items@{REVISION}/en.jsonl"
    with ThreadPoolExecutor() as pool:
        fetch(fetch_plan(named(source), store), pool, tmp_path / "scratch", lambda _: None)
        fetch(
            fetch_plan(named(f"{source}#sha256={sha256(items('en'))}"), store),
            pool,
            tmp_path / "scratch",
            lambda _: None,
        )
    with pytest.raises(BadInput, match="the recipe pins 000"):
        fetch_plan(named(f"{source}#sha256={'0' * 64}"), store).is_there()


def test_fetch_blames_the_pin_for_a_file_that_the_hub_sends_whole(host, tmp_path):
    store = open_store(str(tmp_path / "store"))
    host.add_repository("org/items", {"en.jsonl": items("en")})
    plan = fetch_plan(
        named(f"hf://datasets/org/items@{REVISION}/en.jsonl#sha256={'0' * 64}"), store
    )
    with (
        ThreadPoolExecutor() as pool,
        pytest.raises(BadInput, match=r"the recipe pins 000.* Correct sha256 in the recipe"),
    ):
        fetch(plan, pool, tmp_path / "scratch", lambda _: None)


def test_an_error_of_one_file_does_not_wait_for_the_files_before_it(tmp_path):
    stage = source_stage(open_store(str(tmp_path / "store")), {"files": {}})
    released, completed = Event(), []

    def slow(path: Path, advance: object) -> None:
        completed.append(released.wait(10))
        path.write_bytes(b"")

    def fails(path: Path, advance: object) -> None:
        raise BadInput("no such file")

    files = [SourceFile("a", 0, slow), SourceFile("b", 0, fails)]
    plan = FetchPlan(stage, stage.uri, lambda: files, str, "")
    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(BadInput, match="no such file"):
            fetch(plan, pool, tmp_path / "scratch", lambda _: None)
        assert completed == []
        released.set()


def test_a_file_of_items_is_wanted_in_the_languages_of_its_tasks(tmp_path):
    tasks = ["mgsm_paper_{language}", "math500_{language}"]
    given = make_recipe(
        evaluation={
            "tasks": tasks,
            "languages": {"math500_{language}": ["en"]},
            "data": {"math500": f"{tmp_path}/{{language}}.jsonl"},
        }
    )
    found = {each.key[-1]: each.languages for each in inputs_of(given)}
    assert found["math500"] == ("en",) and found["mgsm"] == ("en", "es", "de")


def test_only_a_store_with_a_marker_holds_a_copy_and_may_be_read_only(tmp_path, monkeypatch):
    digest = "0" * 64
    (tmp_path / "store" / "sources" / digest).mkdir(parents=True)
    for place in (f"https://host/p/sources/{digest}/en.jsonl", f"gs://b/sources/{digest}/a"):
        assert find_fetched(place) is None
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert find_fetched(f"{tmp_path}/store/sources/{digest}/en.jsonl") is None
    (tmp_path / "store" / "sources" / digest / "_SUCCESS").touch()
    found = find_fetched(f"{tmp_path}/store/sources/{digest}/en.jsonl")
    assert found and (found[0].uri, found[1]) == (
        f"{tmp_path}/store/sources/{digest}",
        "en.jsonl",
    )


def test_files_with_a_scheme_of_this_machine_are_fetched_and_packed(host, recipe, tmp_path):
    files = {}
    for code in ("en", "es"):
        (tmp_path / f"{code}.jsonl").write_bytes(rows(code, 0))
        files[code] = f"file://{tmp_path}/{code}.jsonl"
    store, plain = (
        open_store(str(tmp_path / "store")),
        NamedInput((), files["en"][7:], InputKind.PROMPTS),
    )
    for pin in ("", f"#sha256={sha256(rows('en', 0))}"):
        plan = fetch_plan(replace(plain, source=files["en"] + pin), store)
        assert plan.stage.uri == fetch_plan(plain, store).stage.uri
        assert [each.name for each in plan.files()] == ["en.jsonl"]
    science = changed(recipe, prompts={"files": files})
    packed(science, tmp_path / "bundle")
    (tmp_path / "en.jsonl").unlink()  # it is on the machine that packed it only
    unpacked = bundle.unpack(science, tmp_path / "bundle", store, lambda _: None)
    assert {each.outcome for each in unpacked} == {"unpacked"}


def test_progress_is_one_line_that_is_redrawn(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(
        "lidr.pipelines.cli.fetch.PlainConsole",
        lambda **_: PlainConsole(file=screen, force_terminal=True, width=80),
    )
    with _progress() as advance:
        advance(999_000_000)
    drawn = screen.getvalue()
    assert f"{size_text(999_000_000)} fetched" in drawn
    assert "\ufffd" not in drawn
    assert drawn.count("\n") == drawn.count("\x1b[1A"), "it is one line"
    assert drawn.endswith("\r\x1b[1A\x1b[2K"), "which is cleared"


def named(source: str, kind: InputKind = InputKind.ITEMS) -> NamedInput:
    return NamedInput(("evaluation", "data", "mine"), source, kind, ("en", "es"))


def test_a_file_per_language_comes_from_the_hub(host, tmp_path):
    files = {f"data/{code}.jsonl": items(code) for code in ("en", "es", "fr")}
    host.add_repository("org/items", files)
    store = open_store(str(tmp_path / "store"))
    source = f"hf://datasets/org/items@{REVISION}/data/{{language}}.jsonl"
    plan = fetch_plan(named(source), store)
    assert [each.name for each in plan.files()] == ["data/en.jsonl", "data/es.jsonl"]
    assert plan.place.endswith("/data/{language}.jsonl")
    three = NamedInput(("evaluation", "data", "mine"), source, InputKind.ITEMS, ("en", "es", "fr"))
    assert fetch_plan(three, store).stage.uri != plan.stage.uri
    with pytest.raises(BadInput, match=r"org/items@.* has no data/de\.jsonl"):
        fetch_plan(replace(three, languages=("de", "en")), store).files()


def test_what_cannot_be_fetched_says_what_it_is(tmp_path):
    store = open_store(str(tmp_path / "store"))
    folder = tmp_path / "items"
    (folder / "en").mkdir(parents=True)
    (folder / "es").mkdir()
    (folder / "empty").mkdir()
    (folder / "en" / "test.jsonl").touch()
    for source, kind, message in (
        (f"{folder}/{{config}}.jsonl", InputKind.ITEMS, "not {config}"),
        (f"{folder}/{{language_name}}", InputKind.ITEMS, "not {language_name}"),
        (f"{folder}/{{language}}", InputKind.ITEMS, "a folder; one file per language is wanted"),
        (f"{folder}/empty", InputKind.ITEMS, "an empty folder"),
        (f"{folder}/en", InputKind.MODEL, "not a folder with a model's files"),
        (f"{folder}/absent", InputKind.MODEL, "no such file or folder"),
    ):
        with pytest.raises(BadInput) as refused:
            fetch_plan(named(source, kind), store)
        assert message in str(refused.value)


def test_a_damaged_copy_in_the_store_is_noticed_when_it_is_read(host, recipe, tmp_path):
    brought = bring(recipe, str(tmp_path / "store"))
    (digest,) = [each.digest for each in brought if each.label == "prompts.files.en.0"]
    (file,) = (tmp_path / "store/sources" / digest).glob("*.jsonl")
    file.write_bytes(rows("xx", 0))
    asked = read_recipe(str(recipe), None, None)
    begun = begin(asked, read_profile("local"), open_store(str(tmp_path / "store")))
    with pytest.raises(CorruptStage, match="does not have the digest its marker names"):
        load_prompts(begun.recipe)


def test_a_bundle_carries_all_inputs_to_a_store_without_a_network(host, recipe, tmp_path):
    science, folder = read_recipe(str(recipe), None, None), tmp_path / "bundle"
    packed = bundle.pack(
        science, read_profile("local"), folder, archives=False, advance=lambda _: None
    )
    host.files.clear()
    store = open_store(str(tmp_path / "cut-off"))
    unpacked = bundle.unpack(science, folder, store, lambda _: None)
    assert {each.outcome for each in unpacked} == {"unpacked"}
    assert [each.digest for each in packed] == [each.digest for each in unpacked]
    begun = begin(science, read_profile("local"), store)
    assert len(load_prompts(begun.recipe)["en"]) == 6
    again = bundle.unpack(science, folder, store, lambda _: None)
    assert {each.outcome for each in again} == {"there already"}
    digest = next(each.digest for each in packed if each.label == "prompts.translation_tasks")
    tasks = f"sources/{digest}/tasks.jsonl"
    store.write(tasks, b"?" * len(TASKS))
    store.delete(f"sources/{digest}/_SUCCESS")  # as a copy that was cut off, of another version
    bundle.unpack(science, folder, store, lambda _: None)
    assert store.read(tasks) == TASKS


def test_a_bundle_holds_files_of_this_machine(host, tmp_path):
    for code in ("en", "es"):
        (tmp_path / f"{code}.jsonl").write_bytes(rows(code, 0))
    content = {
        "name": "local",
        "languages": {"others": ["es"]},
        "model": {"source": f"hf://org/model@{REVISION}"},
        "prompts": {"files": {code: f"{code}.jsonl" for code in ("en", "es")}},
        "evaluation": {"tasks": ["tiny_world_{language}"]},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(content))
    science = read_recipe(str(tmp_path / "recipe.yaml"), None, None)
    packed = bundle.pack(
        science, read_profile("local"), tmp_path / "bundle", archives=False, advance=lambda _: None
    )
    assert {each.label for each in packed if each.digest} == {
        "model.source",
        "prompts.files.en.0",
        "prompts.files.es.0",
    }


def packed(science: Recipe, folder: Path) -> list[bundle.FetchResult]:
    return bundle.pack(
        science, read_profile("local"), folder, archives=False, advance=lambda _: None
    )


def changed(recipe: Path, **sections: object) -> Recipe:
    """Return the recipe with some of its sections replaced; without those that are None."""
    content = json.loads(recipe.read_text()) | sections
    file = recipe.with_name("changed.yaml")
    file.write_text(json.dumps({key: each for key, each in content.items() if each is not None}))
    return read_recipe(str(file), None, None)


def test_unpack_refuses_another_source_than_the_recipe_names(host, recipe, tmp_path):
    packed(read_recipe(str(recipe), None, None), tmp_path / "bundle")
    store = open_store(str(tmp_path / "cut-off"))
    newer = changed(recipe, model={"source": f"hf://org/model@{'c' * 40}"})
    with pytest.raises(BadInput, match=r"holds another model\.source .*Pack it again"):
        bundle.unpack(newer, tmp_path / "bundle", store, lambda _: None)
    assert store.list("sources") == [], "the other inputs are not copied either"


def test_pack_completes_a_bundle_and_replaces_nothing_in_it(host, recipe, tmp_path):
    science, folder = read_recipe(str(recipe), None, None), tmp_path / "bundle"
    packed(science, folder)
    files = json.loads(recipe.read_text())["prompts"]["files"]
    packed(changed(recipe, prompts={"files": files}), folder)
    store = open_store(str(tmp_path / "cut-off"))
    unpacked = bundle.unpack(science, folder, store, lambda _: None)
    assert {each.outcome for each in unpacked} == {"unpacked"}
    before = (folder / "inputs.json").read_bytes()
    host.asked.clear()
    with pytest.raises(BadInput, match=r"another model\.source .*Use another folder"):
        packed(changed(recipe, model={"source": f"hf://org/model@{'c' * 40}"}), folder)
    assert host.asked == []
    assert (folder / "inputs.json").read_bytes() == before


def test_fetch_plans_every_input_before_it_fetches_one(host, recipe, tmp_path):
    files = {"en": "en.jsonl", "es": "misspelt.jsonl"}
    (tmp_path / "en.jsonl").write_bytes(rows("en", 0))
    with pytest.raises(BadInput, match=r"misspelt\.jsonl: no such file"):
        packed(changed(recipe, prompts={"files": files}), tmp_path / "bundle")
    assert host.asked == []


def test_fetch_begins_no_further_file_after_the_first_error(host, recipe, tmp_path):
    data = {}
    for number in range(20):
        host.files[f"/big/{number}.jsonl"] = content = os.urandom(1_000_000)
        source = {"source": f"{host.url}/big/{number}.jsonl", "sha256": sha256(content)}
        data[f"data/{number}"] = source
    host.files.pop(f"/api/models/org/model/revision/{REVISION}")
    host.pause = 0.1  # 1.6 s a file
    evaluation = {"tasks": ["tiny_world_{language}"], "data": data}
    with pytest.raises(BadInput, match="cannot be looked up"):
        bundle.fetch_inputs(
            changed(recipe, evaluation=evaluation), open_store(f"{tmp_path}/store"), lambda _: None
        )
    assert len([path for path in host.asked if path.startswith("/big/")]) < 20


def test_fetch_says_which_models_stay_in_mlflow(host, recipe, tmp_path):
    science = changed(recipe, model={"source": "models:/mine@champion"})
    store = open_store(str(tmp_path / "store"))
    fetched = bundle.fetch_inputs(science, store, lambda _: None)
    unpacked = [packed(science, tmp_path / "bundle")]
    unpacked += [bundle.unpack(science, tmp_path / "bundle", store, lambda _: None)]
    for results in (fetched, *unpacked):
        (row,) = [each for each in results if each.label == "model.source"]
        assert (row.outcome, row.origin) == ("stays in MLflow", "models:/mine@champion")


def test_a_bundle_on_a_read_only_mount_is_unpacked(host, recipe, tmp_path, monkeypatch):
    science, folder = read_recipe(str(recipe), None, None), tmp_path / "bundle"
    packed(science, folder)
    store = open_store(str(tmp_path / "cut-off"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    unpacked = bundle.unpack(science, folder, store, lambda _: None)
    assert {each.outcome for each in unpacked} == {"unpacked"}


def remove(file: Path) -> None:
    file.unlink()


def remove_marker(file: Path) -> None:
    file.with_name("_SUCCESS").unlink()


def damage_marker(file: Path) -> None:
    file.with_name("_SUCCESS").write_bytes(b"{}")


def damage(file: Path) -> None:
    file.write_bytes(rows("xx", 0))


@pytest.mark.parametrize("fault", [remove, remove_marker, damage_marker, damage])
def test_a_bundle_that_was_copied_badly_is_to_be_copied_again(host, recipe, tmp_path, fault):
    science, folder = read_recipe(str(recipe), None, None), tmp_path / "bundle"
    found = {each.label: each.digest for each in packed(science, folder)}
    (file,) = (folder / "sources" / found["prompts.files.en.0"]).glob("*.jsonl")
    fault(file)
    with pytest.raises(LidrError) as refused:
        bundle.unpack(science, folder, open_store(str(tmp_path / "cut-off")), lambda _: None)
    assert refused.value.remedy.startswith("Copy the bundle again")


@pytest.mark.slow
def test_the_command_ends_at_once_when_it_is_interrupted(host, recipe, tmp_path):
    whole = os.urandom(40_000_000)
    host.add_repository("org/model", MODEL | {"model.safetensors": whole}, kind="model")
    host.pause = 0.05  # half a minute in all
    command = [sys.executable, "-m", "lidr.pipelines.cli", "fetch", str(recipe)]
    command += ["--store", str(tmp_path / "store")]
    path = f"/org/model/resolve/{REVISION}/model.safetensors"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not host.sent.get(path):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err.endswith("lidr: stopped; running the same command again continues from here\n")


@pytest.mark.slow
def test_the_command_killed_while_it_fetches_completes_when_it_is_run_again(host, recipe, tmp_path):
    whole = os.urandom(4_000_000)
    host.add_repository("org/model", MODEL | {"model.safetensors": whole}, kind="model")
    host.pause = 0.02
    command = [sys.executable, "-m", "lidr.pipelines.cli", "fetch", str(recipe)]
    command += ["--store", str(tmp_path / "store")]
    path = f"/org/model/resolve/{REVISION}/model.safetensors"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while host.sent.get(path, 0) < len(whole) // 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "model.source" in done.stdout
    assert host.sent[path] <= 2 * len(whole), "at most what was under way is fetched again"
    assert {each.outcome for each in bring(recipe, str(tmp_path / "store"))} == {"there already"}


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))]
)
def test_fetch_killed_at_random_moments_fetches_nothing_twice(host, recipe, tmp_path, seed):
    """Each life of the fetch ends when its hosts have sent so many more bytes, drawn at random."""
    rng, store = random.Random(seed), tmp_path / "store"
    content = json.loads(recipe.read_text())
    files = {f"/items/{number}.jsonl": rng.randbytes(1_000_000) for number in range(4)}
    host.files.update(files)
    for number, (path, data) in enumerate(files.items()):
        source = {"source": f"{host.url}{path}", "sha256": sha256(data)}
        content["evaluation"]["data"][f"data/{number}"] = source
    recipe.write_text(json.dumps(content))
    host.pause, lives, held = 0.002, 0, dict.fromkeys(files, 0)
    while not lived(recipe, store, host, rng.randrange(2_000_000)):
        lives += 1
        asked = [(path, start) for path, start in host.starts if path in files]
        assert asked == [(path, held[path]) for path, _ in asked], "each goes on where it was"
        assert all(held[path] < len(files[path]) for path, _ in asked), "what is whole is left"
        host.starts.clear()
        held = {path: bytes_of(path, tmp_path, len(data)) for path, data in files.items()}
    assert lives >= 2
    kept = {sha256(path.read_bytes()) for path in store.rglob("*.jsonl")}
    assert {sha256(data) for data in files.values()} <= kept
    host.asked.clear()
    assert {each.outcome for each in bring(recipe, str(store))} == {"there already"}
    assert host.asked == []


def lived(recipe: Path, store: Path, host, bytes_more: int) -> bool:
    """Fetch in a process of its own, killed after so many bytes; tell whether it ended first."""
    end = sum(host.sent.values()) + bytes_more
    child = os.fork()
    if not child:
        try:
            bring(recipe, str(store))
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return True
        if sum(host.sent.values()) >= end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.001)


def bytes_of(path: str, folder: Path, whole: int) -> int:
    """Return how much of a file this machine holds, in the store or on the way there."""
    name = Path(path).name
    if list(folder.glob(f"store/sources/*/{name}")) or list(folder.glob(f"cache/fetch/*/{name}")):
        return whole
    return sum(part.stat().st_size for part in folder.glob(f"cache/fetch/*/{name}.part"))


def test_two_that_fetch_at_once_fetch_each_file_once(host, recipe, tmp_path):
    host.files["/tasks.jsonl"] = data = TASKS * 50_000
    recipe.write_text(recipe.read_text().replace(sha256(TASKS), sha256(data)))
    host.pause = 0.02
    children = []
    for _ in range(2):
        if not (child := os.fork()):
            try:
                bring(recipe, str(tmp_path / "store"))
            finally:
                os._exit(0 if sys.exc_info()[0] is None else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert host.sent["/tasks.jsonl"] == len(data)
    assert sha256(data) in {sha256(p.read_bytes()) for p in (tmp_path / "store").rglob("*.jsonl")}
    assert not list(tmp_path.glob("cache/fetch/*/*"))


def test_looking_for_a_copy_makes_no_folder(tmp_path):
    assert find_fetched(f"{tmp_path}/nowhere/sources/{'a' * 64}/en.jsonl") is None
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_fetch_left_is_not_read_again(host, recipe, tmp_path, monkeypatch):
    store = open_store(str(tmp_path / "store"))
    brought = bring(recipe, store.uri)
    (digest,) = [each.digest for each in brought if each.label == "model.source"]
    store.delete(f"sources/{digest}/_SUCCESS")  # as a kill before the last step leaves it
    read: list[str] = []
    monkeypatch.setattr(LocalStore, "sha256", lambda self, key: read.append(key))
    host.sent.clear()
    assert {each.outcome for each in bring(recipe, store.uri)} == {"there already", "fetched"}
    assert read == []
    assert not [path for path in host.sent if "/resolve/" in path]


def test_a_run_whose_recipe_was_damaged_is_named(host, recipe, tmp_path):
    store = open_store(str(tmp_path / "store"))
    asked = read_recipe(str(recipe), None, None)
    store.write("runs/mine/recipe.json", b'{"name": 3}')
    with pytest.raises(BadInput, match="is not the recipe of a run"):
        begin(asked, read_profile("local"), store, "mine")
