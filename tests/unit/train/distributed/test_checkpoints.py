from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from lidr.components.shared.core.errors import DamagedObject, Stopped, StoreError
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import Stage, new_stage
from lidr.components.train.distributed.checkpoint_writer import CheckpointWriter
from lidr.components.train.distributed.checkpoints import COMPLETE, Checkpoints
from lidr.components.train.distributed.ranks import Ranks
from tests.disks import small_disk


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return new_stage(LocalStore(tmp_path / "store"), "train", 1, {}, {})


def written(folder: Path, step: int) -> Path:
    folder = folder / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "model.safetensors").write_text(f"weights {step}")
    (folder / "optimizer.pt").write_text(f"moments {step}")
    (folder / "training_args.bin").write_text("a pickle")
    return folder


def test_the_newest_two_are_kept_and_pickled_arguments_are_not(stage: Stage, tmp_path: Path):
    checkpoints = Checkpoints(stage)
    for step in (2, 4, 10):
        checkpoints.save(written(tmp_path, step), step)
    checkpoints.wait()
    names = {entry.key.split("checkpoints/")[1] for entry in stage.store.list(stage.prefix)}
    assert names == {
        f"{step:08d}/{name}"
        for step in (4, 10)
        for name in ("model.safetensors", "optimizer.pt", COMPLETE)
    }
    assert checkpoints.restore(tmp_path / "back") == 10
    assert (tmp_path / "back/optimizer.pt").read_text() == "moments 10"


def test_a_disk_that_is_too_full_to_restore_one_is_named(stage: Stage, tmp_path: Path):
    checkpoints = Checkpoints(stage)
    folder = written(tmp_path, 2)
    (folder / "optimizer.pt").write_bytes(bytes(1 << 20))
    checkpoints.save(folder, 2)
    checkpoints.wait()
    with small_disk("256k") as disk:
        with pytest.raises(StoreError, match=f"{disk} is too full for a checkpoint") as caught:
            checkpoints.restore(disk / "restored")
        assert "TMPDIR" in caught.value.remedy
        assert "LIDR_CACHE" not in str(caught.value)


def test_one_without_its_marker_or_with_damage_is_passed_over(stage: Stage, tmp_path: Path):
    checkpoints = Checkpoints(stage)
    for step in (2, 4):
        checkpoints.save(written(tmp_path, step), step)
    checkpoints.wait()
    stage.store.write(stage.key("checkpoints/00000006/model.safetensors"), b"half")
    stage.store.write(stage.key("checkpoints/00000004/optimizer.pt"), b"damaged")
    assert checkpoints.restore(tmp_path / "back") == 2
    assert (tmp_path / "back/model.safetensors").read_text() == "weights 2"


def test_writer_stops_a_run_that_is_asked_to_end_while_its_last_checkpoint_is_written(
    stage: Stage, tmp_path: Path
):
    class Interrupted(LocalStore):
        def upload(self, path: Path, key: str) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            super().upload(path, key)

    checkpoints = Checkpoints(Stage(Interrupted(tmp_path / "store"), stage.prefix))
    with (
        pytest.raises(Stopped, match="its checkpoint is complete"),
        CheckpointWriter(checkpoints, Ranks()).writing(),
    ):
        checkpoints.save(written(tmp_path, 2), 2)
    assert checkpoints.restore(tmp_path / "back") == 2


@pytest.mark.parametrize("method", ["download", "read"])
def test_one_that_the_store_itself_finds_damaged_is_passed_over(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
):
    checkpoints = Checkpoints(stage)
    for step in (2, 4):
        checkpoints.save(written(tmp_path, step), step)
    checkpoints.wait()
    original = getattr(type(stage.store), method)

    def verified(self, key: str, *rest: Path) -> object:
        if "/00000004/" in key:
            raise DamagedObject(key)
        return original(self, key, *rest)

    monkeypatch.setattr(type(stage.store), method, verified)
    assert checkpoints.restore(tmp_path / "back") == 2


@pytest.mark.parametrize("at", [0, 20, -5])
def test_one_whose_marker_is_damaged_is_passed_over(stage: Stage, tmp_path: Path, at: int):
    checkpoints = Checkpoints(stage)
    for step in (2, 4):
        checkpoints.save(written(tmp_path, step), step)
    checkpoints.wait()
    marker = bytearray(stage.store.read(stage.key(f"checkpoints/00000004/{COMPLETE}")))
    marker[at] ^= 1
    stage.store.write(stage.key(f"checkpoints/00000004/{COMPLETE}"), bytes(marker))
    assert checkpoints.restore(tmp_path / "back") == 2


def test_nothing_to_restore_and_clearing(stage: Stage, tmp_path: Path):
    checkpoints = Checkpoints(stage)
    assert checkpoints.restore(tmp_path / "back") == 0
    checkpoints.save(written(tmp_path, 2), 2)
    checkpoints.wait()
    checkpoints.clear()
    assert stage.store.list(stage.prefix) == []
