"""What training and generation do on this machine's GPU, measured in one run (docs/training.md)."""

from __future__ import annotations

import sys
from importlib.util import find_spec

NEEDED = ("torch", "transformers", "peft", "accelerate", "safetensors", "pydantic", "pyarrow")
"""Libraries that it cannot do without; all else of lidr's may be absent."""

if lacking := [name for name in NEEDED if find_spec(name) is None]:
    print(
        f"gpu_check needs {', '.join(lacking)}. docs/training.md says how to bring wheels to a "
        "machine without a network.",
        file=sys.stderr,
    )
    sys.exit(2)
