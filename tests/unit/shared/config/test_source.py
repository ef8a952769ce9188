"""Sources: one line of text for an address and its pins, and what is refused."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from lidr.components.shared.config.model import Model
from lidr.components.shared.config.pairing import Icr
from lidr.components.shared.config.source import (
    HubData,
    Source,
    SourceText,
    SourceTexts,
    hub_data,
    parse_source,
)

PIN, OTHER = "a" * 64, "b" * 64
REVISION = "c" * 40
ONE, SEVERAL = TypeAdapter(SourceText), TypeAdapter(SourceTexts)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("prompts/en.jsonl", "prompts/en.jsonl"),
        ("odd#name.jsonl", "odd#name.jsonl"),
        ({"source": "https://h/a", "sha256": PIN}, f"https://h/a#sha256={PIN}"),
        (
            {"source": "https://h/{language}", "sha256": {"de": PIN, "en": OTHER}},
            f"https://h/{{language}}#sha256.de={PIN}&sha256.en={OTHER}",
        ),
        (
            {"source": "https://h/a", "sha256": PIN, "licence": "CC BY & more"},
            f"https://h/a#sha256={PIN}&licence=CC%20BY%20%26%20more",
        ),
        ({"source": "hf://org/name", "revision": REVISION}, f"hf://org/name@{REVISION}"),
        ({"source": "odd#name.jsonl", "sha256": PIN}, f"odd#name.jsonl#sha256={PIN}"),
        ({"source": "a.jsonl", "sha256": PIN, "licence": None}, f"a.jsonl#sha256={PIN}"),
        (
            {"source": "hf://datasets/org/name/data/a.jsonl", "revision": REVISION},
            f"hf://datasets/org/name@{REVISION}/data/a.jsonl",
        ),
    ],
)
def test_a_source_becomes_one_line_which_says_all_of_it(given, text):
    assert ONE.validate_python(given) == text
    assert ONE.validate_python(text) == text
    assert parse_source(text).text() == text


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ("https://h/a", "needs its sha256"),
        ({"source": "https://h/a", "sha256": "abc"}, "is not 64"),
        ({"source": "https://h/a", "sha256": {"xx": PIN}}, "not a language"),
        ({"source": "p.de.jsonl", "sha256": {"de": PIN}}, "is one file.*give one digest"),
        (f"p.de.jsonl#sha256.de={PIN}", "is one file"),
        ({"source": "https:///a", "sha256": PIN}, "no host"),
        ({"source": "a", "sha265": PIN}, "no 'sha265'.*sha256"),
        ({"source": "a", "revision": "abc"}, "revision belongs"),
        ({"source": "hf://org/name@abc", "revision": "abc"}, "that has no @revision yet"),
        (f"{{language}}.jsonl#sha256.jp={PIN}", "'jp', which is not a language's ISO 639-1 code"),
        (f"a.jsonl#sha256sum={PIN}", "no 'sha256sum' .did you mean 'sha256'"),
        (f"a.jsonl#sha256={PIN}&license=MIT", "no 'license' .did you mean 'licence'"),
        ("a.jsonl#license=MIT", "no 'license'"),
        ("a.jsonl#sha256=&licence=MIT", "sha256 '' is not 64"),
        (f"{{language}}.jsonl#sha256.={PIN}", "no 'sha256.'"),
        ({"sha256": PIN}, "under `source`"),
        ("hf://datasets/org/name/a.jsonl", "is not of the form hf://datasets/org/name@<commit>"),
        ({"source": "a", "sha256": ""}, "sha256 is empty"),
        ({"source": "hf://datasets/squad", "revision": "abc"}, "write hf://datasets/org/name"),
        (
            {"source": "hf://datasets/o/n/f", "revision": "refs/pr/1"},
            "and a commit as its revision",
        ),
        ("hf://datasets/o/n@main/f", "'main', which is not the 40 hex.*/datasets/o/n/commits/main"),
        (
            {"source": "hf://o/n", "revision": "v1"},
            "'v1', which is not .*huggingface.co/o/n/commits/v1",
        ),
    ],
)
def test_a_source_that_says_too_little_or_too_much_is_refused(given, wrong):
    with pytest.raises(ValidationError, match=wrong):
        ONE.validate_python(given)


def test_one_source_is_a_list_of_one():
    assert SEVERAL.validate_python("a") == ("a",)
    assert SEVERAL.validate_python(["a", {"source": "b"}]) == ("a", "b")
    with pytest.raises(ValidationError, match="at least 1"):
        SEVERAL.validate_python([])


def test_a_path_may_hold_what_looks_like_a_fragment():
    for path in ("a#b=c.jsonl", "a#b", "a#"):
        assert ONE.validate_python(path) == path
        assert parse_source(path) == Source(path)


def test_a_language_s_file_has_that_language_s_pin():
    source = Source("https://h/{language}", {"de": PIN, "en": OTHER}, "MIT")
    assert source.at("en") == Source("https://h/en", {"": OTHER}, "MIT")
    assert source.at("fr").sha256 == {}
    alike = Source("https://h/{language}", {"": PIN, "en": OTHER})
    assert [alike.at(code).sha256[""] for code in ("en", "fr")] == [OTHER, PIN]


@pytest.mark.parametrize(
    ("address", "data"),
    [
        ("hf://datasets/org/name@abc/d/a.jsonl", HubData("org/name", "abc", "d/a.jsonl")),
        ("hf://datasets/org/name@abc", HubData("org/name", "abc", "")),
        ("hf://org/name@abc", None),
        ("s3://bucket/datasets/org/name@abc", None),
    ],
)
def test_a_data_set_of_the_hub_is_taken_apart(address, data):
    assert hub_data(address) == data


@pytest.mark.parametrize(
    ("section", "key"), [(Model, "source"), (Model, "adapter"), (Icr, "policy"), (Icr, "reference")]
)
def test_a_model_of_the_hub_is_at_a_commit_if_it_names_a_revision(section, key):
    given = {"source": "toy"} if section is Model else {}
    for source in (f"hf://o/n@{REVISION}", "hf://o/n", "models:/n@champion", "folder@main", ""):
        assert getattr(section(**{**given, key: source}), key) == source
    with pytest.raises(ValidationError, match="'main', which is not the 40 hex digits"):
        section(**{**given, key: "hf://o/n@main"})
