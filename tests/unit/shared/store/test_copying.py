"""A copy of a stage: whole, of one execution, and with the marker last."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from lidr.components.shared.core.errors import BadInput, CorruptStage, StoreError
from lidr.components.shared.store.copying import copy_stage
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.marker import MARKER, PRUNED_MARKER
from lidr.components.shared.store.stage import Stage, new_stage

FILES = {"model/config.json": b"{}", "model/model.safetensors": b"weights", "notes.txt": b"all"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LIDR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def there(tmp_path) -> LocalStore:
    return LocalStore(tmp_path / "there")


def made(root: Path, files: dict[str, bytes] = FILES, loss: float = 0.5) -> Stage:
    """Return a stage that training has made; another execution gets other bytes."""
    stage = new_stage(LocalStore(root), "train", 1, {"pairs": "p"}, {})
    for name, data in files.items():
        stage.write(name, data)
    stage.finish({"loss": loss})
    return Stage(stage.store, stage.prefix)


def contents(stage: Stage) -> dict[str, bytes]:
    return {entry.key: stage.store.read(entry.key) for entry in stage.store.list(stage.prefix)}


def test_a_copy_has_the_same_bytes_and_is_made_once(tmp_path, there, cache):
    stage = made(tmp_path / "here")
    begun: list[str] = []
    sizes: list[int] = []
    copy = copy_stage(stage, there, begun.append, sizes.append)
    assert copy.uri == f"{there.uri}/{stage.prefix}"
    assert contents(copy) == contents(stage)
    assert begun == list(stage.marker()["files"]) and sum(sizes) == sum(map(len, FILES.values()))
    assert copy_stage(stage, there, begun.append).uri == copy.uri
    assert len(begun) == len(FILES)
    assert [path.suffix for path in (cache / "fetch").iterdir()] == [".lock"], "nothing is left"


def test_a_copy_that_was_cut_off_keeps_only_the_files_of_this_execution(tmp_path, there):
    stage = made(tmp_path / "here")
    there.write(stage.key("model/config.json"), FILES["model/config.json"])
    there.write(stage.key("model/model.safetensors"), b"another")
    there.write(stage.key(PRUNED_MARKER), b"{}")
    begun: list[str] = []
    copy = copy_stage(stage, there, begun.append)
    assert begun == ["model/model.safetensors", "notes.txt"]
    assert contents(copy) == contents(stage)


def test_a_copy_of_another_execution_is_refused_and_left_as_it_is(tmp_path, there):
    other = made(there.root, {**FILES, "model/model.safetensors": b"another"})
    before = contents(other)
    stage = made(tmp_path / "here")
    with pytest.raises(BadInput, match=f"{other.uri} is there already, .*delete it"):
        copy_stage(stage, there)
    assert contents(other) == before
    there.delete(other.key("notes.txt"))
    with pytest.raises(BadInput, match="is not the same as"):
        copy_stage(stage, there)
    assert not there.exists(other.key("notes.txt")), "a copy is not mended with another's file"


def test_a_copy_with_other_counts_alone_is_refused_for_the_gates_verdict_is_one(tmp_path, there):
    made(there.root, files={}, loss=0.25)
    with pytest.raises(BadInput, match="is not the same as"):
        copy_stage(made(tmp_path / "here", files={}), there)


def test_a_complete_copy_gets_the_files_that_it_has_lost(tmp_path, there):
    stage = made(tmp_path / "here")
    copy = copy_stage(stage, there)
    there.delete(copy.key("notes.txt"))
    there.write(copy.key("model/model.safetensors"), b"wei")
    begun: list[str] = []
    copy_stage(stage, there, begun.append)
    assert begun == ["model/model.safetensors", "notes.txt"]
    assert contents(copy) == contents(stage)


def test_a_stage_made_over_there_with_the_same_files_serves_as_the_copy(tmp_path, there):
    stage, other = made(tmp_path / "here"), made(there.root, loss=0.25)
    shutil.copy(other.store.path(other.key(MARKER)), tmp_path / "marker")
    assert copy_stage(stage, there).uri == other.uri
    assert there.read(other.key(MARKER)) == (tmp_path / "marker").read_bytes()


def test_a_copy_whose_marker_is_damaged_is_refused(tmp_path, there):
    stage = made(tmp_path / "here")
    there.write(stage.key(MARKER), b"{}")
    with pytest.raises(BadInput, match=r"is not the same as .*delete it"):
        copy_stage(stage, there)


def test_a_damaged_file_is_not_copied(tmp_path, there):
    stage = made(tmp_path / "here")
    stage.store.write(stage.key("notes.txt"), b"ALL")
    with pytest.raises(CorruptStage, match=r"notes\.txt does not have the digest"):
        copy_stage(stage, there)
    assert not there.exists(stage.key(MARKER))


def test_a_full_disk_has_a_remedy_that_moves_the_files_on_their_way(
    tmp_path, there, cache, monkeypatch
):
    stage, write = made(tmp_path / "here"), Path.open

    def full(path: Path, mode: str = "r", *rest: object, **named: object):
        if mode == "wb" and path.is_relative_to(cache):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StoreError, match=f"{cache}.*set LIDR_CACHE to a larger disk"):
        copy_stage(stage, there)
    monkeypatch.setenv("LIDR_CACHE", str(tmp_path / "larger"))
    assert contents(copy_stage(stage, there)) == contents(stage)
