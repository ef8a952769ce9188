"""What only an S3 store can get wrong."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context

import boto3
import pytest

from lidr.components.shared.config.prompts import Prompts
from lidr.components.shared.core.errors import BadInput, CorruptStage, DamagedObject, StoreError
from lidr.components.shared.inputs.fetch_plans import fetch_plan
from lidr.components.shared.inputs.named import named_inputs
from lidr.components.shared.inputs.prompt_files import load_prompt_file
from lidr.components.shared.models.outside import fetch_model, model_fingerprint
from lidr.components.shared.models.sources import model_files, model_uri
from lidr.components.shared.records.schema import Prompt
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.s3 import S3Store
from lidr.components.shared.store.s3_client import s3_client
from lidr.components.shared.store.stage import MARKER, new_stage, open_stage
from lidr.pipelines.begin import located
from tests.fakes import finished_stage, make_recipe

MIB = 1 << 20


def test_large_files_go_in_parts_and_come_back_whole(bucket, tmp_path):
    store = S3Store(f"s3://{bucket}/p", part_bytes=5 * MIB)
    data = bytes(range(256)) * (11 * MIB // 256) + b"the end"
    (tmp_path / "source").write_bytes(data)
    store.upload(tmp_path / "source", "model.safetensors")
    store.download("model.safetensors", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    etag = boto3.client("s3").head_object(Bucket=bucket, Key="p/model.safetensors")["ETag"]
    assert etag.endswith('-3"'), "it was not sent in three parts"


def test_unfinished_uploads_are_aborted_below_the_prefix_only(bucket):
    client = boto3.client("s3")
    for key in ("p/mine/1", "p/mine/2", "p/other"):
        client.create_multipart_upload(Bucket=bucket, Key=key)
    assert open_store(f"s3://{bucket}/p").abort_uploads("mine", time.time() + 60) == 2
    [left] = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert left["Key"] == "p/other"


def test_uploads_that_may_still_have_their_writer_are_left_alone(bucket):
    boto3.client("s3").create_multipart_upload(Bucket=bucket, Key="p/mine/1")
    before_moto_dates_them = datetime(2010, 1, 1, tzinfo=UTC).timestamp()
    assert open_store(f"s3://{bucket}/p").abort_uploads("mine", before_moto_dates_them) == 0


def test_bytes_changed_behind_our_back_are_noticed(bucket, tmp_path):
    store = open_store(f"s3://{bucket}")
    store.write("a", b"right")
    client = boto3.client("s3")
    metadata = client.head_object(Bucket=bucket, Key="a")["Metadata"]
    client.put_object(Bucket=bucket, Key="a", Body=b"wrong", Metadata=metadata)
    with pytest.raises(DamagedObject, match="does not have the bytes that were written"):
        store.read("a")
    with pytest.raises(DamagedObject, match="does not have the bytes that were written"):
        store.download("a", tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_damaged_copy_of_an_input_is_not_replaced_by_its_source(bucket):
    store = open_store(f"s3://{bucket}")
    address = "hf://datasets/org/name@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/prompts.jsonl"
    files = dict.fromkeys(("en", "es", "de"), address)
    recipe = make_recipe(
        model={"source": "hf://org/model@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
        prompts={"files": files},
    )
    named = next(each for each in named_inputs(recipe) if each.source == address)
    stage = fetch_plan(named, store).stage
    stage.write("prompts.jsonl", b"{}")
    stage.finish({})
    client, place = boto3.client("s3"), {"Bucket": bucket, "Key": stage.key(MARKER)}
    metadata = client.head_object(**place)["Metadata"]
    client.put_object(**place, Body=b"wrong", Metadata=metadata)
    with pytest.raises(DamagedObject, match=rf"{address}: .*Delete {stage.uri}, then fetch it"):
        located(recipe, store)


def test_objects_of_other_programs_can_be_read(bucket):
    boto3.client("s3").put_object(Bucket=bucket, Key="p/a", Body=b"theirs")
    assert open_store(f"s3://{bucket}/p").read("a") == b"theirs"


def test_a_console_s_marker_of_a_folder_is_no_object(bucket):
    client = boto3.client("s3")
    client.put_object(Bucket=bucket, Key="p/a/", Body=b"")
    client.put_object(Bucket=bucket, Key="p/a/b", Body=b"")
    assert [entry.key for entry in open_store(f"s3://{bucket}/p").list("a")] == ["a/b"]


def test_an_object_that_is_replaced_while_it_is_fetched_arrives(bucket, tmp_path, monkeypatch):
    store = open_store(f"s3://{bucket}")
    store.write("a", b"old")
    head, asked = store._head, []

    def replaced(key: str):
        found = head(key)
        asked.append(key)
        if len(asked) == 1:  # another process replaces it between the two requests
            store.write("a", b"new")
        return found

    monkeypatch.setattr(store, "_head", replaced)
    store.download("a", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"new"


def test_more_objects_than_one_page_are_listed(bucket):
    client = boto3.client("s3")
    for number in range(3):
        client.put_object(Bucket=bucket, Key=f"a/{number}", Body=b"")
    store = open_store(f"s3://{bucket}")
    paginator = store._client.get_paginator
    store._client.get_paginator = lambda name: _ShortPages(paginator(name))
    assert [entry.key for entry in store.list("a")] == ["a/0", "a/1", "a/2"]


class _ShortPages:
    def __init__(self, paginator) -> None:
        self._paginator = paginator

    def paginate(self, **arguments):
        return self._paginator.paginate(**arguments, PaginationConfig={"PageSize": 2})


def test_a_bucket_that_does_not_exist_is_explained(bucket):
    with pytest.raises(StoreError, match=r"no-such-bucket.*Check the bucket's name") as caught:
        open_store("s3://no-such-bucket/p")
    assert caught.value.exit_code == 2


def test_a_bucket_that_vanishes_is_explained(bucket, tmp_path):
    store = S3Store(f"s3://{bucket}", part_bytes=5 * MIB, seconds=0)
    boto3.client("s3").delete_bucket(Bucket=bucket)
    big = tmp_path / "big"
    big.write_bytes(b"x" * 6 * MIB)
    small = tmp_path / "small"
    small.write_bytes(b"x")
    for attempt in (
        lambda: store.write("a", b""),
        lambda: store.create("a", b""),
        lambda: store.list(""),
        lambda: store.upload(small, "a"),
        lambda: store.upload(big, "a"),
        lambda: store.read("a"),
    ):
        with pytest.raises(StoreError, match=r"NoSuchBucket\. Check the bucket's name"):
            attempt()
    with pytest.raises(StoreError, match="Check the bucket's name"):
        store.exists("a")


@pytest.mark.parametrize("uri", ["s3://", "s3:///prefix"])
def test_an_address_without_bucket_is_refused(bucket, uri):
    with pytest.raises(StoreError, match="names no bucket"):
        open_store(uri)


def test_a_server_that_is_not_there_is_explained(bucket, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the waits between retries
    with pytest.raises(StoreError, match=r"cannot be reached.*AWS_ENDPOINT_URL_S3 or AWS_"):
        open_store(f"s3://{bucket}")


def test_an_endpoint_that_is_no_url_is_explained(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a url")
    with pytest.raises(StoreError, match="Correct AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL"):
        open_store(f"s3://{bucket}")


def test_missing_credentials_are_explained(bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(StoreError, match="credentials"):
        open_store(f"s3://{bucket}")


def test_a_stage_lives_on_s3(bucket, tmp_path):
    store = open_store(f"s3://{bucket}/runs")
    stage = new_stage(store, "demo", 1, {}, {"a": 1})
    rows = [Prompt("1", "en", "Hello 👋"), Prompt("2", "en", "")]
    stage.write_records("prompts/en.parquet", rows, Prompt)
    (tmp_path / "weights").write_bytes(b"w" * 1000)
    stage.upload("model/weights", tmp_path / "weights")
    assert not stage.done()
    uri = stage.finish({"rows": 2})
    assert uri == f"s3://{bucket}/runs/stages/demo/{stage.digest}"

    found = open_stage(uri)
    assert found.read_records(["prompts/en.parquet"], Prompt) == rows
    found.download(tmp_path / "copy", found.files(prefix="model/"))
    assert (tmp_path / "copy/model/weights").read_bytes() == b"w" * 1000
    assert found.counts() == {"rows": 2}


def test_a_changed_stage_file_is_corrupt_and_a_lost_one_too(bucket):
    stage = finished_stage(f"s3://{bucket}", "demo", {"a": b"right", "b": b"here"})
    open_store(f"s3://{bucket}").write(stage.key("a"), b"wrong")
    open_store(f"s3://{bucket}").delete(stage.key("b"))
    for name in ("a", "b"):
        with pytest.raises(CorruptStage, match=f"/{name} "):
            open_stage(stage.uri).read(name)


def test_an_unfinished_stage_cannot_be_opened(bucket):
    stage = new_stage(open_store(f"s3://{bucket}"), "demo", 1, {}, {})
    stage.write("a", b"")
    with pytest.raises(BadInput, match="not complete"):
        open_stage(stage.uri)
    assert not stage.store.exists(stage.key(MARKER))


def test_a_model_on_s3_is_cached_whole_and_once(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("LIDR_CACHE", str(tmp_path / "cache"))
    files = {"model/config.json": b"{}", "model/model.safetensors": b"weights", "x.txt": b""}
    stage = finished_stage(f"s3://{bucket}", "train", files)
    folder = model_files(stage.uri).folder
    assert model_uri(stage.uri) == f"{stage.uri}/model"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    stage.store.delete(stage.key("model/config.json"))
    assert model_files(stage.uri).folder == folder
    kept = sorted(p.name for p in (tmp_path / "cache/models").iterdir())
    assert kept == [stage.digest, f"{stage.digest}.lock"]


def test_a_served_model_needs_no_weights_here(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("LIDR_CACHE", str(tmp_path / "cache"))
    files = {"model/config.json": b"{}", "model/model.safetensors": b"weights"}
    stage = finished_stage(f"s3://{bucket}", "train", files)
    found = model_files(stage.uri, weights=False)
    assert [path.name for path in found.folder.iterdir()] == ["config.json"]
    assert (found.digest, found.trained) == (stage.digest, True)
    assert sorted(path.name for path in model_files(stage.uri).folder.iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_a_corrupt_model_is_not_cached(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("LIDR_CACHE", str(tmp_path / "cache"))
    stage = finished_stage(f"s3://{bucket}", "train", {"model/config.json": b"{}"})
    stage.store.write(stage.key("model/config.json"), b"[]")
    with pytest.raises(CorruptStage):
        model_files(stage.uri)
    assert not [p for p in (tmp_path / "cache/models").iterdir() if p.is_dir()]


def test_an_outside_model_on_s3_is_fetched_without_its_pickles(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("LIDR_CACHE", str(tmp_path / "cache"))
    source = f"s3://{bucket}/models/m0"
    store = open_store(source)
    for name in ("config.json", "model.safetensors", "pytorch_model.bin", "run.py"):
        store.write(name, name.encode())
    before = model_fingerprint(source)
    folder = fetch_model(source)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    store.write("model.safetensors", b"model.Safetensors")
    assert model_fingerprint(source) != before, "another checkpoint has files of the same size"


def test_prompts_on_s3_are_read(bucket):
    boto3.client("s3").put_object(
        Bucket=bucket, Key="p/en.jsonl", Body=b'{"prompt_id": "1", "text": "Hi"}\n'
    )
    file = f"s3://{bucket}/p/en.jsonl"
    assert load_prompt_file(file, "en", Prompts()) == [Prompt("1", "en", "Hi")]
    with pytest.raises(BadInput, match=r"de\.jsonl: no such file"):
        load_prompt_file(f"s3://{bucket}/p/de.jsonl", "de", Prompts())


def test_stores_of_one_environment_share_a_client(bucket, monkeypatch):
    first = s3_client(5.0)
    assert s3_client(5.0) is first
    assert s3_client(90.0) is not first, "it retries another number of times"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    other = s3_client(5.0)
    assert other.meta.endpoint_url == "http://127.0.0.1:9"
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert pool.submit(_client_number).result() != id(other), "a fork has no connections"


def _client_number() -> int:
    return id(s3_client(5.0))
