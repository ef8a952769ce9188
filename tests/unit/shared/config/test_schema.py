from __future__ import annotations

import json

import pytest

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.pipelines.cli.schema import schemas


@pytest.mark.parametrize("path", schemas(), ids=lambda path: path.name)
def test_the_tracked_schema_is_that_of_the_code(path):
    assert path.read_text("utf-8") == schemas()[path], "run `make schema`"


def description(field: dict, schema: dict) -> str:
    """A field's own description, or its model's where the two are the same words."""
    own = field.get("description", "")
    return own or schema["$defs"][field["$ref"].rpartition("/")[2]]["description"]


@pytest.mark.parametrize("kind", [Recipe, Profile], ids=lambda kind: kind.__name__)
def test_every_field_is_described(kind):
    schema = kind.model_json_schema()
    models = [schema, *(m for m in schema["$defs"].values() if "properties" in m)]
    bare = [
        f"{model['title']}.{name}"
        for model in models
        for name, field in model["properties"].items()
        if not description(field, schema)
    ]
    assert models[0]["properties"]
    assert bare == []


def test_unknown_keys_are_refused_by_the_schema_too():
    schema = json.loads(json.dumps(Recipe.model_json_schema()))
    models = [schema, *(m for m in schema["$defs"].values() if "properties" in m)]
    assert all(model["additionalProperties"] is False for model in models)
