"""What lidr stands on would tell its makers of each run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_OF_MLFLOW = """
import lidr
from mlflow.telemetry.client import get_telemetry_client
assert get_telemetry_client() is None
"""
_OF_THE_HUB = """
import lidr
from huggingface_hub.constants import HF_HUB_DISABLE_TELEMETRY
assert HF_HUB_DISABLE_TELEMETRY
"""
_OF_VLLM = """
import lidr
from vllm.usage.usage_lib import is_usage_stats_enabled
assert not is_usage_stats_enabled()
"""


@pytest.mark.parametrize(
    ("library", "code"),
    [("mlflow", _OF_MLFLOW), ("huggingface_hub", _OF_THE_HUB), ("vllm", _OF_VLLM)],
)
def test_libraries_tell_nobody_of_a_run(library: str, code: str):
    pytest.importorskip(library)
    kept = {k: v for k, v in os.environ.items() if "TELEMETRY" not in k and "USAGE" not in k}
    done = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
