"""Whether a training run fits the machines, before they cost anything: memory by formula.

Everything follows from config.json, the recipe and the profile; nothing is loaded. Bytes are those
of one rank. The formulas are checked against measured runs (tests/unit/shared/sizing).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lidr.components.shared.config.profile import Offload, Zero
from lidr.components.shared.config.training import Training
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.sizing.activations import activation_bytes, logit_bytes, passing_bytes
from lidr.components.shared.sizing.architecture import (
    Architecture,
    read_architecture,
    text_settings,
)

GIB = 1 << 30

RESERVED_BYTES = int(1.5 * GIB)
"""Of an accelerator, for CUDA's context and NCCL's buffers."""

PROCESS_BYTES = GIB
"""Of a rank's process before the model is loaded: Python with torch, transformers and DeepSpeed
(0.92 GiB measured). Without accelerators they take from the same memory as training."""

FRAGMENTED_SHARE = 0.05
"""Share of an accelerator's memory that torch's allocator cannot use."""

MIN_MICRO_BATCH_TOKENS = 2048
"""As in components/shared/forward/batches.py, which would import torch."""

PROMPT_SHARE = 1 / 3
"""Share of a micro-batch's tokens that are prompts, where it is not known."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank.

    Attributes:
        weights: those of the passes, float32 master weights and gathered shards.
        gradients: with communication buckets.
        optimizer: Adam's two moments.
        activations: kept by one micro-batch for its backward pass.
        logits: of the rows that exist at once, with the head's gradient and cast weights.
        step: temporary memory of the optimizer's step, when activations are freed.
        host: offloaded to the node's memory.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    step: int
    host: int

    @property
    def peak(self) -> int:
        """Most bytes that the accelerator holds at once."""
        passing = self.activations + self.logits
        return self.weights + self.gradients + self.optimizer + max(passing, self.step)

    def __str__(self) -> str:
        largest = (
            f"optimizer's step {self.step / GIB:.1f}"
            if self.step > self.activations + self.logits
            else f"activations {self.activations / GIB:.1f}, logits {self.logits / GIB:.1f}"
        )
        host = f", and {self.host / GIB:.1f} GiB of its node's memory" if self.host else ""
        return (
            f"{self.peak / GIB:.1f} GiB (weights {self.weights / GIB:.1f}, gradients "
            f"{self.gradients / GIB:.1f}, optimizer {self.optimizer / GIB:.1f}, {largest}){host}"
        )


@dataclass(frozen=True)
class MemoryPlan:
    """One way to train a model.

    Attributes:
        architecture: the model's shape.
        tokens: of one micro-batch on one rank, prompts and both sides, without padding.
        nodes: machines.
        ranks_per_node: processes, each with one accelerator.
        zero: what the ranks shard, and what they offload to the nodes' memory.
        bfloat16: passes run in bfloat16.
        checkpointing: activations are recomputed in the backward pass.
        lora_rank: of adapters; 0 trains all weights.
        gpu: the ranks have accelerators; otherwise they use the machine's memory.
        prompt_share: share of the micro-batch's tokens that are prompts.
    """

    architecture: Architecture
    tokens: int
    nodes: int = 1
    ranks_per_node: int = 1
    zero: Zero = field(default_factory=Zero)
    bfloat16: bool = True
    checkpointing: bool = False
    lora_rank: int = 0
    gpu: bool = True
    prompt_share: float = PROMPT_SHARE

    @property
    def world_size(self) -> int:
        """Ranks in all."""
        return self.nodes * self.ranks_per_node

    @property
    def stage(self) -> int:
        """The ZeRO stage in force."""
        return self.zero.effective_stage(self.world_size)

    @property
    def trained(self) -> int:
        """Number of trained parameters."""
        if self.lora_rank:
            return self.architecture.lora_parameters(self.lora_rank)
        return self.architecture.parameters

    @property
    def precision(self) -> str:
        """Of the passes, named as in `Architecture.block_bytes`."""
        if not self.bfloat16:
            return "float32"
        return "bfloat16" if self.stage or self.lora_rank else "autocast"

    def memory(self) -> Memory:
        """Return the bytes that one rank needs."""
        optimizer = 8 * self._share(self.trained, 1)
        masters = self._masters()
        host = 0
        if self.zero.offload != "none":  # float32 gradients go with the optimizer
            host += optimizer + masters + 4 * self._share(self.trained, 1)
            optimizer = masters = 0
        weights = self._element * self._share(self.architecture.parameters, 3)
        if self.zero.offload == "all":
            host, weights = host + weights, 0
        extra = self.trained * (4 if self.bfloat16 else 0) if self.lora_rank else 0
        return Memory(
            weights=weights + masters + self._gathered() + extra,
            gradients=self._gradients(),
            optimizer=optimizer,
            activations=self._activations(),
            logits=logit_bytes(self.architecture, self.tokens, self.precision, not self.lora_rank),
            step=self._step(),
            host=host,
        )

    def fits(self, memory: float) -> bool:
        """Return whether a rank fits an accelerator with this memory, in bytes."""
        return self.memory().peak <= usable_bytes(memory)

    def nearest_fit(self, memory: float) -> MemoryPlan | None:
        """Return the plan nearest to this one, by what it costs in speed, that fits; or None."""
        fitting = (plan for plan in self._variants() if plan.fits(memory))
        return min(fitting, key=lambda plan: plan._cost(), default=None)

    def changes_to(self, other: MemoryPlan) -> list[str]:
        """Return another plan's settings that differ from this one's, as `name=value`."""
        before, after = self._settings(), other._settings()
        return [f"{name}={value}" for name, value in after.items() if value != before[name]]

    def _settings(self) -> dict[str, str]:
        return {
            "training.zero.stage": str(self.stage),
            "training.zero.offload": self.zero.offload,
            "training.gradient_checkpointing": str(self.checkpointing).lower(),
        }

    @property
    def _element(self) -> int:
        """Bytes of a weight as passes read it."""
        return 2 if self.precision == "bfloat16" else 4

    def _share(self, parameters: int, stage: int) -> int:
        """Return how many of some parameters a rank holds, if sharded from this ZeRO stage on."""
        return -(-parameters // self.world_size) if self.stage >= stage else parameters

    def _masters(self) -> int:
        """Bytes of DeepSpeed's float32 master weights, which it also keeps for float32 weights."""
        return 4 * self._share(self.trained, 1) if self.stage else 0

    def _gathered(self) -> int:
        """Bytes of weights that stage 3 gathers at once: two blocks and the embeddings."""
        if self.stage < 3:
            return 0
        shape = self.architecture
        return self._element * (2 * shape.block + shape.embedding * (1 if shape.tied else 2))

    def _gradients(self) -> int:
        if not self.stage:
            return 4 * self.trained
        element = self._element
        own = 0 if self.zero.offload != "none" else element * self._held_gradients()
        # `auto` makes a bucket as large as the square of the width; overlap_comm uses two of them.
        bucket = min(self.architecture.hidden**2, self.trained)
        return own + (2 if self.gpu else 1) * element * bucket

    def _held_gradients(self) -> int:
        """Number of gradients that a rank keeps.

        At stage 2 in float32 DeepSpeed keeps those of whole parameters, even of one that two ranks
        share, once for this micro-batch and once for those before it (`grads_in_partition`).
        """
        share = self._share(self.trained, 2)
        if self.stage != 2 or self.bfloat16:
            return share
        shape = self.architecture
        largest = 0 if self.lora_rank else max(shape.embedding, shape.hidden * shape.intermediate)
        return 2 * min(self.trained, share + largest)

    def _activations(self) -> int:
        shape, tokens, precision = self.architecture, self.tokens, self.precision
        operands = shape.operands(self.prompt_share, gpu=self.gpu)
        kept = activation_bytes(
            shape, tokens, precision, operands, checkpointing=self.checkpointing
        )
        return kept + passing_bytes(shape, tokens, precision)

    def _step(self) -> int:
        """Temporary bytes of the optimizer's step: on a GPU torch handles all weights at once."""
        together = self.gpu and self.zero.offload == "none"
        return 4 * self._share(self.trained, 1) if together else 0

    def _variants(self) -> Iterator[MemoryPlan]:
        offloads: tuple[Offload, ...] = ("none", "optimizer", "all")
        offloads = offloads[offloads.index(self.zero.offload) :]
        checkpointings = (True,) if self.checkpointing else (False, True)
        for stage, offload, checkpointing in itertools.product(
            range(self.stage, 4), offloads, checkpointings
        ):
            if (offload != "none" and not stage) or (offload == "all" and stage < 3):
                continue
            zero = Zero(stage=stage, offload=offload)
            yield replace(self, zero=zero, checkpointing=checkpointing)

    def _cost(self) -> float:
        """Rank by slowdown: offloading, recomputation, ZeRO-3."""
        slower = {"none": 0.0, "optimizer": 1.0, "all": 2.0}[self.zero.offload]
        slower += 0.33 * self.checkpointing
        return slower + {0: 0.0, 1: 0.01, 2: 0.02, 3: 0.2}[self.stage]


def plan_for(
    config: Mapping[str, Any], settings: Training, launch: Launch, *, gpu: bool = True
) -> MemoryPlan:
    """Return the plan of a model's training: its longest micro-batch, on the profile's machines.

    The longest pair that the recipe's max_length allows has two sides of that length and no prompt;
    such a pair is a micro-batch by itself, however few tokens a micro-batch may have.

    Args:
        config: the model's config.json.
        settings: the recipe's training section.
        launch: from the profile.
        gpu: whether the ranks have accelerators; without them `precision: auto` is float32.
    """
    return MemoryPlan(
        architecture=read_architecture(dict(config)),
        tokens=max(batch_bounds(config, settings, launch)),
        nodes=launch.nodes,
        ranks_per_node=launch.ranks_per_node,
        zero=launch.zero,
        bfloat16=settings.in_bfloat16(gpu=gpu),
        checkpointing=launch.gradient_checkpointing,
        lora_rank=settings.lora.rank,
        gpu=gpu,
    )


def batch_bounds(config: Mapping[str, Any], settings: Training, launch: Launch) -> tuple[int, int]:
    """Return the tokens of a micro-batch, and those of the longest pair."""
    context = text_settings(config).get("max_position_embeddings")
    length = min(settings.max_length, context or settings.max_length)
    return launch.micro_batch_tokens or MIN_MICRO_BATCH_TOKENS, 2 * length


def usable_bytes(memory: float) -> float:
    """Return how many of an accelerator's bytes a training run can use."""
    return memory * (1 - FRAGMENTED_SHARE) - RESERVED_BYTES
