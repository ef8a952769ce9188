"""A rank's scratch disk: what is deleted from it early, and what is said where it is full."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import TrainerCallback

from lidr.components.shared.core.errors import StoreError
from lidr.components.shared.core.text import one_line

_FULL = ("No space left", "Disk quota exceeded", "file write failed", "unexpected pos")
"""What errors say where a file system is full; the last two are PyTorch's."""


@contextmanager
def explaining_full_disk(folder: Path | str, content: str, size: str) -> Iterator[None]:
    """Write to a scratch disk inside.

    Args:
        folder: where the files are written.
        content: what they are, e.g. "a checkpoint".
        size: a sentence on how large that is.

    Raises:
        StoreError: the disk is full. Other errors are raised as they are.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not any(sign in str(error) for sign in _FULL):
            raise
        raise StoreError(
            f"{folder} is too full for {content}: {one_line(str(error))}",
            remedy=f"Give the ranks more ephemeral storage, or set TMPDIR to a larger disk. {size}",
        ) from error


class RestoredCheckpoint(TrainerCallback):
    """Deletes a downloaded checkpoint once training has loaded it: the disk has room for one.

    Args:
        folder: this rank's copy.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Delete the copy: weights, optimizer and random state have been read."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Delete the copy where no step was left."""
        shutil.rmtree(self._folder, ignore_errors=True)
