"""Explains errors of a rank's scratch disk that is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lidr.components.shared.core.errors import StoreError
from lidr.components.shared.core.text import one_line

CHECKPOINT_SIZE = "A checkpoint has the trained weights and both moments of each in float32."

_FULL = ("No space left", "Disk quota exceeded", "file write failed", "unexpected pos")
"""What errors say where a file system is full; the last two are PyTorch's."""


@contextmanager
def explaining_full_disk(folder: Path | str, content: str, size: str) -> Iterator[None]:
    """Turn errors of a full scratch disk inside the `with` block into a StoreError.

    Args:
        folder: where the files are written.
        content: what they are, e.g. "a checkpoint".
        size: a sentence on how large that is.

    Raises:
        StoreError: the disk is full. Other errors are raised as they are.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError, StoreError) as error:
        said = error.message if isinstance(error, StoreError) else one_line(str(error))
        if not any(sign in said for sign in _FULL):
            raise
        raise StoreError(
            f"{folder} is too full for {content}: {said}",
            remedy=f"Give the ranks more ephemeral storage, or set TMPDIR to a larger disk. {size}",
        ) from error
