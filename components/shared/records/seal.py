"""A Parquet file that notices any changed byte, its footer's too.

Parquet has checksums of pages only. The seal is the SHA-256 of the whole file with zeros where
the seal is, in the footer's key-value metadata: the file stays one that anybody can read.
"""

from __future__ import annotations

import io
from hashlib import sha256

import pyarrow.parquet as pq

_KEY = b"lidr.sha256"
_ZEROS = b"0" * 64


def seal(writer: pq.ParquetWriter, sink: io.BytesIO) -> bytes:
    """Close a writer and return the file, sealed.

    Args:
        writer: into the sink.
        sink: the file.
    """
    writer.add_key_value_metadata({_KEY: _ZEROS})
    writer.close()
    data = bytearray(sink.getbuffer())
    data[_place(data)] = sha256(data).hexdigest().encode()
    return bytes(data)


def is_whole(data: bytes, file: pq.ParquetFile) -> bool:
    """Return whether no byte has changed; a file without a seal, of others, is taken as it is.

    Args:
        data: the file.
        file: the same, opened.
    """
    stored = (file.metadata.metadata or {}).get(_KEY)
    if stored is None:
        return True
    blank = bytearray(data)
    blank[_place(blank)] = _ZEROS
    return bool(sha256(blank).hexdigest().encode() == stored)


def _place(data: bytearray) -> slice:
    """Return where the seal is: behind its key's last place, and two bytes of type and length."""
    start = data.rindex(_KEY) + len(_KEY) + 2
    return slice(start, start + len(_ZEROS))
