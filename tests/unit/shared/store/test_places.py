"""No name from a recipe, command line, listing, marker or task leads out of its folder."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from lidr.components.evaluate.items.local_data import _replace
from lidr.components.shared.config.recipe import Recipe, Registry
from lidr.components.shared.core.errors import BadInput, LidrError, StoreError
from lidr.components.shared.core.names import key_fault
from lidr.components.shared.inputs.files import read_file
from lidr.components.shared.models import outside as outside_models
from lidr.components.shared.registry.registration import default_audit_log
from lidr.components.shared.store.base import Entry
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.marker import MARKER, sealed
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import read_state, recipe_key, state_key
from lidr.components.shared.store.stage import locate_stage, open_stage
from lidr.pipelines.cli.inputs import run_name
from lidr.pipelines.local import LocalJob
from tests.fakes import finished_stage, make_recipe
from tests.tricks import ESCAPES, HARMLESS

RECIPE = make_recipe()


def registry(name: str) -> object:
    return Registry(model_name=name)


def recipe(name: str) -> object:
    return Recipe.model_validate(RECIPE.model_dump() | {"name": name})


STORE_DOORS = {
    "read": lambda store, key: store.read(key),
    "write": lambda store, key: store.write(key, b"x"),
    "create": lambda store, key: store.create(key, b"x"),
    "exists": lambda store, key: store.exists(key),
    "list": lambda store, key: store.list(key),
    "delete": lambda store, key: store.delete(key),
    "upload": lambda store, key: store.upload(Path(__file__), key),
    "download": lambda store, key: store.download(key, store.root.parent / "copy"),
    "sha256": lambda store, key: store.sha256(key),
    "abort_uploads": lambda store, key: store.abort_uploads(key, 0.0),
}
"""Every way into a store that takes a key."""

NAME_DOORS = {
    "run of the command line": lambda name: run_name(name, RECIPE),
    "run of a job": lambda name: LocalJob(recipe="", store="s", run=name),
    "run of a state": lambda name: state_key(name, 1),
    "run of a recipe": recipe_key,
    "recipe": recipe,
    "registered model": registry,
    "stage": lambda name: locate_stage(f"s3://b/stages/train/{name}"),
    "step": lambda name: locate_stage(f"s3://b/stages/{name}/abc"),
}
"""Every place where somebody else gives a name that becomes part of a path."""


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    (tmp_path / "x").write_text("not yours")
    (tmp_path / "store" / "a").mkdir(parents=True)
    return LocalStore(tmp_path / "store")


def outside(store: LocalStore) -> dict[str, str]:
    files = (path for path in store.root.parent.rglob("*") if path.is_file())
    return {
        str(path): path.read_text("utf-8", "replace")
        for path in files
        if not path.is_relative_to(store.root)
    }


@pytest.mark.parametrize("door", STORE_DOORS)
@pytest.mark.parametrize("trick", ESCAPES)
def test_no_key_leaves_the_store(store: LocalStore, door: str, trick: str):
    before = outside(store)
    with pytest.raises(StoreError, match=r"(?s)^key .* Use plain relative names\.$"):
        STORE_DOORS[door](store, ESCAPES[trick])
    assert outside(store) == before
    assert list(store.root.rglob("*")) == [store.root / "a"]


@pytest.mark.parametrize("door", NAME_DOORS)
@pytest.mark.parametrize("trick", ESCAPES)
def test_no_name_becomes_a_path(door: str, trick: str):
    with pytest.raises((BadInput, ValidationError)):
        NAME_DOORS[door](ESCAPES[trick])


@pytest.mark.parametrize("door", ["run of the command line", "run of a job", "run of a state"])
def test_a_run_without_a_name_is_told_so(door: str):
    with pytest.raises(BadInput, match="'' cannot name a run: it is empty"):
        NAME_DOORS[door]("")


@pytest.mark.parametrize("key", HARMLESS)
def test_names_in_any_language_stay_usable(store: LocalStore, key: str):
    assert key_fault(key) == ""
    store.write(key, b"x")
    assert store.read(key) == b"x"


@pytest.mark.parametrize("name", [*ESCAPES.values(), ".", ".."])
def test_a_registered_model_s_folder_is_below_the_registry(name: str):
    """MLflow takes names that no recipe may have; what is quoted is one part of a path."""
    try:
        audit_log = default_audit_log("/store", name)
    except (BadInput, UnicodeEncodeError):
        return
    assert re.fullmatch(r"/store/registry/[A-Za-z0-9._~%-]+", audit_log)


LINKS = {
    "to a folder": ("link", "../other", "link/x"),
    "to a file": ("link", "../x", "link"),
    "to nothing yet": ("link", "../new", "link"),
    "to /etc": ("link", "/etc", "link/passwd"),
    "over another link": ("link", "other", "link/x"),
}


@pytest.mark.parametrize("door", [door for door in STORE_DOORS if door != "list"])
@pytest.mark.parametrize("trick", LINKS)
def test_no_link_leads_out_of_the_store(store: LocalStore, door: str, trick: str):
    name, target, key = LINKS[trick]
    (store.root.parent / "other").mkdir()
    (store.root.parent / "other" / "x").write_text("not yours")
    (store.root / "other").symlink_to("../other")
    (store.root / name).symlink_to(target)
    before = outside(store)
    with pytest.raises(StoreError, match="leaves the store: a link leads to"):
        STORE_DOORS[door](store, key)
    assert outside(store) == before


def test_a_link_to_itself_is_no_crash(store: LocalStore):
    (store.root / "loop").symlink_to("loop")
    assert not store.exists("loop/x")


def test_the_store_itself_may_be_a_link(tmp_path: Path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to("disk")
    store = open_store(str(tmp_path / "store"))
    store.write("a/b", b"x")
    assert (tmp_path / "disk" / "a" / "b").read_bytes() == b"x"
    (tmp_path / "disk" / "c").symlink_to("a")
    assert store.read("c/b") == b"x"


@pytest.mark.parametrize("trick", ESCAPES)
def test_a_forged_marker_writes_nothing_elsewhere(tmp_path: Path, trick: str):
    stage = finished_stage(str(tmp_path / "store"), "train", {"model/config.json": b"{}"})
    marker = json.loads(stage.store.read(stage.key(MARKER)))
    del marker["seal"]  # whoever may write here makes a new one
    marker["files"][ESCAPES[trick]] = {"size": 1, "sha256": "0" * 64}
    try:
        forgery = sealed(marker)
    except UnicodeEncodeError:  # a lone surrogate is in no file
        return
    stage.store.write(stage.key(MARKER), forgery)
    forged = open_stage(stage.uri)
    with pytest.raises(LidrError):
        forged.download(tmp_path / "here", forged.files())
    found = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert found <= {"store", "here"}
    assert not list((tmp_path / "here").rglob("x"))


class Listing:
    """A bucket of somebody else's, whose keys are what they like."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys

    def list(self, prefix: str) -> list[Entry]:
        return [Entry(key, 1) for key in self.keys]

    def download(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_bucket_s_listing_writes_nothing_elsewhere(tmp_path: Path, monkeypatch):
    keys = ["config.json", "../evil.json", "sub/x.json", "/tmp/lidr-evil.json", "model.py"]
    monkeypatch.setenv("LIDR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(outside_models, "open_store", lambda uri: Listing(keys))
    folder = outside_models.fetch_model("s3://theirs/model")
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert not list(tmp_path.rglob("evil.json"))
    assert not Path("/tmp/lidr-evil.json").exists()


def test_a_task_s_name_is_no_path(tmp_path: Path):
    (tmp_path / "own").mkdir()

    class Task:
        name = "../escaped"
        yaml_path = "task.yaml"

    _replace(Task, [], tmp_path / "own")
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe.jsonl")
    return str(folder / "pipe.jsonl")


def below_a_file(folder: Path) -> str:
    (folder / "file").touch()
    return str(folder / "file" / "x.jsonl")


FILES = {
    "endless": (lambda folder: "/dev/zero", "not a file"),
    "waits for ever": (pipe, "not a file"),
    "URI waits for ever": (lambda folder: f"file://{pipe(folder)}", "not a file"),
    "folder": (str, "Is a directory"),
    "below a file": (below_a_file, "Not a directory"),
    "NUL": (lambda folder: "a\0b", "is not a valid path or address"),
    "no IPv6": (lambda folder: f"https://[::1/x#sha256={'0' * 64}", "not a valid path or address"),
    "too long": (lambda folder: "a" * 5000, "File name too long"),
    "no bucket": (lambda folder: "s3://x.jsonl", "names no bucket"),
    "bucket alone": (lambda folder: "s3://bucket/", "names no bucket and file"),
    "bucket's parent": (lambda folder: "s3://../x.jsonl", "names no bucket"),
    "login": (lambda folder: "s3://me:key@bucket/x.jsonl", "names no bucket"),
    "other scheme": (lambda folder: "gs://host/x.jsonl", "^gs://host/x.jsonl: has an unknown"),
    "plain file outside": (lambda folder: f"file://{folder}/../none.jsonl", "no such"),
    "no folder": (lambda folder: f"file://{folder}/missing/none.jsonl", "no such"),
}


@pytest.mark.parametrize("trick", FILES)
def test_a_recipe_s_file_is_a_file(tmp_path: Path, monkeypatch, trick: str):
    monkeypatch.chdir(tmp_path)
    given, words = FILES[trick]
    file = given(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput, match=words) as caught:
        read_file(file, "prompts.files")
    assert caught.value.remedy
    assert sorted(tmp_path.rglob("*")) == before


def test_a_recipe_s_file_may_be_in_a_folder_that_nobody_may_write(tmp_path: Path, monkeypatch):
    (tmp_path / "x.jsonl").write_bytes(b"x")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert read_file(f"file://{tmp_path}/x.jsonl", "prompts.files") == b"x"


def test_a_run_of_another_folder_is_not_read(tmp_path: Path):
    state = tmp_path / "elsewhere" / "iteration-0" / "state.json"
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    with pytest.raises(BadInput, match="cannot name a run"):
        read_state(open_store(str(tmp_path / "store")), "../../elsewhere", 0)
