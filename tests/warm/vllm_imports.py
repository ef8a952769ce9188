"""Everything that vLLM, its server and its core take long to import, imported once."""

from __future__ import annotations

import torch
import vllm.entrypoints.openai.api_server
import vllm.model_executor.models.llama
import vllm.v1.engine.core
import vllm.v1.worker.cpu_worker  # noqa: F401

import lidr.components.shared.engines.vllm_engine  # noqa: F401

torch.set_num_threads(1)
