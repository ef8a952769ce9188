"""Recipes on the store, by their digest."""

from __future__ import annotations

import json

import pytest

from lidr.components.shared.core.errors import BadInput, DamagedObject
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.recipes import put_recipe, reference_of, resolve_recipe
from tests.fakes import make_recipe


def test_recipe_comes_back_as_it_was_put(tmp_path):
    store, recipe = LocalStore(tmp_path), make_recipe()
    assert put_recipe(store, recipe.model_dump_json()) == reference_of(recipe)
    told = resolve_recipe(store.uri, reference_of(recipe))
    assert json.loads(told) == recipe.model_dump(mode="json")
    assert put_recipe(store, told) == reference_of(recipe)  # again, of what it was read as


def test_recipe_that_is_no_reference_is_left_as_it_is(tmp_path):
    assert resolve_recipe(str(tmp_path), '{"name": "x"}') == '{"name": "x"}'


def test_recipe_that_is_not_there_is_told_with_what_puts_it_there(tmp_path):
    with pytest.raises(BadInput, match=r"recipes/0+\.json: .* not on the store.*`lidr submit`"):
        resolve_recipe(str(tmp_path), f"sha256:{'0' * 64}")


@pytest.mark.parametrize("data", [b"{}", b"", b"\xff"])
def test_recipe_that_was_changed_is_refused(tmp_path, data: bytes):
    store, reference = LocalStore(tmp_path), reference_of(make_recipe())
    store.write(f"recipes/{reference.removeprefix('sha256:')}.json", data)
    with pytest.raises(DamagedObject, match="does not have the digest in its name"):
        resolve_recipe(store.uri, reference)
