"""Admission: each property of a model is decided on its own files, or refuses it with a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.admission import Admission, ModelCandidate, admit
from lidr.components.shared.models.admission.properties import PROPERTIES
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.models.stages import admit_stage
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import new_stage
from tests.fakes import make_recipe
from tests.models import safetensors
from tests.shapes import SHAPES, gemma3_with_images, shaped_tokenizer


def model_of(folder: Path, name: str, config: dict[str, object] | None = None, image: bool = False):
    """Write a model of a shape whose weights nobody will look at."""
    folder.mkdir(exist_ok=True)
    shape = SHAPES[name]
    tokenizer = shaped_tokenizer(shape)
    rows = len(tokenizer)
    if image:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    tokenizer.save_pretrained(folder)
    llama = {
        "model_type": "llama",
        "vocab_size": rows,
        "max_position_embeddings": 256,
        "eos_token_id": tokenizer.eos_token_id,
    }
    (folder / "config.json").write_text(json.dumps(llama | (config or {})))
    ends = tokenizer.convert_tokens_to_ids(list(shape.ends))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    (folder / "model.safetensors").write_bytes(safetensors())
    return folder


def admitted(folder: Path, **model: object) -> Admission:
    files = dict.fromkeys(("en", "es", "de"), "prompts.jsonl")
    recipe = make_recipe(model={"source": str(folder), **model}, prompts={"files": files})
    return admit(ModelCandidate(recipe, folder))


def said(admission: Admission) -> dict[str, str]:
    assert not [found for found in admission.findings if found.refused]
    return {found.property: found.decision for found in admission.findings}


def refusal(admission: Admission) -> BadInput:
    with pytest.raises(BadInput) as refused:
        admission.require()
    assert refused.value.remedy
    return refused.value


def test_every_property_of_a_model_that_reads_images_is_said_in_one_line(tmp_path: Path):
    folder = model_of(tmp_path / "m", "gemma-3", image=True)
    rows = len(shaped_tokenizer(SHAPES["gemma-3"]))
    gemma3_with_images(rows).save_pretrained(folder)
    admission = admitted(folder)
    found = said(admission)
    ends = {token: rows - 4 + n for n, token in enumerate(SHAPES["gemma-3"].special)}
    assert found["architecture"] == "gemma3, of which the text model gemma3_text is used"
    assert found["vocabulary"] == (
        f"{rows + 1} tokens, {rows} embedded; without embedding, and never in a text: "
        "<image_soft_token>"
    )
    assert found["end of turn"] == (
        f"<end_of_turn> ({ends['<end_of_turn>']}); also stops at <eos> ({ends['<eos>']})"
    )
    assert found["context"] == "256 tokens"
    assert found["thinking"] == (
        "none found in the model's files; a leading <think> would be removed"
    )
    assert found["system text"].startswith("to the front of the first user turn")
    assert found["date"] == "not asked for"
    assert all(line.count("\n") == 0 for line in admission.lines)
    assert len(found) >= 9 and found.keys() <= PROPERTIES.keys()


@pytest.mark.parametrize(
    ("name", "model", "thinking", "translation"),
    [
        ("qwen-3", {}, "off, by the chat template's enable_thinking: false", "primed with"),
        ("qwen-3", {"thinking": "remove"}, "removed, from <think>...</think>", "primed with"),
        ("qwen-3", {"thinking": "keep"}, "kept, from <think>...</think>", "primed with"),
        (
            "deepseek-r1",
            {},
            "removed, from <think>...</think>, which a turn begins inside",
            "not primed: each turn begins inside a thought",
        ),
        ("gpt-oss", {}, "removed, from <|channel|>analysis<|message|>...", "primed with"),
    ],
)
def test_what_becomes_of_thoughts_is_said(tmp_path: Path, name, model, thinking, translation):
    found = said(admitted(model_of(tmp_path / "m", name), **model))
    assert found["thinking"].startswith(thinking)
    assert found["translation"].startswith(translation)


def test_the_day_is_said_where_the_template_asks_for_it(tmp_path: Path):
    folder = model_of(tmp_path / "m", "llama-3.2")
    assert said(admitted(folder, date="2026-02-03"))["date"] == "2026-02-03, in every step"
    assert said(admitted(folder))["date"].startswith("the day on which the run begins")


def test_a_token_that_a_text_can_become_needs_an_embedding(tmp_path: Path):
    rows = len(shaped_tokenizer(SHAPES["chatml"])) - 1
    folder = model_of(tmp_path / "m", "chatml", {"vocab_size": rows})
    error = refusal(admitted(folder))
    assert "a text can become <|im_end|>" in error.message
    assert f"embeds only {rows}" in error.message


@pytest.mark.parametrize(
    ("config", "model", "reason"),
    [
        ({"model_type": "nobody-knows"}, {}, "its configuration does not load"),
        ({}, {"thinking": "off"}, "no switch"),
        (
            {"model_type": "bloom", "max_position_embeddings": None},
            {},
            "how many tokens it reads at once",
        ),
    ],
)
def test_what_cannot_be_handled_is_refused_with_a_remedy(tmp_path: Path, config, model, reason):
    folder = model_of(tmp_path / "m", "deepseek-r1", config)
    assert reason in refusal(admitted(folder, **model)).message


@pytest.mark.parametrize("training", [{}, {"lora": {"rank": 4}}], ids=["weights", "adapter"])
def test_a_model_of_images_that_transformers_has_no_text_model_for_is_refused(
    tmp_path: Path, training
):
    text = {"model_type": "mistral", "vocab_size": len(shaped_tokenizer(SHAPES["chatml"]))}
    config = {"model_type": "mistral3", "text_config": text}
    folder = model_of(tmp_path / "m", "chatml", config)
    recipe = make_recipe(training=training)
    admission = admit(ModelCandidate(recipe, folder))
    error = refusal(admission)
    assert error.message == "transformers has no causal language model for mistral3"
    assert [found.decision for found in admission.findings if found.refused] == [error.message]


def test_admission_refuses_a_tokenizer_that_does_not_load_once(tmp_path: Path):
    config = {"model_type": "bloom", "max_position_embeddings": None}
    folder = model_of(tmp_path / "m", "llama-3", config)
    (folder / "tokenizer.json").write_text("{}")
    refused = [found.decision for found in admitted(folder).findings if found.refused]
    assert [said for said in refused if "its tokenizer does not load" in said] == refused[:1]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"hidden_act": "nosuch"}, "(KeyError: "),
        ({"rope_parameters": {"rope_type": "foo", "rope_theta": 1e4}}, "(KeyError: "),
    ],
)
def test_admission_refuses_a_configuration_that_no_model_can_be_built_from(
    tmp_path: Path, config: dict[str, object], said: str
):
    folder = model_of(tmp_path / "m", "llama-3", config)
    error = refusal(admitted(folder))
    assert "cannot build the model from its configuration" in error.message
    assert said in error.message


def test_admission_refuses_an_evaluated_model_that_is_no_language_model(tmp_path: Path):
    folder = model_of(tmp_path / "m", "chatml", {"model_type": "t5"})
    error = refusal(admit(ModelCandidate(make_recipe(), folder, trained=False)))
    assert error.message == "transformers has no causal language model for t5"


def test_a_reason_is_said_once_and_the_other_properties_are_decided(tmp_path: Path):
    admission = admitted(model_of(tmp_path / "m", "deepseek-r1"), thinking="off")
    assert sum(found.refused for found in admission.findings) == 1
    assert {"architecture", "vocabulary", "context"} <= {f.property for f in admission.findings}


def test_files_that_are_not_safe_are_not_looked_into(tmp_path: Path):
    folder = model_of(tmp_path / "m", "llama-3")
    (folder / "model.safetensors").unlink()
    admission = admitted(folder)
    assert [found.property for found in admission.findings] == ["files"]
    assert "no weights" in refusal(admission).message


@pytest.mark.parametrize("own", [True, False], ids=["trained", "from outside"])
def test_the_model_of_a_stage_is_admitted_wherever_its_files_are(tmp_path: Path, own: bool):
    folder = model_of(tmp_path / "m", "qwen-3")
    stage = new_stage(LocalStore(tmp_path / "s"), "train" if own else "model", 1, {}, {})
    if own:
        for path in folder.iterdir():
            stage.upload(f"model/{path.name}", path)
    else:
        stage.write("model.json", json.dumps({"source": str(folder)}).encode())
    stage.finish({})
    found = said(admit_stage(make_recipe(), stage.uri))
    assert found["end of turn"].startswith("<|im_end|>")
    assert found["files"].endswith("1 of them safetensors")


def test_a_template_that_needs_the_recipe_s_arguments_is_admitted_with_them(tmp_path: Path):
    folder = model_of(tmp_path / "m", "llama-3")
    asking = "{% if not tone %}{{ raise_exception('no tone') }}{% endif %}"
    path = folder / "chat_template.jinja"
    path.write_text(asking + SHAPES["llama-3"].template)
    assert "no tone" in refusal(admitted(folder)).message
    given = {"tone": "calm"}
    assert said(admitted(folder, template_arguments=given))["chat template"].endswith("tone=calm")
    stage = new_stage(LocalStore(tmp_path / "s"), "model", 1, {}, {})
    stage.write("model.json", json.dumps({"source": str(folder)}).encode())
    stage.finish({})
    assert model_files(stage.uri, arguments=given).folder == folder
    with pytest.raises(BadInput, match="no tone"):
        model_files(stage.uri)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no user here') }}", "cannot render a question"),
        ("{{ 'hello' }}", "leaves a question out"),
        ("{{ messages.__class__ }}", "looks into Python's own attributes"),
    ],
)
def test_a_template_that_cannot_be_used_is_one_finding(tmp_path: Path, template, reason):
    folder = model_of(tmp_path / "m", "llama-3")
    (folder / "chat_template.jinja").write_text(template)
    admission = admitted(folder)
    assert [found.property for found in admission.findings if found.refused] == ["chat template"]
    assert reason in refusal(admission).message
