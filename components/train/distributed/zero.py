"""DeepSpeed's ZeRO: its configuration from the profile, and what sharded models need around it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from lidr.components.shared.config.profile import Zero
from lidr.components.train.distributed.ranks import meet


def deepspeed_config(zero: Zero, world: int, bfloat16: bool) -> dict[str, Any] | None:
    """Return DeepSpeed's configuration; None where it is not needed.

    There is no optimizer in it: torch's AdamW does the steps, as in one process, and nothing is
    compiled. `auto` stands for what the trainer's arguments or the model's width say.

    Args:
        zero: the profile's settings.
        world: number of ranks.
        bfloat16: whether weights are held in bfloat16 (the optimizer keeps float32 ones).
    """
    stage = zero.stage_among(world)
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
            # The export gathers one tensor after the other; a checkpoint holds shards.
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
    """Import DeepSpeed and let it adopt torch's process group, as torchrun describes it."""
    os.environ.setdefault("LOCAL_RANK", "0")  # a single rank has forgotten it
    meet()
    with _without_mlflow():
        import deepspeed

    if not torch.cuda.is_available():
        # Or it builds a C++ extension for shared memory, for two minutes, where a compiler is.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False)
    _tell_accelerate(backend)


@contextmanager
def _without_mlflow() -> Iterator[None]:
    """Let DeepSpeed believe that MLflow is absent: its autotuner alone would use it.

    Importing MLflow takes as long as the rest of DeepSpeed, in every rank.
    """
    if "mlflow" in sys.modules:
        yield
        return
    sys.modules["mlflow"] = None  # type: ignore[assignment]  # what makes an import fail
    try:
        yield
    finally:
        del sys.modules["mlflow"]


def leave_deepspeed_out() -> None:
    """Keep accelerate from importing DeepSpeed, for seconds, to see that a model is none of its."""
    from accelerate.utils import other

    other.is_deepspeed_available = lambda: False


def _tell_accelerate(backend: str) -> None:
    """Fix accelerate's view of the ranks: left alone, it takes one without GPUs for a single rank.

    The trainer's arguments take this view over (`use_configured_state`).
    """
    from accelerate import PartialState
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    PartialState(backend=backend)
    del os.environ["ACCELERATE_USE_DEEPSPEED"]


def is_sharded(model: Any) -> bool:
    """Tell whether a model's weights are spread over the ranks (stage 3)."""
    return any(hasattr(parameter, "ds_id") for parameter in model.parameters())


@contextmanager
def whole(parameters: Sequence[Any], *, change: bool = False) -> Iterator[None]:
    """Have these parameters whole in every rank for a while.

    Args:
        parameters: of a model.
        change: every rank sets them to the same values meanwhile.
    """
    sharded = [parameter for parameter in parameters if hasattr(parameter, "ds_id")]
    if not sharded:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(sharded, modifier_rank=0 if change else None):
        yield


def full(parameter: Any) -> torch.Tensor:
    """Return a parameter whole, in the optimizer's precision; every rank must call this.

    Where passes work with bfloat16 weights, DeepSpeed's optimizer steps float32 ones.
    """
    sharded = hasattr(parameter, "ds_id")
    if parameter.requires_grad and (sharded or hasattr(parameter, "_hp_mapping")):
        from deepspeed.utils import safe_get_full_fp32_param

        found = safe_get_full_fp32_param(parameter)
        if found is not None:
            return found.detach()
    with whole([parameter]):
        return parameter.detach().clone() if sharded else parameter.detach()


@contextmanager
def running(model: Any, config: dict[str, Any] | None) -> Iterator[None]:
    """Let a sharded model run before it is trained: each layer is gathered as it is called.

    Args:
        model: a model as it was loaded; one that is not sharded runs as it is.
        config: as `deepspeed_config` gives it.
    """
    if not is_sharded(model):
        yield
        return
    import deepspeed

    sharding = config["zero_optimization"] if config else {}
    plain = {
        "train_micro_batch_size_per_gpu": 1,
        "bf16": config["bf16"] if config else {},
        "zero_optimization": {
            key: value
            for key, value in sharding.items()
            if key != "offload_optimizer" and value != "auto"
        },
    }
    engine, *_ = deepspeed.initialize(model=model, config=plain)
    try:
        yield
    finally:
        engine.destroy()
