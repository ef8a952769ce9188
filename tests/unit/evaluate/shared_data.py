"""Real items of MGSM: LIDR_SHARED_DATA names their folder, else `../shared/data` is looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MGSM = (
    Path(os.environ.get("LIDR_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data")) / "mgsm"
)

needs_mgsm = pytest.mark.skipif(
    not MGSM.is_dir(), reason=f"no MGSM at {MGSM} (set LIDR_SHARED_DATA)"
)
