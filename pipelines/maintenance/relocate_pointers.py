"""The pointers in a store's runs: `state.json`, `result.json` and the stages of each iteration.

lidr itself finds stages by digest wherever the store is; these files are rewritten for other
readers. Stages are never touched: their markers and digests do not name the store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import FOLDER
from lidr.pipelines.maintenance.relocate_move import StoreMove

_POINTER = re.compile(r"/(state|result|iteration-\d+/stages/[^/]+)\.json$")


def stale_pointers(store: Store, move: StoreMove) -> Iterator[tuple[str, bytes]]:
    """Yield the key and the new content of each file that still points to the old address."""
    for entry in store.list(FOLDER):
        if _POINTER.search(entry.key):
            try:
                before = json.loads(store.read(entry.key))
            except (ValueError, RecursionError):  # a damaged file is left as it is
                continue
            after = _relocated(before, move)
            if after != before:
                yield entry.key, json.dumps(after, indent=2).encode()


def _relocated(value: Any, move: StoreMove) -> Any:
    if isinstance(value, str):
        return move.of(value)
    if isinstance(value, list):
        return [_relocated(item, move) for item in value]
    if isinstance(value, dict):
        return {key: _relocated(item, move) for key, item in value.items()}
    return value
