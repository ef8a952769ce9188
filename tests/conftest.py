"""What every test has in common."""

from __future__ import annotations

import os

os.environ.setdefault("LIDR_RETRY_SECONDS", "5")  # a test that meets a dead service ends
