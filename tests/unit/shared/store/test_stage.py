from __future__ import annotations

import json

import pytest

from lidr.components.shared.core.errors import BadInput, CorruptStage
from lidr.components.shared.records.schema import Prompt
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import MARKER, Stage, new_stage, open_stage
from tests.fakes import finished_stage


class WatchedStore(LocalStore):
    """A local store that keeps the order of its writes, and can fail at a key."""

    def __init__(self, root, fails_at: str = "") -> None:
        super().__init__(root)
        self.written: list[str] = []
        self.fails_at = fails_at

    def write(self, key: str, data: bytes) -> None:
        if self.fails_at and key.endswith(self.fails_at):
            raise OSError("the power is out")
        super().write(key, data)
        self.written.append(key)


def demo(store, **settings: object) -> Stage:
    return new_stage(store, "demo", 1, {"input": "abc"}, settings)


def test_the_marker_is_written_last(tmp_path):
    store = WatchedStore(tmp_path)
    stage = demo(store)
    for name in ("z", "a"):
        stage.write(name, b"data")
    stage.finish({})
    assert store.written[-1] == stage.key(MARKER)
    assert len(store.written) == 3


def test_a_stage_without_marker_is_not_done(tmp_path):
    store = WatchedStore(tmp_path, fails_at=MARKER)
    stage = demo(store)
    stage.write("a", b"data")
    with pytest.raises(OSError, match="power"):
        stage.finish({})
    assert not demo(open_store(str(tmp_path))).done()


def test_the_marker_says_what_was_written_and_what_it_was_made_of(tmp_path):
    stage = demo(open_store(str(tmp_path)), beta=0.1)
    stage.write("a", b"data")
    stage.finish({"rows": 3})
    marker = json.loads((tmp_path / "stages/demo" / stage.digest / MARKER).read_text())
    assert marker["digest"] == stage.digest
    assert marker["identity"] == {
        "step": "demo",
        "version": 1,
        "inputs": {"input": "abc"},
        "settings": {"beta": 0.1},
    }
    assert marker["counts"] == {"rows": 3}
    assert marker["files"] == {
        "a": {
            "size": 4,
            "sha256": "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7",
        }
    }
    assert {"lidr", "lingua-language-detector", "datasketch", "sacrebleu"} <= set(
        marker["versions"]
    )
    assert marker["seconds"] >= 0


def test_the_address_follows_from_what_was_read(tmp_path):
    store = open_store(str(tmp_path))
    same = [new_stage(store, "demo", 1, {"x": "1", "y": "2"}, {"a": 1, "b": 2}).uri]
    same += [new_stage(store, "demo", 1, {"y": "2", "x": "1"}, {"b": 2, "a": 1}).uri]
    others = [
        new_stage(store, "demo", 2, {"x": "1", "y": "2"}, {"a": 1, "b": 2}).uri,
        new_stage(store, "demo", 1, {"x": "1", "y": "3"}, {"a": 1, "b": 2}).uri,
        new_stage(store, "demo", 1, {"x": "1", "y": "2"}, {"a": 1, "b": 3}).uri,
        new_stage(store, "omed", 1, {"x": "1", "y": "2"}, {"a": 1, "b": 2}).uri,
    ]
    assert same[0] == same[1]
    assert len({same[0], *others}) == 5


def test_settings_that_cannot_be_hashed_are_refused(tmp_path):
    with pytest.raises(TypeError, match="set cannot be part of a digest"):
        demo(open_store(str(tmp_path)), languages={"es", "de"})


def test_a_finished_stage_is_read_by_anyone_with_its_uri(tmp_path):
    stage = demo(open_store(str(tmp_path)))
    stage.write_records("p/a.parquet", [Prompt("1", "en", "x")], Prompt)
    stage.write_records("p/b.parquet", [Prompt("2", "en", "y")], Prompt)
    found = open_stage(stage.finish({}))
    assert found.digest == stage.digest
    assert found.files(prefix="p/") == ["p/a.parquet", "p/b.parquet"]
    texts = [row.text for row in found.read_records(["p/b.parquet", "p/a.parquet"], Prompt)]
    assert texts == ["y", "x"]


def test_files_of_an_interrupted_process_count(tmp_path):
    first = demo(open_store(str(tmp_path)))
    first.write("chunk/0", b"from the first process")
    second = demo(open_store(str(tmp_path)))
    second.write("chunk/1", b"from the second")
    found = open_stage(second.finish({}))
    assert found.files() == ["chunk/0", "chunk/1"]
    assert found.read("chunk/0") == b"from the first process"


def flip(path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_one_flipped_bit_is_noticed_on_every_way_in(tmp_path):
    stage = finished_stage(str(tmp_path / "s"), "demo", {"model/weights": b"x" * 1000})
    flip(tmp_path / "s" / stage.key("model/weights"))
    found = open_stage(stage.uri)
    for attempt in (
        lambda: found.read("model/weights"),
        lambda: found.verify(["model/weights"]),
        lambda: found.download(tmp_path / "copy", ["model/weights"]),
    ):
        with pytest.raises(CorruptStage, match=r"digest its marker names\. Delete .* run again"):
            attempt()
    assert not (tmp_path / "copy/model/weights").exists(), "a later call would trust it"


def test_a_lost_file_is_corruption_too(tmp_path):
    stage = finished_stage(str(tmp_path / "s"), "demo", {"a": b"x"})
    stage.store.delete(stage.key("a"))
    for attempt in (
        lambda: stage.read("a"),
        lambda: stage.verify(["a"]),
        lambda: stage.download(tmp_path / "copy", ["a"]),
    ):
        with pytest.raises(CorruptStage, match="/a is gone"):
            attempt()


def test_a_chunk_that_vanished_before_its_stage_is_finished_costs_no_other_chunk(tmp_path):
    stage = demo(open_store(str(tmp_path)))
    stage.write_records("b.parquet", [Prompt("p", "en", "Question?")], Prompt)
    for attempt in (
        lambda: list(stage.unfinished_tables(["a.parquet"], ["text"])),
        lambda: stage.peek_records("a.parquet", Prompt),
    ):
        with pytest.raises(CorruptStage, match=r"/a\.parquet is gone\. Run again") as caught:
            attempt()
        assert "Delete" not in str(caught.value)
    remedy = r"other columns.* Delete .*/b\.parquet and run again"
    with pytest.raises(CorruptStage, match=remedy):
        list(stage.unfinished_tables(["b.parquet"], ["failure"]))
    stage.finish({})
    with pytest.raises(CorruptStage, match=rf"is gone\. Delete {stage.uri} and run again"):
        stage.peek_records("a.parquet", Prompt)


def test_a_file_the_marker_does_not_know_is_not_trusted(tmp_path):
    stage = finished_stage(str(tmp_path), "demo", {"a": b"x"})
    stage.store.write(stage.key("b"), b"slipped in")
    with pytest.raises(CorruptStage):
        open_stage(stage.uri).read("b")


def test_a_broken_marker_is_corruption(tmp_path):
    stage = finished_stage(str(tmp_path), "demo", {})
    stage.store.write(stage.key(MARKER), b'{"files": ')
    with pytest.raises(CorruptStage, match=r"_SUCCESS is not a marker.*Delete"):
        open_stage(stage.uri)


def test_a_marker_with_one_other_digit_is_corruption(tmp_path):
    stage = finished_stage(str(tmp_path), "demo", {}, {"accuracy": 0.25})
    marker = stage.store.read(stage.key(MARKER))
    stage.store.write(stage.key(MARKER), marker.replace(b"0.25", b"0.75"))
    with pytest.raises(CorruptStage, match=r"_SUCCESS was changed after it was written.*Delete"):
        open_stage(stage.uri).counts()


def test_a_listing_that_is_behind_leaves_no_file_out(tmp_path, monkeypatch):
    stage = demo(open_store(str(tmp_path)))
    for name in ("a", "b", "removed"):
        stage.write(name, b"data")
    stage.store.delete(stage.key("removed"))
    behind = [entry for entry in stage.store.list(stage.prefix) if entry.key.endswith("/a")]
    monkeypatch.setattr(stage.store, "list", lambda prefix: behind)
    assert open_stage(stage.finish({})).files() == ["a", "b"]


def test_counts_that_are_no_numbers_cannot_finish_a_stage(tmp_path):
    stage = demo(open_store(str(tmp_path)))
    with pytest.raises(ValueError, match="no canonical JSON form"):
        stage.finish({"loss": float("nan")})
    assert not stage.done()


@pytest.mark.parametrize("uri", ["", "x", "/a/stages/pair", "/a/stages/pair/abc/more"])
def test_what_is_no_stage_uri_is_refused(uri):
    with pytest.raises(BadInput, match="not the URI of a stage"):
        open_stage(uri)


def test_an_unfinished_stage_cannot_be_opened(tmp_path):
    stage = demo(open_store(str(tmp_path)))
    stage.write("a", b"")
    with pytest.raises(BadInput, match=r"not complete\. Run the pipeline again") as caught:
        open_stage(stage.uri)
    assert caught.value.exit_code == 2


def test_a_store_below_a_folder_called_stages_works(tmp_path):
    stage = finished_stage(str(tmp_path / "stages/x/y"), "demo", {"a": b"x"})
    assert open_stage(stage.uri).read("a") == b"x"


def test_a_chunk_that_was_damaged_before_its_stage_is_finished_is_noticed(tmp_path):
    stage = demo(open_store(str(tmp_path)))
    rows = [Prompt(f"p{number}", "en", f"Question {number}?") for number in range(200)]
    stage.write_records("a.parquet", rows, Prompt)
    data = bytearray(stage.store.read(stage.key("a.parquet")))
    data[len(data) // 3] ^= 1
    stage.store.write(stage.key("a.parquet"), bytes(data))
    for attempt in (
        lambda: stage.peek_records("a.parquet", Prompt),
        lambda: list(stage.unfinished_tables(["a.parquet"], ["text"])),
    ):
        with pytest.raises(CorruptStage, match=r"damaged.*Delete .*/a\.parquet and run again"):
            attempt()
    stage.finish({})  # whose marker now says that the damaged bytes are right
    with pytest.raises(CorruptStage, match=rf"damaged.*Delete {stage.uri} and run again"):
        stage.read_records(["a.parquet"], Prompt)
