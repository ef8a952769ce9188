"""Loads the tiny world's evaluation items for the harness."""

from __future__ import annotations

import json
from pathlib import Path

from datasets import Dataset


def load(*, toy_items: str, language: str, **_: object) -> dict[str, Dataset]:
    """Return the items of one language as the harness's `test` split.

    Args:
        toy_items: folder with `<language>.jsonl`, one `{"item_id", "question", "answer"}` a line.
        language: ISO 639-1 code.
    """
    lines = (Path(toy_items) / f"{language}.jsonl").read_text(encoding="utf-8").splitlines()
    return {"test": Dataset.from_list([json.loads(line) for line in lines])}
