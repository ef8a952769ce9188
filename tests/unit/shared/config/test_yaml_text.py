"""YAML that is none: every text gives a value or one clear error."""

from __future__ import annotations

import pytest

from lidr.components.shared.config.recipe import load_recipe
from lidr.components.shared.config.yaml_text import NotYaml, compose, parse, value_of
from lidr.components.shared.core.errors import BadInput


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('a: 1\nb: !!int ""', 0, "a value does not fit its tag"),
        ("a: !!bool perhaps", 0, "a value does not fit its tag"),
        ("a: !!timestamp soon", 0, "a value does not fit its tag"),
        ("a: !!int many", 0, "invalid literal"),
        ("a: 2024-99-99", 0, "month must be in 1..12"),
        ("x: 1\na: &a [*a]", 2, "a value that holds itself"),
        ("a: &a {b: *a}", 1, "a value that holds itself"),
        ("a: " + "[" * 100_000, 1, "nesting depth"),
        ('a: 1\nb: "\\ud800"', 2, "invalid Unicode"),
        ("a: 1\nb: \ud800", 2, "not Unicode text"),
        ("é: 1\nb: \x00", 2, "control characters"),
        ("a: 1\n---\nb: 2", 2, "several documents"),
        ("a: *b", 1, "undefined alias"),
        ("a: !!python/object/apply:os.getcwd []", 1, "could not determine a constructor"),
    ],
)
def test_what_is_no_yaml_says_why(text, line, problem):
    with pytest.raises(NotYaml) as caught:
        parse(text)
    assert (caught.value.line, problem in caught.value.problem) == (line, True)
    assert caught.value.remedy


def test_marks_name_the_file_and_aliases_are_written_out():
    node = compose("a: &a {b: [1]}\nc: *a\n<<: *a", "file.yaml")
    assert node.start_mark.name == "file.yaml"
    assert value_of(node) == {"a": {"b": [1]}, "c": {"b": [1]}, "b": [1]}
    assert compose("# nothing") is None
    assert parse("") is None


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("seed: true", "seed: input should be a number, not true or false"),
        ("gate:\n  tolerances: {es: true}", "gate.tolerances: input should be a number"),
        ("training:\n  lora:\n    rank: yes", "training.lora.rank: input should be a number"),
        ("training: {beta: [" + "1, " * 500 + "1]}", "training.beta: input should be a number"),
    ],
)
def test_true_is_no_number_and_a_wrong_value_is_not_shown_at_length(tmp_path, section, words):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "name: mine\nlanguages: {dominant: en, others: [es, de]}\nmodel: {source: toy}\n"
        f"evaluation: {{tasks: ['tiny_world_{{language}}']}}\n{section}\n"
    )
    with pytest.raises(BadInput) as caught:
        load_recipe(path)
    assert words in caught.value.message
    assert len(str(caught.value)) < 500
