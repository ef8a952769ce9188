"""DeepSpeed's float32 master weights, for passes with bfloat16 weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from lidr.components.shared.core.events import emit
from lidr.components.shared.models.sources import ModelFiles
from lidr.components.train.export.tensors import is_float32, read_tensor, tensor_files


def master_weights(start: ModelFiles) -> list[TrainerCallback]:
    """Return the callback that sets the master weights; [] where no file holds them.

    Args:
        start: the model that training starts from.
    """
    if not is_float32(start.folder):
        return []
    if start.adapter:
        emit(
            "warning",
            message="model.adapter is in no file of the weights, so these start rounded to "
            "bfloat16; to avoid that, name a model with the adapter merged into its weights, or "
            "set training.precision to float32",
        )
        return []
    return [MasterWeights(start.folder)]


class MasterWeights(TrainerCallback):
    """Sets the master weights from a model's files; DeepSpeed only has the weights in bfloat16.

    Args:
        folder: of the model that training starts from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Set the master weights, unless a checkpoint did; every rank calls this."""
        if state.global_step:
            return
        from deepspeed.utils import safe_set_full_fp32_param

        files = tensor_files(self._folder)
        packed = 0
        for name, parameter in given["model"].named_parameters():
            if name in files:
                value = read_tensor(files[name], name).float().to(parameter.device)
                safe_set_full_fp32_param(parameter, value)
            else:
                packed += 1
        if packed:
            emit(
                "warning",
                message=f"{packed} packed weights start rounded to bfloat16; to avoid that, train "
                "in one process without DeepSpeed, or set training.precision to float32",
            )
