"""A store's move between two addresses as users write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.local import LocalStore
from lidr.pipelines.maintenance.relocate_move import StoreMove
from lidr.pipelines.maintenance.relocate_pointers import stale_pointers


@pytest.mark.parametrize("given", ["old", "old/", "./old", "file://{here}/old", "{here}/old//"])
def test_move_has_the_uris_of_its_stores(tmp_path: Path, monkeypatch, given: str):
    monkeypatch.chdir(tmp_path)
    move = StoreMove.between(given.format(here=tmp_path), "s3://bucket/new/")
    assert move.old == LocalStore(tmp_path / "old").uri
    assert move.new == "s3://bucket/new"
    assert move.of(f"{tmp_path}/old/stages/a") == "s3://bucket/new/stages/a"


@pytest.mark.parametrize(
    "given", ["", "/", "//", "file://", "file:///", "s3://", "s3:///", "s3:///a"]
)
def test_move_between_addresses_without_a_store_is_refused(given: str):
    for pair in ((given, "new"), ("old", given)):
        with pytest.raises(BadInput, match="names no store"):
            StoreMove.between(*pair)


def test_a_damaged_pointer_is_left_as_it_is(tmp_path: Path):
    store = LocalStore(tmp_path)
    for run, data in {"a": b"{", "b": b"[" * 100_000, "c": b'{"report": "/old/x"}'}.items():
        store.write(f"runs/{run}/result.json", data)
    [(key, content)] = stale_pointers(store, StoreMove("/old", "/new"))
    assert (key, json.loads(content)) == ("runs/c/result.json", {"report": "/new/x"})
