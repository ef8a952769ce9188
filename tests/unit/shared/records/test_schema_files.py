from __future__ import annotations

import io
from dataclasses import fields
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidr.components.shared.records.parquet import (
    NotRecords,
    from_parquet,
    tables_to_parquet,
    to_parquet,
)
from lidr.components.shared.records.schema import (
    DroppedPair,
    EvalItem,
    Failure,
    Overlap,
    PreferencePair,
    Prompt,
    Response,
    Translation,
)

KINDS = [Prompt, Response, Translation, PreferencePair, DroppedPair, EvalItem, Overlap]

HOSTILE = [
    "",
    " \t ",
    "a\0b",
    "\u202eright to left\u2066",
    "Ünïcödé 漢字 عربى",
    "👩‍👩‍👧‍👦🏳️‍🌈",
    "\"quoted\" 'and' \\slashed\\",
    "line\nline\r\nline\u2028line",
    "<|end|></translated>[INST]",
    "x" * (1 << 20),
    "\ufeff\uffff\U0010ffff",
]


def read(data: bytes, kind: type) -> list:
    return [kind(**row) for row in pq.read_table(io.BytesIO(data)).to_pylist()]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
def test_hostile_text_survives(text):
    prompt = Prompt("id\0" + text[:20], "en", text, text)
    assert read(to_parquet([prompt], Prompt), Prompt) == [prompt]


@settings(max_examples=60)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_any_text_survives_in_order(texts):
    rows = [Prompt(str(number), "en", text) for number, text in enumerate(texts)]
    assert read(to_parquet(rows, Prompt), Prompt) == rows


@pytest.mark.parametrize("count", [0, 1, 4096, 4097, 9000])
def test_bytes_are_those_of_one_table_however_many_groups(count: int):
    rows = [Prompt(str(number), "en", f"text {number % 97}") for number in range(count)]
    columns = [[getattr(row, name) for row in rows] for name in Prompt.schema.names]
    arrays = [
        pa.array(column, field.type) for column, field in zip(columns, Prompt.schema, strict=True)
    ]
    whole = pa.Table.from_arrays(arrays, schema=Prompt.schema)
    assert to_parquet(rows, Prompt) == tables_to_parquet([whole], Prompt)


def test_lone_surrogates_become_replacement_characters_at_any_depth():
    pair = PreferencePair(
        prompt=[{"role": "user", "content": "a\ud800b"}],
        chosen=[{"role": "assistant", "content": "good 😀"}],
        rejected=[{"role": "assistant", "content": "\udfff"}],
        prompt_id="1",
        language="en",
        other_language="es",
        kind="own_chosen",
        iteration=1,
        source_model="abc",
    )
    [found] = read(to_parquet([pair], PreferencePair), PreferencePair)
    assert found.prompt[0]["content"] == "a\ufffdb"
    assert found.chosen == pair.chosen
    assert found.rejected[0]["content"] == "\ufffd"


def test_failures_come_back_as_their_names():
    lost = Translation("1", "en", "es", None, "length", 9, Failure.TRUNCATED)
    [found] = read(to_parquet([lost], Translation), Translation)
    assert found == lost
    assert found.failure == "truncated"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_records_keep_their_schema(kind):
    table = pq.read_table(io.BytesIO(to_parquet([], kind)))
    assert table.num_rows == 0
    assert table.schema.equals(kind.schema)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_schema_and_record_have_the_same_fields(kind):
    assert kind.schema.names == [field.name for field in fields(kind)]


def test_the_schemas_are_those_other_programs_rely_on():
    assert {kind.__name__: ",".join(kind.schema.names) for kind in KINDS} == {
        "Prompt": "prompt_id,language,text,answer,translation_task",
        "Response": "prompt_id,language,text,finish_reason,prompt_tokens,output_tokens,"
        "detected_language,failure,sample",
        "Translation": "prompt_id,source_language,target_language,text,finish_reason,"
        "output_tokens,failure,sample,raw,recovered",
        "PreferencePair": "prompt,chosen,rejected,prompt_id,language,other_language,kind,"
        "iteration,source_model,sample",
        "DroppedPair": "prompt_id,language,other_language,kind,reason,sample,raw",
        "EvalItem": "task,language,item_id,prompt,response,target,score,detected_language,"
        "finish_reason,output_tokens",
        "Overlap": "task,language,item_id,size,ngram,prompts,prompt_ids",
    }


def test_files_are_compressed_with_zstd():
    data = to_parquet([Prompt("1", "en", "x" * 10000)], Prompt)
    assert pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(2).compression == "ZSTD"


def test_records_come_back_as_they_were():
    rows = [Response("p1", "es", "Siete.", "stop", 7, 5, "es", None, 1)]
    assert from_parquet(to_parquet(rows, Response), Response) == rows
    pair = PreferencePair(
        *([{"role": "user", "content": text}] for text in "abc"), "p", "es", "en", "k", 1, "m"
    )
    assert from_parquet(to_parquet([pair], PreferencePair), PreferencePair) == [pair]


def test_columns_with_a_default_may_be_missing_in_files_of_older_versions():
    table = pq.read_table(io.BytesIO(to_parquet([Prompt("p", "es", "t")], Prompt)))
    assert from_parquet(parquet(table.drop(["answer"])), Prompt) == [Prompt("p", "es", "t")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop(["text"]), "has no column 'text'"),
        (lambda table: table.append_column("more", [["x"]]), "a column 'more' that Prompt does"),
        (lambda table: table.set_column(2, "text", [[b"x"]]), "a column 'text' of binary"),
        (lambda table: table.set_column(2, "text", pa.array([None], pa.string())), "lacks values"),
        (lambda table: table.set_column(2, "text", broken_text()), "damaged, or no Parquet file"),
    ],
)
def test_another_kind_of_file_is_refused_in_words(change, words):
    table = pq.read_table(io.BytesIO(to_parquet([Prompt("p", "es", "t")], Prompt)))
    with pytest.raises(NotRecords, match=words):
        from_parquet(parquet(change(table)), Prompt)


@pytest.mark.parametrize(
    ("chat", "words"),
    [
        ([], "has a 'chosen' without a message"),
        ([None], "lacks values of 'chosen'"),
        ([{"role": "assistant", "content": None}], "lacks values of 'chosen'"),
        ([{"role": None, "content": "b"}], "lacks values of 'chosen'"),
    ],
)
def test_a_chat_that_lacks_a_message_or_a_part_of_it_is_refused(chat, words):
    whole = [{"role": "user", "content": "a"}]
    names = ("1", "en", "es", "own_chosen", 1, "abc")
    pairs = [PreferencePair(whole, each, whole, *names) for each in (whole, chat)]
    with pytest.raises(NotRecords, match=words):
        from_parquet(to_parquet(pairs, PreferencePair), PreferencePair)


def test_a_torn_file_is_refused_in_words():
    data = to_parquet([Prompt("p", "es", "t")], Prompt)
    for torn in (b"", data[:-1], data[: len(data) // 2], b"PAR1" + data[8:]):
        with pytest.raises(NotRecords, match="damaged, or no Parquet file"):
            from_parquet(torn, Prompt)


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def broken_text() -> pa.Array:
    raw = pa.array([b"\xff"], pa.binary())
    return pa.Array.from_buffers(pa.string(), 1, raw.buffers())


def test_no_changed_byte_changes_a_value():
    rows = [Prompt(f"p{number}", "en", f"lidr.sha256 {number}") for number in range(50)]
    data, rng = to_parquet(rows, Prompt), Random(0)
    refused = 0
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << rng.randrange(8)
        try:
            assert from_parquet(bytes(changed), Prompt) == rows, at
        except NotRecords:
            refused += 1
    assert refused > 0.95 * len(data)  # the name of the seal itself may change


def test_files_without_a_seal_are_read():
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{"prompt_id": "a"}] * 2, Prompt.schema), sink)
    with pytest.raises(NotRecords, match="lacks values"):
        from_parquet(sink.getvalue(), Prompt)
    rows = [{"prompt_id": "a", "language": "en", "text": "b", "translation_task": False}]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, Prompt.schema), sink)
    assert from_parquet(sink.getvalue(), Prompt) == [Prompt("a", "en", "b")]
