"""What the train step is measured against: the same pairs in padded batches, and TRL itself.

Both run with gradient checkpointing and passes in bfloat16, and their tokens are counted as the
train step's: a prompt once for both sides, although they compute it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_check.card import device, now, peak_gib, reset_peak
from benchmarks.gpu_check.shapes import Result, Shape, uris_of
from benchmarks.gpu_check.training import RANK, RATE, Way, inputs_of, pairs_of_steps, rates
from lidr.components.shared.forward.loading import load_model
from lidr.components.shared.forward.tokens import TokenPair
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.records.schema import PreferencePair
from lidr.components.shared.store.stage import open_stage
from lidr.components.train.forward.lora import add_adapters
from lidr.components.train.forward.loss import pair_losses

_PAIRS = 8
"""Of a padded batch, as TRL's default; halved until they fit."""


def padded(folder: Path, shape: Shape, way: Way) -> Result:
    """Measure padded batches: a row per side, logits of every token, reference before training."""
    return _halving(lambda size: _padded(folder, shape, way, size))


def trl(folder: Path, shape: Shape, way: Way) -> Result:
    """Measure TRL's DPOTrainer with its defaults, whose reference pass is part of each step."""
    return _halving(lambda size: _trl(folder, shape, way, size))


def _halving(measure: Callable[[int], Result]) -> Result:
    """Measure with a batch of pairs, with half of it where memory does not suffice, and so on."""
    size = _PAIRS
    while True:
        try:
            return {**measure(size), "batch_pairs": size}
        except torch.OutOfMemoryError:
            size //= 2
            if not size:
                raise
        torch.cuda.empty_cache()


def _padded(folder: Path, shape: Shape, way: Way, size: int) -> Result:
    job, inputs = inputs_of(folder, shape, way)
    reset_peak()
    model = load_model(inputs.start, torch.bfloat16 if way.lora else torch.float32)
    model.gradient_checkpointing_enable()
    if way.lora:
        model.enable_input_require_grads()
        model = add_adapters(model, way.adapters, job.seed)
    steps = pairs_of_steps(job, shape, inputs)
    known: dict[str, torch.Tensor] = {}
    reference = sum([_reference_pass(model, step, size, known) for step in steps][1:])
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE)
    seconds = []
    for step in steps:
        began = now()
        for pairs in _parts(step, size):
            (_loss(_logps(model, pairs), pairs, known) / len(step)).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(now() - began)
    speed = rates(shape, way, steps[1:], sum(seconds[1:]), reference)
    return {**speed, "peak_gib": peak_gib()}


def _reference_pass(
    model: Any, step: list[TokenPair], size: int, known: dict[str, torch.Tensor]
) -> float:
    """Add a step's log-probabilities to those that are known; return the seconds it took."""
    began = now()
    with torch.no_grad():
        for pairs in _parts(step, size):
            known |= zip((pair.key for pair in pairs), _logps(model, pairs), strict=True)
    return now() - began


def _parts(step: list[TokenPair], size: int) -> Iterator[list[TokenPair]]:
    return (step[at : at + size] for at in range(0, len(step), size))


def _logps(model: Any, pairs: Sequence[TokenPair]) -> torch.Tensor:
    """Return log-probabilities, (pairs, 2), of a padded batch: all chosen sides, all rejected."""
    sides = [(pair.prompt, pair.chosen) for pair in pairs]
    sides += [(pair.prompt, pair.rejected) for pair in pairs]
    width = max(len(prompt) + len(side) for prompt, side in sides)
    ids = torch.zeros(len(sides), width, dtype=torch.long)
    mask, counted = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (prompt, side) in enumerate(sides):
        end = len(prompt) + len(side)
        ids[row, :end] = torch.tensor(prompt + side)
        mask[row, :end] = 1
        counted[row, len(prompt) : end] = 1
    where = device()
    ids, mask, counted = ids.to(where), mask.to(where), counted.to(where)
    with torch.autocast(where.type, torch.bfloat16):
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        # Row by row, as TRL does, or the logits of all rows would be there twice.
        logps = torch.stack(
            [
                row.log_softmax(-1).gather(1, targets[:, None])[:, 0]
                for row, targets in zip(logits, ids[:, 1:], strict=True)
            ]
        )
    return (logps.float() * counted[:, 1:]).sum(1).view(2, -1).t()


def _loss(
    logps: torch.Tensor, pairs: Sequence[TokenPair], known: dict[str, torch.Tensor]
) -> torch.Tensor:
    lengths = logps.new_tensor([len(pair.chosen) for pair in pairs])
    losses = pair_losses(logps, lengths, torch.stack([known[pair.key] for pair in pairs]), 0.1)
    return (losses.dpo + losses.nll).sum()


def _trl(folder: Path, shape: Shape, way: Way, size: int) -> Result:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    uris = uris_of(folder)
    start = model_files(uris["model"]).folder
    records = open_stage(uris["pairs"]).read_records(["pairs.parquet"], PreferencePair)
    sides = ("prompt", "chosen", "rejected")
    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(now())

    reset_peak()
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(
            start, dtype=torch.bfloat16 if way.lora else torch.float32
        ),
        args=DPOConfig(
            output_dir=str(folder / "trl"),
            loss_type=["sigmoid", "sft"],
            loss_weights=[1.0, 1.0],
            max_length=shape.length,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=max(1, shape.pairs // size),
            learning_rate=RATE,
            num_train_epochs=1,
            bf16=True,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{s: getattr(r, s) for s in sides} for r in records]),
        processing_class=AutoTokenizer.from_pretrained(start),
        peft_config=_peft(LoraConfig, way),
        callbacks=[Clock()],
    )
    trainer.train()
    # Its order is its own: the mean over all pairs stands for those of the measured steps.
    _, inputs = inputs_of(folder, shape, way)
    part = len(ends[1:]) * max(shape.pairs, size) / len(records)
    seconds = sum(after - before for before, after in pairwise(ends)) / part
    speed = rates(shape, way, [inputs.pairs.pairs], seconds, 0.0)
    return {**speed, "tokens_per_second": None, "peak_gib": peak_gib()}


def _peft(make: Any, way: Way) -> Any:
    return make(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM") if way.lora else None
