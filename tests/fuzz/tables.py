"""Prompts, questions, benchmark items and records: JSON Lines, JSON, TSV and Parquet."""

from __future__ import annotations

import io
import json
from dataclasses import fields
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lidr.components.evaluate.items.rows import read_rows
from lidr.components.shared.config.judge import JudgedTask
from lidr.components.shared.config.prompts import Prompts
from lidr.components.shared.inputs.prompt_files import load_prompt_file
from lidr.components.shared.inputs.questions import read_questions
from lidr.components.shared.records.judged import Judgement
from lidr.components.shared.records.parquet import from_parquet, to_parquet
from lidr.components.shared.records.schema import (
    Answer,
    EvalItem,
    PreferencePair,
    Prompt,
    Response,
    Translation,
)
from lidr.components.shared.store.stage import Stage
from tests.fuzz import mutations
from tests.fuzz.running import Target
from tests.fuzz.scratch import scratch
from tests.fuzz.shelf import Shelf

_PROMPTS = [
    {"prompt_id": "p1", "text": "How many are 3 + 4?", "answer": "7", "translation_task": False},
    {"prompt_id": 2, "text": "Übersetze das.", "translation_task": True, "more": [1, None]},
    {"prompt_id": "p3", "text": "何ですか\n二行目", "answer": None},
]
_QUESTIONS = [
    {"id": 1, "instruction": "Say it.", "reference": "So.", "criteria": "It is said."},
    {"question_id": "q2", "turns": ["One?", "Two?"]},
    {"item_id": "q3", "prompt": "What?"},
]
_ITEMS = [{"question": "3 + 4?", "answer": "7"}, {"question": "¿5?", "answer": 5, "x": {"y": []}}]


def _lines(random: Random, rows: list[dict[str, Any]]) -> bytes:
    chosen = random.randrange(len(rows)) if rows else 0
    lines = [json.dumps(row).encode() for row in rows]
    if rows:
        lines[chosen] = mutations.as_json(random, mutations.tree(random, rows[chosen], 2))
    end = random.choice((b"\n", b"\n", b"\r\n", b"\n\n"))
    start = random.choice((b"",) * 6 + (b"\xef\xbb\xbf", b"\xff\xfe"))
    return start + end.join(lines)


def _table(random: Random, rows: list[dict[str, Any]]) -> bytes:
    """Return a Parquet file of rows, one of whose columns may be of any type."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    chosen = random.choice(names)
    columns: dict[str, pa.Array] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if name == chosen:
            columns[name] = _array(random, [mutations.tree(random, each, 1) for each in values])
        elif name == "translation_task":
            columns[name] = pa.array(values)
        else:
            columns[name] = pa.array([each if each is None else str(each) for each in values])
    sink = io.BytesIO()
    try:
        pq.write_table(pa.table(columns), sink)
    except pa.ArrowNotImplementedError:  # a type that no Parquet file can have
        return b""
    return mutations.data(random, [sink.getvalue()], random.choice((0, 0, 0, 3)))


_TYPES = [
    *(pa.string(), pa.large_string(), pa.binary(), pa.int8(), pa.uint64(), pa.float32()),
    *(pa.bool_(), pa.timestamp("ns"), pa.timestamp("s", "UTC"), pa.date64(), pa.duration("us")),
    *(pa.decimal128(30, 2), pa.list_(pa.string()), pa.null(), pa.time64("ns")),
    *(pa.dictionary(pa.int8(), pa.string()), pa.struct([("a", pa.string())])),
]


def _array(random: Random, values: list[Any]) -> pa.Array:
    kind = random.choice([None, None, pa.string(), *_TYPES])
    if kind in (pa.timestamp("ns"), pa.timestamp("s", "UTC"), pa.duration("us"), pa.time64("ns")):
        numbers = [random.choice((0, 1, -1, 2**40 + 1, None)) for _ in values]
        return pa.array(numbers, pa.int64()).cast(kind, safe=False)
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        texts = [None if value is None else repr(value) for value in values]
        if random.random() < 0.2:  # what is no text says that it is
            raw = pa.array([None if text is None else b"\xff\xfe" for text in texts], pa.binary())
            return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
        return pa.array(texts)


def _written(name: str, data: bytes) -> Path:
    path = scratch() / name
    path.write_bytes(data)
    return path


_SETTINGS = Prompts()


def _check_prompts(name: str) -> Any:
    def check(data: bytes) -> None:
        found = load_prompt_file(str(_written(name, data)), "es", _SETTINGS)
        assert found
        assert len({prompt.prompt_id for prompt in found}) == len(found)
        assert all(prompt.prompt_id.strip() and prompt.text.strip() for prompt in found)
        assert from_parquet(to_parquet(found, Prompt), Prompt) == found

    return check


def _questions(random: Random) -> bytes:
    rows = [random.choice(_QUESTIONS) for _ in range(random.randint(0, 3))]
    if random.random() < 0.5:
        return _lines(random, rows)
    return mutations.data(random, [mutations.as_json(random, rows)], 2)


def _check_questions(data: bytes) -> None:
    path = _written("questions.es.json", data)
    pattern = str(path).replace(".es.", ".{language}.")
    task = JudgedTask(name="mt_bench", questions=pattern)
    found = read_questions(task, "es")
    assert found
    assert len({question.item_id for question in found}) == len(found)
    texts = [text for each in found for text in (*each.turns, each.criteria)]
    texts += [each.reference_to(turn) for each in found for turn in range(len(each.turns))]
    assert all(text.encode() is not None for text in texts)


def _items(random: Random) -> tuple[str, bytes]:
    kind = random.choice(("jsonl", "json", "tsv", "parquet"))
    if kind == "jsonl":
        return kind, _lines(random, _ITEMS)
    if kind == "json":
        return kind, mutations.as_json(random, mutations.tree(random, _ITEMS))
    if kind == "parquet":
        return kind, _table(random, _ITEMS)
    text = mutations.text(random, ["3 + 4?\t7\n¿5?\t5\n", 'a "b\tc\n', "a\tb\tc\r\n"])
    return kind, text.encode("utf-8", "surrogatepass")


def _check_items(given: tuple[str, bytes]) -> None:
    kind, data = given
    found = read_rows(_written(f"items.{kind}", data))
    lines = [line for line, _ in found]
    assert found and lines == sorted(lines) and all(isinstance(row, dict) for _, row in found)
    json.dumps([row for _, row in found], ensure_ascii=False, default=str).encode()


_MESSAGE = [{"role": "user", "content": "How many?"}]
_RECORDS: list[Any] = [
    Prompt("p1", "es", "¿Cuántos?", "7", True),
    Response("p1", "es", "Siete.", "stop", 7, 5, "es", None, 1),
    Translation("p1", "en", "es", None, "length", 9, "truncated"),
    PreferencePair(_MESSAGE, _MESSAGE, _MESSAGE, "p1", "es", "en", "translation_chosen", 1, "m"),
    EvalItem("mgsm_es", "es", "e1", "¿?", "7", "7", 1.0, "es", "stop", 3),
    Answer("care", "es", "q1", 0, "¿?", "Sí.", "stop", 3),
    Judgement("care", "es", "q1", 0, "alone", "Score: 7", [], 7.0, None, 9, 3, "abc"),
]


def _chunk(random: Random) -> tuple[type, bytes]:
    record = random.choice(_RECORDS)
    kind = type(record)
    if random.random() < 0.6:
        return kind, mutations.data(random, [_good_chunk(record)], 3)
    rows = [{each.name: getattr(record, each.name) for each in fields(kind)}] * 2
    rows = [row for row in (mutations.tree(random, row, 1) for row in rows) if type(row) is dict]
    other = random.choice([pa.Table.from_pylist, lambda rows: _loose(random, rows, kind)])
    sink = io.BytesIO()
    try:
        pq.write_table(other(rows), sink)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return type(random.choice(_RECORDS)), _good_chunk(record)
    return kind, sink.getvalue()


def _good_chunk(record: Any) -> bytes:
    return to_parquet([record, record], type(record))


def _loose(random: Random, rows: list[dict[str, Any]], kind: Any) -> pa.Table:
    """Return a table with the right schema but for a column, whose values may be null."""
    schema = kind.schema
    at = random.randrange(len(schema.names))
    field = schema.field(at).with_type(random.choice([schema.field(at).type, *_TYPES]))
    schema = schema.set(at, field)
    return pa.Table.from_pylist(
        [{name: row.get(name) for name in schema.names} for row in rows], schema=schema
    )


def _check_chunk(given: tuple[type, bytes]) -> None:
    kind, data = given
    store = Shelf({"stages/x/d/chunk.parquet": data})
    found = Stage(store, "stages/x/d").peek_records("chunk.parquet", kind)
    for record in found:
        for each in fields(record):
            value = getattr(record, each.name)
            assert value is not None or "None" in str(each.type), f"no {each.name}"
    assert from_parquet(to_parquet(found, kind), kind) == found or _has_nan(found)


def _has_nan(found: list[Any]) -> bool:
    return "nan" in repr(found)


TARGETS = [
    Target("prompts, JSON Lines", lambda r: _lines(r, _PROMPTS), _check_prompts("p.jsonl"), 60_000),
    Target("prompts, Parquet", lambda r: _table(r, _PROMPTS), _check_prompts("p.parquet"), 20_000),
    Target("questions for a judge", _questions, _check_questions, 60_000),
    Target("benchmark items", _items, _check_items, 40_000),
    Target("records, Parquet", _chunk, _check_chunk, 30_000),
]
