"""Build the trainer from a job: models, reference log-probabilities, row order, settings."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainingArguments

from lidr.components.shared.core.device import best_device
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.forward.batches import Layout
from lidr.components.shared.forward.loading import free_models, load_chat, load_model
from lidr.components.shared.forward.scoring import install_scoring
from lidr.components.shared.forward.tokens import TokenPairs
from lidr.components.shared.models.admission import check_model
from lidr.components.shared.models.sources import ModelFiles, base_stage, model_files
from lidr.components.shared.store.stage import Stage
from lidr.components.train.distributed.ranks import Ranks
from lidr.components.train.distributed.zero import (
    deepspeed_config,
    deepspeed_inference,
    hide_deepspeed,
    start_deepspeed,
)
from lidr.components.train.export.adapter import read_adapter
from lidr.components.train.export.masters import master_weights
from lidr.components.train.export.model import check_names
from lidr.components.train.forward.lora import add_adapters
from lidr.components.train.forward.reference import (
    Parts,
    compute_logps,
    meter_of,
    reference_logps,
    reference_stage,
)
from lidr.components.train.pairs import load_pairs
from lidr.components.train.preference import PreferenceTrainer
from lidr.components.train.throughput import work_of

if TYPE_CHECKING:
    from lidr.components.train.job import TrainingJob


@dataclass(frozen=True)
class TrainingInputs:
    """The checked inputs of a training run.

    Attributes:
        start: the start model's files.
        reference_model: the reference model's files; `start` itself where both are the same model.
        pairs: the tokenized pairs.
        reference: the stage of the reference log-probabilities, done or not.
        base: URI of the stage that holds the start model's weights.
        bfloat16: whether passes run in bfloat16.
        ranks: the ranks of this run.
    """

    start: ModelFiles
    reference_model: ModelFiles
    pairs: TokenPairs
    reference: Stage
    base: str
    bfloat16: bool
    ranks: Ranks


def read_inputs(job: TrainingJob, stage: Stage, ranks: Ranks) -> TrainingInputs:
    """Read and check a run's inputs; each rank does so alone, without collectives.

    Raises:
        BadInput: a model, the pairs or the profile do not allow training.
    """
    arguments = job.chat.arguments
    start = model_files(job.start, arguments=arguments)
    reference_model = (
        start if job.reference == job.start else model_files(job.reference, arguments=arguments)
    )
    check_model(start.folder, arguments=arguments)
    if not job.training.lora.merge and start.adapter:
        read_adapter(start.adapter)  # raises where a new adapter cannot be added to this kind
    if job.zero.stage == 3 and (start.adapter or reference_model.adapter):
        raise BadInput(
            "the start or the reference model has an adapter, which cannot be added to weights "
            "that are sharded over ranks",
            remedy="Set training.zero.stage to 2 in the profile; or set training.lora.merge to "
            "true, and name a model.source that needs no adapter.",
        )
    chat = load_chat(job.chat, start.folder, reference_model.folder)
    pairs = load_pairs(job.pairs, chat, start.folder, job.training)
    bfloat16 = job.training.in_bfloat16(gpu=best_device() == "cuda")
    name = "bfloat16" if bfloat16 else "float32"
    reference = reference_stage(stage.store, job.pairs, job.reference, pairs, name)
    return TrainingInputs(
        start, reference_model, pairs, reference, base_stage(job.start), bfloat16, ranks
    )


def build_trainer(
    job: TrainingJob, inputs: TrainingInputs, callbacks: list[TrainerCallback], scratch: Path
) -> PreferenceTrainer:
    """Return the trainer, with the model loaded and the reference log-probabilities computed.

    Args:
        job: what to train.
        inputs: from `read_inputs`.
        callbacks: further callbacks of the trainer.
        scratch: folder for this rank's checkpoints.
    """
    settings, pairs = job.training, inputs.pairs.pairs
    order = training_order(len(pairs), settings.epochs, job.seed)
    # Made before any model is loaded: with ZeRO-3 transformers then shards models on loading.
    arguments = _arguments(job, len(order), inputs, scratch)
    reference = None
    if job.reference != job.start:
        reference = _reference(job, inputs, arguments.deepspeed)
        free_models()
    base = _start_model(job, inputs)
    with deepspeed_inference(base, arguments.deepspeed):
        layout = install_scoring(base, pairs, bfloat16=inputs.bfloat16)
        if reference is None:
            reference = _reference(job, inputs, arguments.deepspeed, (base, layout))
    model = add_adapters(base, settings.lora, job.seed) if settings.lora.rank else base
    if settings.lora.merge:
        check_names(model, inputs.start.folder, merged=inputs.start.adapter is not None)
    if arguments.deepspeed and inputs.bfloat16 and not settings.lora.rank:
        callbacks = [*callbacks, *master_weights(inputs.start)]
    return PreferenceTrainer(
        pairs=pairs,
        order=order,
        reference=reference,
        layout=layout,
        settings=settings,
        machine=job.machine,
        work=work_of(base),
        ranks=inputs.ranks,
        model=model,
        args=arguments,
        callbacks=callbacks,
    )


def _start_model(job: TrainingJob, inputs: TrainingInputs) -> Any:
    # Frozen weights need no more precision than the passes, unless the start model's adapter is
    # merged into them and the result is written.
    lora, start = job.training.lora, inputs.start
    frozen = inputs.bfloat16 and lora.rank and not (lora.merge and start.adapter)
    return load_model(start, torch.bfloat16 if frozen else torch.float32)


def _reference(
    job: TrainingJob,
    inputs: TrainingInputs,
    deepspeed: dict[str, Any] | None,
    loaded: tuple[Any, Layout] | None = None,
) -> torch.Tensor:
    """Return the reference log-probabilities, (pairs, 2), computing those that the store lacks.

    Args:
        job: what to train.
        inputs: from `read_inputs`.
        deepspeed: DeepSpeed's configuration, if any.
        loaded: the reference model and its layout, if already in memory.
    """
    pairs, ranks, tokens = inputs.pairs.pairs, inputs.ranks, job.machine.micro_batch_tokens

    def scores(model: Any, layout: Layout, parts: Parts) -> Iterator[torch.Tensor]:
        parts = list(parts)
        meter = meter_of(parts, layout, tokens, ranks, "reference pairs")
        for part in parts:
            yield compute_logps(model, part, layout, tokens, inputs.bfloat16, ranks, meter)

    def compute(parts: Parts) -> Iterator[torch.Tensor]:
        if loaded is not None:
            yield from scores(*loaded, parts)
            return
        model = load_model(inputs.reference_model)
        with deepspeed_inference(model, deepspeed):
            yield from scores(model, install_scoring(model, pairs, bfloat16=inputs.bfloat16), parts)

    return reference_logps(inputs.reference, pairs, compute, ranks)


def training_order(pairs: int, epochs: float, seed: int) -> list[int]:
    """Return row numbers in training order; each epoch is reshuffled, a fractional last one cut."""
    rng = random.Random(seed)
    total = max(1, round(pairs * epochs))
    order: list[int] = []
    while len(order) < total:
        order += rng.sample(range(pairs), pairs)
    return order[:total]


def _arguments(job: TrainingJob, examples: int, inputs: TrainingInputs, scratch: Path) -> Any:
    settings = job.training
    config = deepspeed_config(job.zero, inputs.ranks.world_size, inputs.bfloat16)
    if config:
        start_deepspeed()
    else:
        hide_deepspeed()
    steps = -(-examples // settings.batch_size)
    return TrainingArguments(
        output_dir=str(scratch),
        seed=job.seed % 2**32,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=round(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        num_train_epochs=1,  # training_order already holds all epochs
        per_device_train_batch_size=settings.batch_size,
        bf16=inputs.bfloat16,
        use_cpu=best_device() == "cpu",  # else transformers refuses bfloat16 on a CPU
        deepspeed=config,
        accelerator_config={"use_configured_state": bool(config)},
        gradient_checkpointing=job.machine.gradient_checkpointing,
        save_strategy="steps",
        save_steps=job.machine.checkpoint_steps,
        logging_steps=1,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
    )
