"""DeepSpeed ZeRO: its configuration from the profile, and access to sharded parameters."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from lidr.components.shared.config.profile import Zero
from lidr.components.train.distributed.ranks import init_process_group


def deepspeed_config(zero: Zero, world_size: int, bfloat16: bool) -> dict[str, Any] | None:
    """Return DeepSpeed's configuration; None for a single rank at ZeRO stage 0.

    The configuration names no optimizer: torch's AdamW is used, as in one process, so no C++
    extension has to be compiled. `auto` values are filled in from the trainer's arguments or the
    model's hidden size.

    Args:
        zero: the profile's settings.
        world_size: number of ranks.
        bfloat16: whether weights are in bfloat16 (the optimizer keeps float32 master weights).
    """
    stage = zero.effective_stage(world_size)
    if not stage:
        return None
    sharding: dict[str, Any] = {
        "stage": stage,
        "contiguous_gradients": True,
        "overlap_comm": torch.cuda.is_available(),
        "reduce_bucket_size": "auto",
    }
    if stage == 3:
        sharding |= {
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            # Never all at once: the export gathers tensor by tensor, a checkpoint holds shards.
            "stage3_gather_16bit_weights_on_model_save": False,
        }
    place = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if zero.offload != "none":
        sharding["offload_optimizer"] = place
    if zero.offload == "all":
        sharding["offload_param"] = place
    config: dict[str, Any] = {
        "zero_optimization": sharding,
        "zero_force_ds_cpu_optimizer": False,
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": bfloat16},
    }
    if bfloat16:
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    return config


def start_deepspeed() -> None:
    """Import DeepSpeed and make it use torch's process group; creates one if there is none."""
    os.environ.setdefault("LOCAL_RANK", "0")  # `join_ranks` removes it from a single rank
    init_process_group()
    with _without_mlflow():
        import deepspeed

    if not torch.cuda.is_available():
        # Otherwise it spends two minutes compiling a C++ extension, where there is a compiler.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False)
    _set_accelerate_state(backend)


@contextmanager
def _without_mlflow() -> Iterator[None]:
    """Hide MLflow from DeepSpeed, which only needs it for its autotuner.

    Importing MLflow would double the time that DeepSpeed takes to import, in every rank.
    """
    if "mlflow" in sys.modules:
        yield
        return
    sys.modules["mlflow"] = None  # type: ignore[assignment]  # makes the import fail
    try:
        yield
    finally:
        del sys.modules["mlflow"]


def hide_deepspeed() -> None:
    """Keep accelerate from importing DeepSpeed, which takes seconds, where no model needs it."""
    from accelerate.utils import other

    other.is_deepspeed_available = lambda: False


def _set_accelerate_state(backend: str) -> None:
    """Set accelerate's state: without GPUs it would assume a single rank.

    The trainer's arguments reuse this state (`use_configured_state`).
    """
    from accelerate import PartialState
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    PartialState(backend=backend)
    del os.environ["ACCELERATE_USE_DEEPSPEED"]


@contextmanager
def gathered(parameters: Sequence[Any], *, change: bool = False) -> Iterator[None]:
    """Gather sharded parameters in full on every rank, inside the `with` block.

    Args:
        parameters: of a model; those that are not sharded stay as they are.
        change: whether the block changes them; rank 0's values are kept.
    """
    sharded = [parameter for parameter in parameters if hasattr(parameter, "ds_id")]
    if not sharded:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(sharded, modifier_rank=0 if change else None):
        yield


def full_tensor(parameter: Any) -> torch.Tensor:
    """Return the full tensor of a parameter; every rank must call this.

    It is the optimizer's float32 master weight, if DeepSpeed keeps one.
    """
    sharded = hasattr(parameter, "ds_id")
    if parameter.requires_grad and (sharded or hasattr(parameter, "_hp_mapping")):
        from deepspeed.utils import safe_get_full_fp32_param

        found = safe_get_full_fp32_param(parameter)
        if found is not None:
            return found.detach()
    with gathered([parameter]):
        return parameter.detach().clone() if sharded else parameter.detach()


@contextmanager
def deepspeed_inference(model: Any, config: dict[str, Any] | None) -> Iterator[None]:
    """Make a sharded model usable before training: each layer is gathered when it is called.

    Args:
        model: as it was loaded; a model that ZeRO stage 3 does not shard stays as it is.
        config: from `deepspeed_config`.
    """
    if not config or not any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        yield
        return
    import deepspeed

    plain = {
        "train_micro_batch_size_per_gpu": 1,
        "bf16": config["bf16"],
        "zero_optimization": {
            key: value
            for key, value in config["zero_optimization"].items()
            if key != "offload_optimizer" and value != "auto"
        },
    }
    engine, *_ = deepspeed.initialize(model=model, config=plain)
    try:
        yield
    finally:
        engine.destroy()
