"""Seals a Parquet file, so that any changed byte is noticed, even in its footer.

Parquet has checksums of pages only. The seal is the SHA-256 of the whole file with zeros in place
of the seal. It is in the footer's key-value metadata, so any Parquet reader can read the file.
"""

from __future__ import annotations

import io
from hashlib import sha256

import pyarrow.parquet as pq

_KEY = b"lidr.sha256"
_ZEROS = b"0" * 64


def seal(writer: pq.ParquetWriter, sink: io.BytesIO) -> bytes:
    """Close a writer and return the sealed file that it wrote to `sink`, which is closed too."""
    writer.add_key_value_metadata({_KEY: _ZEROS})
    writer.close()
    data = bytearray(sink.getbuffer())
    sink.close()  # a large file is in memory twice here, not three times
    data[_place(data)] = sha256(data).hexdigest().encode()
    return bytes(data)


def is_intact(data: bytes, file: pq.ParquetFile) -> bool:
    """Return whether no byte of a file has changed; a file without a seal (not ours) passes."""
    stored = (file.metadata.metadata or {}).get(_KEY)
    if stored is None:
        return True
    blank = bytearray(data)
    blank[_place(blank)] = _ZEROS
    return bool(sha256(blank).hexdigest().encode() == stored)


def _place(data: bytearray) -> slice:
    """Return where the seal is: after its last key, and two bytes of type and length."""
    start = data.rindex(_KEY) + len(_KEY) + 2
    return slice(start, start + len(_ZEROS))
