"""The weights that DeepSpeed's optimizer steps, where passes work with bfloat16 ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from lidr.components.shared.core.events import emit
from lidr.components.train.export.tensors import read_tensor, tensor_places


class MasterWeights(TrainerCallback):
    """Starts from the float32 weights of a model's files, of which DeepSpeed keeps bfloat16 alone.

    Args:
        folder: of the model that training starts from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Set the optimizer's weights, unless a checkpoint has done so; every rank calls this."""
        if state.global_step:
            return
        from deepspeed.utils import safe_set_full_fp32_param

        places = tensor_places(self._folder)
        packed = 0
        for name, parameter in given["model"].named_parameters():
            if name in places:
                value = read_tensor(places[name], name).float().to(parameter.device)
                safe_set_full_fp32_param(parameter, value)
            else:
                packed += 1
        if packed:
            emit(
                "warning",
                message=f"{packed} packed weights start rounded to bfloat16: in one process "
                "without DeepSpeed, or with training.precision float32, they do not",
            )
