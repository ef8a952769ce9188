"""Records as sealed Parquet files (zstd), checked when read: anyone may have written them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lidr.components.shared.core.text import encodable
from lidr.components.shared.records.seal import is_intact, seal

ROW_GROUP_ROWS = 4096
"""Rows that are read at once where a file is too large for memory."""


class NotRecords(ValueError):
    """A file is not a Parquet file with records of the expected kind."""


def read_verified(data: bytes) -> pa.Table:
    """Return the table of a Parquet file after checking its seal and page checksums.

    Raises:
        pa.ArrowException, OSError: it is damaged.
    """
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    if not is_intact(data, file):
        raise pa.ArrowInvalid("its bytes are not those that were written")
    return file.read()


def from_parquet(data: bytes, kind: Any) -> list[Any]:
    """Return the records of a Parquet file, in order.

    Args:
        data: the file; untrusted.
        kind: class of the records. A field with a default may be missing, as in files of older
            versions.

    Raises:
        NotRecords: it is damaged, or holds something else.
    """
    return [kind(**row) for row in read_table(data, kind).to_pylist()]


def read_table(data: bytes, kind: Any = None) -> pa.Table:
    """Return the table of a Parquet file.

    Args:
        data: the file; untrusted.
        kind: class of the records that it must hold; None for any.

    Raises:
        NotRecords: it is damaged, or holds something else.
    """
    try:
        table = read_verified(data)
        if kind is not None:
            require_schema(table.schema, kind)
            table.validate(full=True)
            _require_values(table, kind)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise NotRecords(f"is damaged, or no Parquet file ({error})") from error
    return table


def require_schema(schema: pa.Schema, kind: Any) -> None:
    """Refuse columns other than those of a kind of records.

    Raises:
        NotRecords: one is missing, unknown or of another type.
    """
    wanted: pa.Schema = kind.schema
    needed = {each.name for each in fields(kind) if each.default is MISSING}
    for name in schema.names:
        if name not in wanted.names or schema.names.count(name) > 1:
            raise NotRecords(f"has a column {name!r} that {kind.__name__} does not have")
        if not schema.field(name).type.equals(wanted.field(name).type):
            raise NotRecords(f"has a column {name!r} of {schema.field(name).type}")
    if absent := sorted(needed - set(schema.names)):
        raise NotRecords(f"has no column {absent[0]!r}")


def _require_values(table: pa.Table, kind: Any) -> None:
    """Refuse nulls in fields that cannot be None, and chats without a message."""
    for each in fields(kind):
        if "None" in str(each.type) or each.name not in table.column_names:
            continue
        for chunk in table.column(each.name).chunks:
            if _has_nulls(chunk):
                raise NotRecords(f"lacks values of {each.name!r}")
            if "Message" in str(each.type) and 0 in chunk.value_lengths().to_pylist():
                raise NotRecords(f"has a {each.name!r} without a message")


def _has_nulls(values: pa.Array) -> bool:
    """Return whether any value, item of a list or field of a struct is null, at any depth."""
    parts: list[pa.Array] = []
    if pa.types.is_list(values.type):
        parts = [values.flatten()]
    elif pa.types.is_struct(values.type):
        parts = values.flatten()
    return bool(values.null_count) or any(map(_has_nulls, parts))


def to_parquet(records: Sequence[object], kind: Any) -> bytes:
    """Encode records of one kind as a sealed Parquet file (zstd); lone surrogates become U+FFFD.

    It encodes one row group at a time: a table of all records would need more memory than they do.
    """
    starts = range(0, len(records) or 1, ROW_GROUP_ROWS)
    groups = (records[start : start + ROW_GROUP_ROWS] for start in starts)
    return tables_to_parquet((_table(group, kind) for group in groups), kind)


def _table(records: Sequence[object], kind: Any) -> pa.Table:
    schema: pa.Schema = kind.schema
    columns = [
        _column([getattr(record, name) for record in records], schema.field(name).type)
        for name in schema.names
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def tables_to_parquet(tables: Iterable[pa.Table], kind: Any) -> bytes:
    """Encode tables of one kind of records as `to_parquet` does.

    If every table but the last has `ROW_GROUP_ROWS` rows, the bytes equal `to_parquet` of all
    records.
    """
    sink = io.BytesIO()
    writer = pq.ParquetWriter(sink, kind.schema, compression="zstd", write_page_checksum=True)
    for table in tables:
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
    return seal(writer, sink)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array([encodable(value) for value in values], kind)
