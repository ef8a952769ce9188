from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lidr.components.shared.config.pairing import Filters
from lidr.components.shared.config.patterns import words_of
from lidr.components.shared.config.profile import Profile, load_profile
from lidr.components.shared.config.recipe import Recipe, load_recipe
from lidr.components.shared.core.errors import BadInput

SHIPPED = Path(__file__).resolve().parents[4] / "pipelines"

LAYERS = {"spot": ["cluster"]}
"""Profiles that are laid over others."""

GOOD = """\
name: mine
languages:
  dominant: en
  others: [es, de]
model:
  source: toy
evaluation:
  tasks: ["tiny_world_{language}"]
"""

OWN_MODEL = GOOD.replace("source: toy", "source: m0")


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(path: Path, overrides: dict[str, object] | None = None) -> BadInput:
    with pytest.raises(BadInput) as caught:
        load_recipe(path, overrides)
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("path", sorted((SHIPPED / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_recipes_load(path):
    assert load_recipe(path).name == path.stem.replace("_", "-")


@pytest.mark.parametrize(
    "path", sorted((SHIPPED / "profiles").glob("*.yaml")), ids=lambda p: p.stem
)
def test_shipped_profiles_load(path):
    layers = LAYERS.get(path.stem, [])
    found = load_profile(*(path.with_stem(name) for name in layers), path)
    assert found.name == (layers[0] if layers else path.stem)


def test_the_paper_s_settings_are_shipped():
    recipe = load_recipe(SHIPPED / "recipes" / "llama3_8b_en_es_ru_de_fr.yaml")
    assert recipe.languages.all == ("en", "es", "ru", "de", "fr")
    assert (recipe.prompts.per_iteration, recipe.gate.max_iterations) == (1000, 2)
    assert (recipe.generation.temperature, recipe.generation.repetition_penalty) == (0, 1.1)
    assert (recipe.training.beta, recipe.training.nll_weight) == (0.1, 1)
    assert recipe.pairing.active == Filters.paper()


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("name: mine", "name: mine\nsead: 3", 2, ["unknown key 'sead'", "'seed'", "generation"]),
        ("name: mine", "name: mine\nSeed: 3", 2, ["unknown key 'Seed'", "allowed here: name"]),
        ("name: mine", "name: mine\nmax-tokens: 3", 2, ["unknown key 'max-tokens'"]),
        ("  dominant: en", "  dominant: en\n  Other: es", 4, ["'languages.Other'", "dominant"]),
        (
            "  dominant: en",
            "  dominant: eng",
            3,
            ["languages.dominant", "'eng'", "ISO 639-1", "es"],
        ),
        ("[es, de]", "[es, xx]", 4, ["languages.others.1", "'xx'"]),
        ("[es, de]", "[es, es]", 2, ["must differ"]),
        ("[es, de]", "[]", 4, ["languages.others: input should have at least 1 item, not []"]),
        ("[es, de]", "es", 4, ["languages.others: input should be a list, not 'es'"]),
        ("[es, de]", "[no]", 4, ["languages.others.0: input should be text, not false"]),
        ("  others: [es, de]\n", "", 2, ["'languages.others' is missing"]),
        ("  others:", "  other:", 4, ["unknown key 'languages.other'", "'others'"]),
        ("name: mine", "nmae: mine", 1, ["unknown key 'nmae'", "'name'"]),
        ("name: mine", "name: Mine!", 1, ["name: input should be lower-case letters", "'Mine!'"]),
        ("name: mine\n", "", 1, ["'name' is missing"]),
        ("name: mine", "name: mine\nseed: -1", 2, ["seed", "greater than or equal to 0", "-1"]),
        (
            "name: mine",
            "name: mine\nseed: many",
            2,
            ["seed: input should be a whole number, not 'many'"],
        ),
        ("name: mine", "name: mine\n7: x", 2, ["7: key should be text, not 7"]),
        ("name: mine", "name: mine\nname: yours", 2, ["'name' appears twice"]),
        ("  dominant: en", "  dominant: en\n  dominant: de", 4, ["'dominant' appears twice"]),
        ("[es, de]", "[es, ja]", 1, ["tiny world has no ja"]),
        ("tiny_world_{language}", "tiny_world_es", 7, ["evaluation", "{language}"]),
        ("tiny_world_{language}", "{task}_{language}", 8, ["tasks.0", "no other braces"]),
    ],
)
def test_a_wrong_recipe_names_file_line_key_and_what_is_allowed(tmp_path, old, new, line, words):
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    error = refused(path)
    assert (error.file, error.line) == (str(path), line)
    for word in words:
        assert word in error.message
    assert str(error).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("generation:\n  engine: vlm", ["generation.engine", "'auto'", "'vllm'", "'vlm'"]),
        ("generation:\n  temperature: .inf", ["generation.temperature", "finite"]),
        ("generation:\n  temperature: 2.5", ["generation.temperature: ", "equal to 2", "not 2.5"]),
        ("translation:\n  temperature: 3", ["translation.temperature: ", "equal to 2", "not 3"]),
        ("translation: {temperature: 0.001}", ["translation.temperature: ", "at least 0.01"]),
        ("training:\n  beta: .nan", ["training.beta"]),
        ("training:\n  lora:\n    dropout: 1.0", ["training.lora.dropout"]),
        ("training:\n  dpo_weight: 0\n  nll_weight: 0", ["nothing would be learnt"]),
        ("training:", ["training: input should be keys and values, not null"]),
        ("gate: {tolerances: [1]}", ["gate.tolerances: input should be keys and values"]),
        ("gate: {min_gain: x}", ["gate.min_gain: input should be a number, not 'x'"]),
        ("generation: {stop: ['']}", ["stop.0: input should have at least 1 character, not"]),
        ("pairing: {filters: {identical: some}}", ["identical: input should be true or false"]),
        ("pairing:\n  filters: some", ["pairing.filters", "'all'", "'paper'", "'some'"]),
        ("pairing:\n  filters: {identicl: true}", ["identicl", "'identical'", "off_target"]),
        ("gate:\n  max_iterations: 6", ["gate.max_iterations", "5"]),
        ("gate:\n  tolerance: 2", ["gate.tolerance: ", "less than or equal to 1", "not 2"]),
        ("gate:\n  tolerances: {es: 5}", ["gate.tolerances.es: ", "less than or equal to 1"]),
        ("gate:\n  min_gain: 5", ["gate.min_gain: ", "less than 1", "not 5"]),
        ("gate:\n  min_gain: 1", ["gate.min_gain: ", "less than 1"]),
        (
            "prompts:\n  translation_tasks: '{language}.jsonl'",
            ["prompts.translation_tasks: ", "holds {language}", "write the full address"],
        ),
        ("registry:\n  model_name: a/b", ["registry.model_name", "'a/b'"]),
    ],
)
def test_a_wrong_section_is_explained(tmp_path, section, words):
    error = refused(write(tmp_path, GOOD + section + "\n"))
    assert error.line >= 9
    for word in words:
        assert word in error.message


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "expected keys and values"),
        ("# nothing\n", 1, "expected keys and values"),
        ("- a\n- b\n", 1, "expected keys and values"),
        ("name: mine\nlanguages: [es\n", 3, "not valid YAML"),
        ("name: mine\n\tlanguages: x\n", 2, "not valid YAML"),
        ("name: mine\n---\nname: yours\n", 2, "not valid YAML: it holds several documents"),
        ("name: mine\nseed: \x00\n", 2, "not valid YAML"),
        ("name: 2024-99-99\n", 0, "not valid YAML"),
        ("name: !!python/object/apply:os.getcwd []\n", 1, "not valid YAML"),
        (b"name: mine\nseed: \xff\n", 2, "not UTF-8"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text, line, words):
    error = refused(write(tmp_path, text))
    assert words in error.message
    assert error.line == line


def test_tolerances_are_for_languages_of_the_recipe(tmp_path):
    given = "gate:\n  tolerance: 0.03\n  tolerances: {es: 0.05}\n"
    gate = load_recipe(write(tmp_path, GOOD + given)).gate
    assert (gate.tolerance_of("es"), gate.tolerance_of("en")) == (0.05, 0.03)
    error = refused(write(tmp_path, GOOD + given.replace("{es:", "{fr:")))
    assert "gate.tolerances: fr is not in languages" in error.message


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "no such file" in refused(tmp_path / "none.yaml").message
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        load_recipe(tmp_path)


def test_an_empty_file_is_told_what_is_needed(tmp_path):
    assert "name, languages, model, evaluation" in refused(write(tmp_path, "")).remedy


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_recipe(path).name == "mine"


def test_overrides_replace_and_add(tmp_path):
    recipe = load_recipe(
        write(tmp_path, GOOD), {"seed": 7, "training.nll_weight": 0, "languages.others": ["fr"]}
    )
    assert (recipe.seed, recipe.training.nll_weight, recipe.languages.others) == (7, 0, ("fr",))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"trainning.beta": 1}, "unknown key 'trainning'"),
        ({"training.beta": "big"}, "training.beta"),
        ({"name.first": 1}, "name has no keys of its own"),
        ({"evaluation.tasks.0": "x"}, "evaluation.tasks is a list, and --set reaches only into"),
        ({"generation.samples": 4}, "at temperature 0 all of them would be the same"),
        ({"languages.others": ["ja"]}, "the tiny world has no ja"),
        ({"judge.max_tokens": 3}, "key 'judge.endpoint' is missing"),
        ({"languages.others": ["es", "de", "fr", "xx"]}, "languages.others.3"),
        ({"model.template_arguments": {"tools": ["x"]}}, "model.template_arguments.tools: "),
        ({"evaluation.revisions": {"A/B-C": "main"}}, "evaluation.revisions.A/B-C: "),
        ({"evaluation.languages": {"x_{language}": ["xx"]}}, "evaluation.languages.x_{language}.0"),
    ],
)
def test_a_wrong_override_blames_the_option_not_the_file(tmp_path, overrides, words):
    error = refused(write(tmp_path, GOOD), overrides)
    assert words in error.message
    assert error.file == ""
    assert "--set" in error.remedy


def test_an_override_is_not_blamed_for_what_is_wrong_in_the_file_beside_it(tmp_path):
    wrong = GOOD + '  languages: {"foo_{language}": [en]}\n'
    error = refused(write(tmp_path, wrong), {"evaluation.limit": 3})
    assert "'foo_{language}', which is not among tasks" in error.message
    assert (error.line, "--set" in error.remedy) == (7, False)
    error = refused(write(tmp_path, GOOD.replace("[es, de]", "[es, ja]")), {"seed": 3})
    assert (error.line, "--set" in error.remedy) == (1, False)


def test_an_override_changes_one_section_where_an_alias_shares_it(tmp_path):
    shared = "generation: &sampling {temperature: 0.7}\ntranslation: *sampling\n"
    path = write(tmp_path, GOOD + shared)
    recipe = load_recipe(path, {"generation.temperature": 0.1, "generation.top_k": 5})
    assert (recipe.generation.temperature, recipe.generation.top_k) == (0.1, 5)
    assert (recipe.translation.temperature, recipe.translation.top_k) == (0.7, 0)


def test_an_override_fills_a_section_that_is_empty_in_the_file(tmp_path):
    path = write(tmp_path, GOOD + "training:\n")
    assert load_recipe(path, {"training.nll_weight": 0}).training.nll_weight == 0


def test_an_override_is_not_blamed_for_a_key_of_the_file_that_starts_alike(tmp_path):
    error = refused(write(tmp_path, GOOD + "seeds: 3\n"), {"seed": 1})
    assert (error.line, "'seeds'" in error.message) == (9, True)


@pytest.mark.parametrize(
    ("old", "new", "line", "read"),
    [
        ("[es, de]", "[es, no]", 4, "yes, no, on and off as true or false"),
        ("source: m0", "source: 2024", 6, "it as a number"),
        ("source: m0", "source: 010", 6, "it as a number"),
        ("source: m0", "source: 2024-01-02", 6, "it as a date"),
        ("name: mine", "name: mine\non: x", 2, "yes, no, on and off as true or false"),
        ("source: m0", "source: m0\n  thinking: on", 7, "yes, no, on and off as true or false"),
    ],
)
def test_text_that_yaml_reads_as_something_else_needs_quotes(tmp_path, old, new, line, read):
    error = refused(write(tmp_path, OWN_MODEL.replace(old, new)))
    assert error.line == line
    assert "quotes" in error.remedy and f"YAML reads {read}." in error.remedy


def test_a_language_code_that_yaml_reads_as_false_needs_quotes_as_a_key_too(tmp_path):
    files = "prompts:\n  files:\n    en: en.jsonl\n    no: no.jsonl\n"
    error = refused(write(tmp_path, OWN_MODEL + files))
    assert error.message.endswith(": prompts.files.no: key should be text, not false")
    assert (error.line, "Write it in quotes" in error.remedy) == (12, True)


def test_an_override_that_needs_quotes_says_so(tmp_path):
    error = refused(write(tmp_path, GOOD), {"languages.others": ["es", False]})
    assert error.remedy.startswith("Check --set and --seed. Write it in quotes: ")


def test_relative_paths_start_at_the_recipe_s_folder(tmp_path):
    files = "prompts:\n  files: {en: p/en.jsonl, es: /abs/es.jsonl, de: 's3://b/de.jsonl'}\n"
    recipe = load_recipe(write(tmp_path, OWN_MODEL + files))
    assert recipe.model.source == str(tmp_path / "m0")
    assert recipe.prompts.files == {
        "en": (str(tmp_path / "p/en.jsonl"),),
        "es": ("/abs/es.jsonl",),
        "de": ("s3://b/de.jsonl",),
    }


def test_a_language_s_prompt_files_are_named_one_by_one(tmp_path):
    hub = f"hf://datasets/org/name@{'a' * 40}/{{language}}.jsonl"
    for file in (hub, "{language}.jsonl"):
        files = f"prompts:\n  files:\n    en: en.jsonl\n    es: ['{file}']\n    de: de.jsonl\n"
        error = refused(write(tmp_path, OWN_MODEL + files))
        assert f"prompts.files.es.0: {file!r} holds {{language}}" in error.message
        assert error.line == 12
    files = "prompts:\n  files: {en: en.jsonl, es: [], de: de.jsonl}\n"
    assert "prompts.files.es" in refused(write(tmp_path, OWN_MODEL + files)).message


def test_a_task_s_own_languages_are_one_at_least(tmp_path):
    text = GOOD + '  languages: {"tiny_world_{language}": []}\n'
    error = refused(write(tmp_path, text))
    assert "evaluation.languages.tiny_world_{language}: " in error.message
    assert ("at least 1" in error.message, error.line) == (True, 9)


def test_every_language_needs_a_prompt_file(tmp_path):
    files = "prompts:\n  files: {en: en.jsonl}\n"
    assert "no file for es, de" in refused(write(tmp_path, OWN_MODEL + files)).message


def test_an_unknown_language_among_the_prompt_files_is_named(tmp_path):
    files = "prompts:\n  files:\n    en: en.jsonl\n    klingon: tlh.jsonl\n"
    error = refused(write(tmp_path, OWN_MODEL + files))
    assert "klingon" in error.message
    assert error.line == 12


def test_a_recipe_survives_its_own_json(tmp_path):
    recipe = load_recipe(write(tmp_path, GOOD + "pairing:\n  filters: {off_target: false}\n"))
    assert type(recipe).model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.pairing.active == Filters(off_target=False)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("generation: {samples: 4}", "at temperature 0 all of them would be the same"),
        ("generation: {stop: ['']}", "generation.stop"),
    ],
)
def test_generation_settings_that_contradict_are_refused(tmp_path, section, words):
    assert words in str(refused(write(tmp_path, GOOD + section + "\n")))


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("name: x\nrunner: airflow\n", 2, ["runner", "'local'", "'kubeflow'"]),
        ("name: x\nsteps:\n  train:\n    memory: lots\n", 4, ["steps.train.memory", "'lots'"]),
        ("name: x\nsteps:\n  train:\n    gpus: 1\n", 4, ["'steps.train.gpus'", "accelerators"]),
        ("name: x\ntraining:\n  nccl: {NO: x}\n", 3, ["training.nccl.NO: key should be text"]),
        ("name: x\ntraining:\n  nccl: {a: x}\n", 3, ["training.nccl.a: key should be an env"]),
        ("name: x\nimages:\n  train: 'a b'\n", 3, ["images.train: input should be an image"]),
        (
            "name: x\nsteps:\n  train:\n    tolerations:\n      - {efect: x}\n",
            5,
            ["efect", "effect"],
        ),
        ("name: x\nengine: {endpoint: {url: models.example.org}}\n", 2, ["engine.endpoint.url"]),
        (
            "name: x\nengine:\n  endpoint: {url: 'https://me:key@models/v1'}\n",
            3,
            ["engine.endpoint.url"],
        ),
        (
            "name: x\njudge: {url: judge/v1}\n",
            2,
            ["judge.url: input should be an http:// or https://"],
        ),
        (
            "name: x\nkubeflow:\n  oidc: {token_url: 'http://sso/token', client_id: l}\n",
            3,
            ["kubeflow.oidc.token_url", "secret is sent there: write https://"],
        ),
        ("store: here\n", 1, ["'name' is missing"]),
    ],
)
def test_a_wrong_profile_names_file_line_key_and_what_is_allowed(tmp_path, text, line, words):
    path = write(tmp_path, text)
    with pytest.raises(BadInput) as caught:
        load_profile(path)
    assert (caught.value.file, caught.value.line) == (str(path), line)
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize(
    ("line", "thinking", "date"),
    [
        ("  thinking: off", "off", ""),
        ('  thinking: "off"', "off", ""),
        ("  thinking: remove", "remove", ""),
        ("  date: 2026-02-03", "auto", "2026-02-03"),
    ],
)
def test_words_that_yaml_reads_as_something_else_arrive(tmp_path, line, thinking, date):
    text = GOOD.replace("  source: toy", f"  source: toy\n{line}")
    model = load_recipe(write(tmp_path, text)).model
    assert (model.thinking, model.date) == (thinking, date)


@pytest.mark.parametrize(
    "line",
    ["  thinking: on", "  date: tomorrow", "  template_arguments: {messages: x}"],
)
def test_what_no_chat_can_be_written_with_is_refused(tmp_path, line):
    refused(write(tmp_path, GOOD.replace("  source: toy", f"  source: toy\n{line}")))


def patterns_in(schema: Any) -> Iterator[str]:
    """Yield the regular expressions of values and keys in a JSON schema, at any depth."""
    if isinstance(schema, list):
        for each in schema:
            yield from patterns_in(each)
    elif isinstance(schema, dict):
        yield from schema.get("patternProperties", {})
        for name, each in schema.items():
            if name == "pattern" and isinstance(each, str):
                yield each
            else:
                yield from patterns_in(each)


def test_every_pattern_has_words_for_its_error():
    found = {each for kind in (Recipe, Profile) for each in patterns_in(kind.model_json_schema())}
    assert len(found) > 10
    sha256 = "^[0-9a-f]{64}$"  # which source.py checks and explains itself
    assert [each for each in found - {sha256} if not words_of(each)] == []
    assert words_of("^x$") == ""


def test_a_later_profile_that_is_no_mapping_is_told_that_it_may_be_empty(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("name: x\n")
    second.write_text("- a\n")
    with pytest.raises(BadInput, match="expected keys and values") as caught:
        load_profile(first, second)
    assert (caught.value.file, caught.value.line) == (str(second), 1)
    assert caught.value.remedy == "Write keys with values, or leave the file empty."
