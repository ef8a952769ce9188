"""Every engine gives a model the same tokens: transformers, vLLM and a server of vLLM's."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.warm import VLLM, python
from tests.zoo.pen import Pen
from tests.zoo.reading import prompts_read
from tests.zoo.shapes import BY_NAME, EXACT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed (lidr[vllm])"),
]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def read_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What vLLM and its server read of every shape."""
    folder = tmp_path_factory.mktemp("serving")
    out = folder / "read.json"
    command = [python(VLLM), "-m", "tests.zoo.serving", str(folder / "shapes"), str(out)]
    log = folder / "log"
    with log.open("w") as lines:
        done = subprocess.run(
            [*command, *(shape.name for shape in EXACT)],
            cwd=ROOT,
            env=dict(os.environ),
            stdout=lines,
            stderr=lines,
        )
    assert done.returncode == 0, log.read_text()[-3000:]
    return json.loads(out.read_text())


@pytest.mark.parametrize("name", [shape.name for shape in EXACT if shape.vllm])
def test_every_engine_reads_the_same_prompts(read_elsewhere, tmp_path, name):
    pen = Pen(BY_NAME[name], tmp_path)
    expected = prompts_read(pen.engine, pen.shape.special)
    assert read_elsewhere[name] == {"vllm": expected, "openai": expected}


def test_what_vllm_cannot_load_is_what_the_table_says(read_elsewhere):
    failed = {name for name, read in read_elsewhere.items() if isinstance(read["vllm"], str)}
    assert failed == {shape.name for shape in EXACT if not shape.vllm}
