"""The precision in which a trained model is written, and how much of its update inference sees.

At a learning rate of 5e-7 most updates are smaller than half the distance between two bfloat16
numbers, so rounding each weight to the nearest undoes them. Stochastic rounding (up with a
probability that grows with the distance, as in arXiv 1502.02551) keeps an update on average.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import torch

from lidr.components.shared.core.digest import seed_of
from lidr.components.shared.sizing.storage import FileType, export_type

HALF = (torch.bfloat16, torch.float16)


def inference_type(setting: str) -> torch.dtype:
    """Return the dtype of weights in inference for `model.dtype`; `auto` depends on the machine."""
    if setting == "auto":
        return torch.bfloat16 if torch.cuda.is_available() else torch.float32
    found: torch.dtype = getattr(torch, setting)
    return found


@dataclass(frozen=True)
class Rounding:
    """How trained weights are rounded for the files, and then again for inference.

    Attributes:
        file: type of the weights in the files.
        seen: type of weights in inference.
        has_half: whether the start model has 16-bit weights; its 32-bit ones then stay 32-bit.
        seed: of stochastic rounding.
    """

    file: FileType
    seen: torch.dtype
    has_half: bool
    seed: int

    @classmethod
    def of(
        cls, setting: str, seen: torch.dtype, types: Collection[torch.dtype], seed: int
    ) -> Rounding:
        """Return the rounding for a recipe's `training.export`.

        Args:
            setting: `float32`, `bfloat16` or `auto`: bfloat16 where inference and the start model
                both have it.
            seen: type of weights in inference.
            types: of the start model's tensors.
            seed: of stochastic rounding.
        """
        names = {str(each).removeprefix("torch.") for each in types}
        file = export_type(setting, str(seen).removeprefix("torch."), names)
        return cls(file, seen, any(each in types for each in HALF), seed)

    @property
    def exact(self) -> bool:
        """Whether inference sees the trained weights unrounded (float32 throughout)."""
        return self.file == "float32" and self.seen is torch.float32

    def stored_type(self, old: torch.dtype) -> torch.dtype:
        """Return the dtype in which a tensor is written, given its dtype in the start model."""
        if not old.is_floating_point:
            return old
        if self.file == "float32":
            return torch.float32 if old in HALF else old
        return old if self.has_half and old not in HALF else torch.bfloat16

    def stored(self, name: str, tensor: torch.Tensor, old: torch.dtype) -> torch.Tensor:
        """Return a tensor as it is written to a file; deterministic in seed, name and values."""
        kind = self.stored_type(old)
        if kind is torch.bfloat16 and tensor.dtype is torch.float32:
            return stochastically_rounded(tensor, seed_of(self.seed, name))
        return tensor.to(kind)

    def as_seen(self, stored: torch.Tensor) -> torch.Tensor:
        """Return a file's tensor after rounding to the inference dtype, as float32."""
        return stored.to(self.seen).float()


def stochastically_rounded(tensor: torch.Tensor, seed: int) -> torch.Tensor:
    """Round a float32 tensor to bfloat16, each number up or down at random, without bias.

    bfloat16 is the upper 16 bits of float32, so adding uniform 16-bit noise carries into them with
    the right probability. Numbers that bfloat16 can represent do not change.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 1 << 16, tensor.shape, generator=generator, dtype=torch.int32)
    words = tensor.cpu().contiguous().view(torch.int32) + noise
    return (words & -(1 << 16)).view(torch.float32).to(torch.bfloat16)


@dataclass
class UpdateTally:
    """Sums over tensors that measure how much of an update inference sees.

    Attributes:
        sums: shape (5,): weights changed in the files, weights changed as inference sees them,
            all weights, dot product of update and seen update, squared norm of the update.
    """

    sums: torch.Tensor = field(default_factory=lambda: torch.zeros(5, dtype=torch.float64))

    def add(
        self, old: torch.Tensor, new: torch.Tensor, stored: torch.Tensor, rounding: Rounding
    ) -> None:
        """Add one tensor: as in the start model, as trained, and as written."""
        if not old.is_floating_point():
            return
        before = old.float()
        update = new.float() - before
        seen = rounding.as_seen(stored) - rounding.as_seen(old)
        self.sums += torch.tensor(
            [
                int((stored.float() != before).sum()),
                int((seen != 0).sum()),
                old.numel(),
                float((update * seen).sum(dtype=torch.float64)),
                float(update.square().sum(dtype=torch.float64)),
            ],
            dtype=torch.float64,
        )


@dataclass(frozen=True)
class Exported:
    """How much of the training an export keeps.

    Attributes:
        changed: share of weights that inference sees changed, from 0 to 1.
        kept: share of the update that inference sees (its change projected onto the update); 1 is
            all.
        file: type of the weights in the files; "" where no weights are written.
    """

    changed: float
    kept: float = 1.0
    file: str = ""

    def warnings(self, seen: torch.dtype) -> list[str]:
        """Return a warning where inference sees less than half of the update."""
        if self.kept >= 0.5:
            return []
        name = str(seen).removeprefix("torch.")
        return [
            f"inference in {name} sees {self.kept:.0%} of what training has changed: the changes "
            f"are smaller than {name} can tell apart. The {self.file} weights keep them for the "
            "next iteration; set training.export to bfloat16 to round them so that inference sees "
            "the change on average, or raise training.learning_rate"
        ]
