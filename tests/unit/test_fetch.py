"""lidr fetch: what a recipe names comes into the store once, by digest, and is what it pins."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lidr.components.evaluate.items.problems import problems
from lidr.components.shared.core import retry
from lidr.components.shared.core.errors import BadInput, CorruptStage
from lidr.components.shared.core.retry import RETRY_VARIABLE
from lidr.components.shared.inputs.prompt_files import load_prompts
from lidr.components.shared.models.sources import fetch_model, model_fingerprint
from lidr.components.shared.store.open import open_store
from lidr.pipelines import bundle
from lidr.pipelines.begin import begin
from lidr.pipelines.cli.inputs import read_profile, read_recipe
from tests.web_hosts import REVISION, serving

MODEL = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": os.urandom(300_000),
    "tokenizer.json": b"{}",
    "training.py": b"import os",
}


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
        "prompts": {"files": {"en": [web["en"], more], "es": [web["es"], hub]}},
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


def bring(recipe: Path, store: str) -> list[bundle.Brought]:
    return bundle.bring(read_recipe(str(recipe), None, None), open_store(store), lambda _: None)


def test_fetch_brings_each_input_once_and_a_second_time_nothing(host, recipe, tmp_path):
    first = bring(recipe, str(tmp_path / "store"))
    assert {each.outcome for each in first} == {"fetched"}
    assert {each.label: each.licence for each in first} == {
        "model.source": "mit",
        "prompts.files.en.0": "unknown",
        "prompts.files.en.1": "unknown",
        "prompts.files.es.0": "unknown",
        "prompts.files.es.1": "mit",
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


@pytest.mark.parametrize("kills", [4])
def test_fetch_killed_at_any_moment_completes_with_nothing_fetched_twice(
    host, recipe, tmp_path, kills
):
    whole = os.urandom(4_000_000)
    host.add_repository("org/model", MODEL | {"model.safetensors": whole}, kind="model")
    command = [sys.executable, "-m", "lidr.pipelines.cli", "fetch", str(recipe)]
    command += ["--store", str(tmp_path / "store")]
    for kill in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(1.2 + 0.4 * kill)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "model.source" in done.stdout
    path = f"/org/model/resolve/{REVISION}/model.safetensors"
    assert host.sent[path] <= 2 * len(whole), "at most what was under way is fetched again"
    assert {each.outcome for each in bring(recipe, str(tmp_path / "store"))} == {"there already"}
