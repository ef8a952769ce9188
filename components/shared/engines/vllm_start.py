"""Starting vLLM: its environment, an adapter's arguments, its errors, and noticing a dead core."""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Event, Thread
from typing import Any, get_args

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.gpu import gpu_present

_WATCH_SECONDS = 0.5


def lora_arguments(adapter: Path | None) -> dict[str, object]:
    """Return the engine's arguments for an adapter; none without one."""
    if adapter is None:
        return {}
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": vllm_lora_rank(adapter)}


def vllm_lora_rank(adapter: Path) -> int:
    """Return the smallest of vLLM's maximum LoRA ranks that is enough for an adapter.

    Raises:
        BadInput: the adapter's rank, or that of one of its layers, is above all of them.
    """
    from vllm.config.lora import MaxLoRARanks

    config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    allowed: int | None = next((each for each in get_args(MaxLoRARanks) if each >= rank), None)
    if allowed is None:
        raise BadInput(
            f"vLLM serves adapters up to rank {max(get_args(MaxLoRARanks))}, this one has {rank}",
            file=adapter / "adapter_config.json",
            remedy="Merge it into the weights: training.lora.merge true, or PEFT's "
            "merge_and_unload.",
        )
    return allowed


def lora_request(adapter: Path | None) -> Any:
    """Return the LoRARequest with which requests use the adapter; None without one."""
    from vllm.lora.request import LoRARequest

    return adapter and LoRARequest("adapter", 1, str(adapter))


def request_errors() -> tuple[type[Exception], ...]:
    """Return what vLLM raises for a request or setting that it refuses; its core goes on.

    Most of vLLM's refusals (0.32) are no ValueErrors, a few still are.
    """
    from vllm.exceptions import VLLMClientError

    return ValueError, VLLMClientError


def start_errors() -> tuple[type[Exception], ...]:
    """Return what vLLM raises where it cannot start."""
    return RuntimeError, AssertionError, *request_errors()


def wake_when_core_dies(core: Any, closed: Event) -> None:
    """End a wait for the core's output when the core's process has died.

    vLLM's client (0.32) notices the death, but a wait for output never returns. Setting `closed`
    ends the watch.
    """
    from vllm.v1.engine.core_client import SyncMPClient
    from vllm.v1.engine.exceptions import EngineDeadError

    if not isinstance(core, SyncMPClient):
        return
    resources, outputs = core.resources, core.outputs_queue

    def watch() -> None:
        while not closed.wait(_WATCH_SECONDS):
            if resources.engine_dead:
                outputs.put_nowait(EngineDeadError())
                return

    Thread(target=watch, daemon=True, name="lidr-engine-watch").start()


def prepare_environment() -> None:
    """Set environment variables that vLLM reads at import, unless the user has set them."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    if not gpu_present():
        # On a GPU, the core is a process of its own, so that it computes while this one renders and
        # writes. On a CPU, the two would compete for the same cores.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_TARGET_DEVICE", "cpu")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
