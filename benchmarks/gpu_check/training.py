"""The train step on the card: speed, share of the card's arithmetic, and memory against the plan.

It runs with gradient checkpointing and passes in bfloat16. Tokens are those of a flat row, where a
prompt is there once for both sides.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transformers.trainer_utils import SaveStrategy

from benchmarks.gpu_check.card import GIB, now, peak_gib, reset_peak
from benchmarks.gpu_check.shapes import Result, Shape, config_of, uris_of
from lidr.components.shared.config.machine import TrainingSettings
from lidr.components.shared.config.profile import Zero
from lidr.components.shared.config.training import Lora, Training
from lidr.components.shared.forward.batches import token_budget
from lidr.components.shared.forward.tokens import TokenPair
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.sizing.architecture import read_architecture
from lidr.components.shared.sizing.flops import step_flops
from lidr.components.shared.sizing.memory import plan_for
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage
from lidr.components.train.assembly import (
    TrainingInputs,
    build_trainer,
    read_inputs,
    training_order,
)
from lidr.components.train.distributed.ranks import Ranks
from lidr.components.train.job import TrainingJob

RANK = 16
RATE = 1e-6


@dataclass(frozen=True)
class Way:
    """How a model is trained.

    Attributes:
        lora: adapters alone are trained.
        offload: DeepSpeed keeps the optimizer's state in the machine's memory.
    """

    lora: bool = False
    offload: bool = False

    @property
    def zero(self) -> Zero:
        """The profile's `training.zero`."""
        return Zero(stage=1, offload="optimizer") if self.offload else Zero()

    @property
    def adapters(self) -> Lora:
        """The recipe's `training.lora`."""
        return Lora(rank=RANK if self.lora else 0)


def flat(folder: Path, shape: Shape, way: Way) -> Result:
    """Measure the train step: everything but reading pairs, checkpoints and export."""
    if way.offload:
        _be_one_rank()
    job, inputs = inputs_of(folder, shape, way)
    reset_peak()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = build_trainer(job, inputs, [], Path(scratch))
        trainer.args.save_strategy = SaveStrategy.NO
        trainer.train()
    peak = peak_gib()
    steps = trainer.state.log_history[1:]
    seconds = sum(row["tokens"] / row["tokens_per_second"] for row in steps)
    began = now()
    trainer.margins(range(len(inputs.pairs.pairs)))
    reference = (now() - began) * len(steps) / shape.steps
    plan, host = _planned(job, shape, inputs.pairs.pairs)
    return {
        **rates(shape, way, pairs_of_steps(job, shape, inputs)[1:], seconds, reference),
        "peak_gib": peak,
        "plan_gib": plan,
        **({"plan_host_gib": host} if way.offload else {}),
        "loss": trainer.state.log_history[-1]["loss"],
    }


def _be_one_rank() -> None:
    """Set what torchrun would: DeepSpeed wants a process group also of one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    os.environ.update(group, MASTER_PORT=str(port))


def inputs_of(folder: Path, shape: Shape, way: Way) -> tuple[TrainingJob, TrainingInputs]:
    """Return the training of a shape in some way as the train step is told of it, and its inputs.

    Args:
        folder: in which `prepare` has written model and pairs.
        shape: the model's.
        way: how it is trained.
    """
    uris = uris_of(folder)
    job = TrainingJob(
        store=str(folder / "store"),
        stage="stages/train/measured",
        pairs=uris["pairs"],
        start=uris["model"],
        reference=uris["model"],
        training=Training(
            batch_size=shape.pairs,
            max_length=shape.length,
            learning_rate=RATE,
            precision="bfloat16",
            lora=way.adapters,
        ),
        seed=0,
        machine=TrainingSettings(gradient_checkpointing=True),
        zero=way.zero,
    )
    return job, read_inputs(job, Stage(open_store(job.store), job.stage), Ranks())


def _planned(job: TrainingJob, shape: Shape, pairs: Sequence[TokenPair]) -> tuple[float, float]:
    """Return the GiB that `lidr plan` expects on the card and in the machine, for these pairs."""
    launch = Launch(zero=job.zero, **job.machine.model_dump())
    plan = plan_for(config_of(shape).to_dict(), job.training, launch)
    share = sum(len(pair.prompt) for pair in pairs) / sum(pair.tokens for pair in pairs)
    memory = replace(plan, tokens=token_budget(0, pairs), prompt_share=share).memory()
    return round(memory.peak / GIB, 2), round(memory.host / GIB, 2)


def pairs_of_steps(job: TrainingJob, shape: Shape, inputs: TrainingInputs) -> list[list[TokenPair]]:
    """Return the pairs of each optimizer step, in the train step's order."""
    pairs = inputs.pairs.pairs
    ordered = [pairs[row] for row in training_order(len(pairs), 1.0, job.seed)]
    return [ordered[at : at + shape.pairs] for at in range(0, len(ordered), shape.pairs)]


def rates(
    shape: Shape, way: Way, steps: list[list[TokenPair]], seconds: float, reference: float
) -> Result:
    """Return the speed of some steps, alone and with the reference model's pass over them."""
    pairs = [pair for step in steps for pair in step]
    tokens = sum(pair.tokens for pair in pairs)
    return {
        "tokens_per_second": round(tokens / seconds, 1),
        "tokens_per_second_with_reference": round(tokens / (seconds + reference), 1),
        "flops_per_second": _useful_flops(shape, way, pairs) / seconds,
    }


def _useful_flops(shape: Shape, way: Way, pairs: Sequence[TokenPair]) -> float:
    """Return the model FLOPs of training on pairs; recomputation and padding are not counted."""
    tokens = sum(pair.tokens for pair in pairs)
    seen = 0.0
    for pair in pairs:
        prompt, chosen, rejected = map(len, (pair.prompt, pair.chosen, pair.rejected))
        seen += (prompt + chosen) ** 2 / 2 + rejected * prompt + rejected**2 / 2
    rows = sum(len(pair.chosen) + len(pair.rejected) for pair in pairs)
    architecture = read_architecture(config_of(shape).to_dict())
    return step_flops(architecture, tokens, 2 * seen / tokens, rows, lora=way.lora)
