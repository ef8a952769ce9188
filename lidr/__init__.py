"""lidr: language models teach themselves the languages they are weak in.

The import package of the folders `components` and `pipelines`, which are linked here.
"""

import os

# Turns off the telemetry of libraries, unless the user has set it.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
