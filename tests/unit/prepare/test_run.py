"""Importing a user's own model and prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidr.components.prepare.run import _digest_of_prompts, prepare
from lidr.components.shared.core.digest import digest_of, digest_of_file
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.records.schema import Prompt
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import read_admission
from lidr.components.shared.store.stage import MARKER, open_stage
from tests.fakes import make_recipe
from tests.unit.shared.engines.cases import CONTEXT, lively_model
from tests.unit.shared.models.test_admission import model_of


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return lively_model(tmp_path_factory.mktemp("model"))


def recipe_over(folder: Path, model: Path, second: str) -> str:
    files = {}
    for code in ("en", "es", "de"):
        rows = [{"prompt_id": "1", "text": "Hi"}, {"prompt_id": "2", "text": second}]
        files[code] = str(folder / f"{code}.jsonl")
        Path(files[code]).write_text("\n".join(json.dumps(row) for row in rows))
    return make_recipe(model={"source": str(model)}, prompts={"files": files}).model_dump_json()


def test_prompts_that_fit_are_imported(model, tmp_path):
    uri = prepare(recipe=recipe_over(tmp_path, model, "word " * 20), store=str(tmp_path / "s"))
    rows = open_stage(uri).read_records(["prompts/de.parquet"], Prompt)
    assert [row.prompt_id for row in rows] == ["1", "2"]


@pytest.mark.parametrize(
    ("codes", "words"),
    [(["es"], "none measures en, the dominant language"), (["en"], "but the dominant one")],
)
def test_a_loop_whose_gain_could_not_be_seen_does_not_begin(tmp_path, codes, words):
    languages = {"math500_{language}": codes}
    evaluation = {"tasks": ["math500_{language}"], "languages": languages}
    with pytest.raises(BadInput, match=words):
        prepare(make_recipe(evaluation=evaluation).model_dump_json(), str(tmp_path))


def test_prompts_that_say_the_same_leave_in_all_languages_and_are_counted(model, tmp_path, capsys):
    recipe = json.loads(recipe_over(tmp_path, model, "hi"))
    whole = prepare(recipe=json.dumps(recipe), store=str(tmp_path / "s"))
    recipe["prompts"]["deduplicate"] = {"mode": "near"}
    stage = open_stage(prepare(recipe=json.dumps(recipe), store=str(tmp_path / "s")))
    for code in ("en", "es", "de"):
        rows = stage.read_records([f"prompts/{code}.parquet"], Prompt)
        assert [row.prompt_id for row in rows] == ["1"]
    assert stage.counts() == {"prompts": 1, "duplicates": {"exact": 1, "near": 0}}
    told = json.loads(stage.read("duplicates.jsonl"))
    assert told == {"prompt_id": "2", "duplicate_of": "1", "similarity": 1.0, "exact": True}
    assert "1 of 2 prompts are left out, in all languages" in capsys.readouterr().err
    assert open_stage(whole).counts() == {"prompts": 2}, "they stay unless it is asked for"


def test_the_marker_says_which_files_were_imported(model, tmp_path):
    uri = prepare(recipe=recipe_over(tmp_path, model, "word"), store=str(tmp_path / "s"))
    facts = open_stage(uri).marker()["facts"]
    assert facts["model"]["source"] == str(model)
    file = tmp_path / "de.jsonl"
    told = {"file": str(file), "sha256": digest_of_file(file)}
    assert facts["prompt_files"]["de"] == [told]
    assert set(facts["prompt_files"]) == {"en", "es", "de"}


def test_a_prompt_beyond_the_context_is_named_with_its_line(model, tmp_path):
    recipe = recipe_over(tmp_path, model, "word " * CONTEXT)
    with pytest.raises(
        BadInput, match=rf"prompt '2' has \d+ tokens, the context {CONTEXT}"
    ) as found:
        prepare(recipe=recipe, store=str(tmp_path / "s"))
    assert (found.value.file, found.value.line) == (str(tmp_path / "en.jsonl"), 2)
    assert not list((tmp_path / "s").rglob(MARKER))


def shaped_recipe(tmp_path: Path, name: str, **model: object) -> str:
    folder = model_of(tmp_path / name, name)
    recipe = json.loads(recipe_over(tmp_path, folder, "word"))
    recipe["model"] |= model
    return json.dumps(recipe)


@pytest.mark.parametrize("codes", [(), ("en",), ("es", "en", "hi")])
def test_the_digest_of_prompts_is_that_of_their_whole(codes):
    prompts = {
        code: [Prompt("1", code, 'नमस्ते 🙂 "x"', "7"), Prompt("2", code, "\ud800", None)]
        for code in codes
    }
    whole = {
        code: [[p.prompt_id, p.text, p.answer, p.translation_task] for p in rows]
        for code, rows in prompts.items()
    }
    assert _digest_of_prompts(prompts) == digest_of(whole)


def test_what_was_decided_about_the_model_is_noted_for_its_run(model, tmp_path, capsys):
    store = str(tmp_path / "s")
    prepare(recipe=recipe_over(tmp_path, model, "word"), store=store, run="mine")
    found = {each["property"]: each for each in read_admission(open_store(store), "mine")}
    assert found["architecture"]["decision"] == "llama"
    assert not any(each["refused"] for each in found.values())
    assert "end of turn: <|end|>" in capsys.readouterr().err


def test_a_model_that_is_refused_is_not_imported(tmp_path):
    recipe = shaped_recipe(tmp_path, "deepseek-r1", thinking="off")
    with pytest.raises(BadInput, match=r"model\.thinking is off"):
        prepare(recipe=recipe, store=str(tmp_path / "s"))
    assert not list((tmp_path / "s").rglob(MARKER))


@pytest.mark.parametrize(("name", "other"), [("llama-3", False), ("llama-3.2", True)])
def test_the_day_is_in_the_address_only_where_the_template_asks_for_it(tmp_path, name, other):
    store = str(tmp_path / "s")
    days = [
        prepare(recipe=shaped_recipe(tmp_path, name, date=day), store=store)
        for day in ("2026-02-03", "2026-02-04", "2026-02-03")
    ]
    assert (days[0] != days[1]) == other
    assert days[0] == days[2]


def test_template_arguments_are_in_the_address(tmp_path):
    store = str(tmp_path / "s")
    given = [{}, {"template_arguments": {"a": 1}}, {"thinking": "remove"}]
    uris = [
        prepare(recipe=shaped_recipe(tmp_path, "qwen-3", **each), store=store) for each in given
    ]
    assert len(set(uris)) == 3
