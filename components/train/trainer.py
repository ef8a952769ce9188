"""The trainer program: one training run, from a job of plain URIs to a model on the stage.

`run.py` calls `run_training` in its own process. `python -m components.train.trainer JOB.json
SUMMARY.json` does the same as a program, for a launcher that needs processes.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.shared.errors import LidrError
from components.shared.model_checks import check_model
from components.shared.models import ModelFiles, model_files
from components.shared.progress import emit
from components.shared.recipe import Strict, Training
from components.shared.stage import Stage
from components.shared.store import open_store
from components.train.checkpoints import Checkpoints
from components.train.launchers.failure import record as record_failure
from components.train.launchers.launch import require_one_rank

if TYPE_CHECKING:
    import torch

    from components.train.batches import Layout
    from components.train.preference import PreferenceTrainer, Reporter
    from components.train.tokens import TokenPairs


class Job(Strict):
    """Everything a training run reads, as plain values that travel between machines."""

    store: str
    """URI of the store."""
    stage: str
    """Prefix of the train stage below the store, `stages/train/<digest>`."""
    pairs: str
    """URI of the pair stage."""
    start: str
    """URI of the stage with the model that training starts from."""
    reference: str
    """URI of the stage with DPO's reference model."""
    training: Training
    """The recipe's settings."""
    seed: int
    """Of the order of the pairs."""
    zero_stage: int = 0
    """What ZeRO shards over the ranks, from the profile."""
    offload: str = "none"
    """What ZeRO keeps in the nodes' own memory, from the profile."""


class Summary(Strict):
    """What a training run leaves besides the model."""

    counts: dict[str, Any]
    """For the stage's marker."""
    digests: dict[str, tuple[int, str]]
    """Size and SHA-256 of each file it wrote."""


def run_training(job: Job) -> Summary:
    """Train, export the model to the stage's `model/` and write `metrics.jsonl`.

    A run that was killed goes on from its newest checkpoint and ends in the same bytes.

    Raises:
        BadInput: there is nothing to train on, or a model folder is unusable.
        TrainingFailed: the loss is not finite, or the exported model fails its checks.
    """
    require_one_rank(int(os.environ.get("WORLD_SIZE", "1")), job.zero_stage)
    began = time.monotonic()
    _quiet()
    from components.train.metrics import Watch, without
    from components.train.preference import INTERNAL, Reporter

    stage = Stage(open_store(job.store), job.stage)
    checkpoints = Checkpoints(stage)
    watch = Watch(job.training.beta)
    inputs = _read(job, stage)
    with tempfile.TemporaryDirectory(prefix="lidr-train-") as name:
        scratch = Path(name)
        trainer = _build(job, inputs, Reporter(checkpoints.save, watch), scratch)
        _train(trainer, checkpoints, scratch / "restored")
        # The state's history holds every step, also those before an interruption.
        rows = [without(row, INTERNAL) for row in trainer.state.log_history]
        changed = _export(trainer, inputs.start.folder, scratch / "model", stage)
    stage.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    counts = {
        "pairs": len(inputs.pairs.pairs),
        "steps": len(rows),
        "seconds": round(time.monotonic() - began, 1),
        "final": rows[-1],
        "languages": inputs.pairs.languages,
        "reference": inputs.reference.uri,
        "changed_share": round(changed, 6),
        "warnings": watch.judge(rows),
    }
    return Summary(counts=counts, digests=stage.digests)


@dataclass(frozen=True)
class Inputs:
    """What a run reads, checked.

    Attributes:
        start: the start model's files.
        other: the reference model's, maybe the same.
        pairs: the pairs as tokens.
        reference: the stage of the reference log-probabilities, done or not.
        bfloat16: whether passes run in bfloat16.
    """

    start: ModelFiles
    other: ModelFiles
    pairs: TokenPairs
    reference: Stage
    bfloat16: bool


def _quiet() -> None:
    """Keep libraries from writing progress bars, hints and telemetry of their own."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    for name in ("transformers", "accelerate", "peft", "DeepSpeed", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(transformers|accelerate|peft|torch)\b")
    import torch
    from transformers.utils import logging as transformers_logging

    if not torch.cuda.is_available():
        os.environ.setdefault(
            "DS_ACCELERATOR", "cpu"
        )  # or DeepSpeed wonders aloud where the GPU is
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _read(job: Job, stage: Stage) -> Inputs:
    import torch

    from components.train.loading import load_pairs, load_tokenizer
    from components.train.reference import reference_stage

    start = model_files(job.start)
    other = start if job.reference == job.start else model_files(job.reference)
    check_model(start.folder)
    tokenizer = load_tokenizer(start.folder, other.folder)
    pairs = load_pairs(job.pairs, tokenizer, start.folder, job.training)
    precision = job.training.precision
    bfloat16 = precision == "bfloat16" or (precision == "auto" and torch.cuda.is_available())
    name = "bfloat16" if bfloat16 else "float32"
    reference = reference_stage(stage.store, job.pairs, job.reference, pairs, name)
    return Inputs(start, other, pairs, reference, bfloat16)


def _build(job: Job, inputs: Inputs, reporter: Reporter, scratch: Path) -> PreferenceTrainer:
    from components.train.lora import add_adapters
    from components.train.preference import PreferenceTrainer
    from components.train.scoring import install
    from components.train.throughput import work_of

    settings, pairs = job.training, inputs.pairs.pairs
    if job.reference != job.start:  # it is gone from memory before the start model comes
        _reference(job, inputs)
    base = _start_model(job, inputs)
    layout = install(base, pairs)
    reference = _reference(job, inputs, (base, layout))
    model = add_adapters(base, settings.lora, job.seed) if settings.lora.rank else base
    order = training_order(len(pairs), settings.epochs, job.seed)
    trainer = PreferenceTrainer(
        pairs=pairs,
        order=order,
        reference=reference,
        layout=layout,
        settings=settings,
        work=work_of(base),
        model=model,
        args=_arguments(job, len(order), inputs.bfloat16, scratch),
    )
    trainer.add_callback(reporter)
    return trainer


def _start_model(job: Job, inputs: Inputs) -> Any:
    import torch

    from components.train.loading import load_model

    # Weights that stay as they are need no more precision than the passes have.
    frozen = inputs.bfloat16 and job.training.lora.rank
    dtype = torch.bfloat16 if frozen else torch.float32
    return load_model(inputs.start, dtype)


def _reference(job: Job, inputs: Inputs, loaded: tuple[Any, Layout] | None = None) -> torch.Tensor:
    """Return the reference log-probabilities, computed where no run has done so before.

    Args:
        job: the job.
        inputs: what it reads.
        loaded: the reference model and its layout where they are there already.
    """
    from components.train.loading import load_model
    from components.train.reference import compute_logps, reference_logps
    from components.train.scoring import install

    pairs = inputs.pairs.pairs

    def compute() -> torch.Tensor:
        if loaded is not None:
            model, layout = loaded
        else:
            model = load_model(inputs.other)
            layout = install(model, pairs)
        tokens = job.training.micro_batch_tokens
        return compute_logps(model, pairs, layout, tokens, inputs.bfloat16)

    return reference_logps(inputs.reference, pairs, compute)


def training_order(pairs: int, epochs: float, seed: int) -> list[int]:
    """Return the rows in training order: each epoch shuffled anew, the last one in part."""
    rng = random.Random(seed)
    total = max(1, round(pairs * epochs))
    order: list[int] = []
    while len(order) < total:
        order += rng.sample(range(pairs), pairs)
    return order[:total]


def _arguments(job: Job, examples: int, bfloat16: bool, scratch: Path) -> Any:
    from transformers import TrainingArguments

    settings = job.training
    steps = -(-examples // settings.batch_size)
    return TrainingArguments(
        output_dir=str(scratch),
        seed=job.seed % 2**32,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=round(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        num_train_epochs=1,  # training_order lays the epochs one behind the other
        per_device_train_batch_size=settings.batch_size,
        bf16=bfloat16,
        gradient_checkpointing=settings.gradient_checkpointing,
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        save_total_limit=1,
        logging_steps=1,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
    )


def _train(trainer: PreferenceTrainer, checkpoints: Checkpoints, folder: Path) -> None:
    step = checkpoints.restore(folder)
    if step:
        emit("note", message=f"training goes on from the checkpoint of step {step}")
    trainer.train(resume_from_checkpoint=str(folder) if step else None)


def _export(trainer: PreferenceTrainer, start: Path, folder: Path, stage: Stage) -> float:
    from components.train.export import export_model
    from components.train.lora import merge_adapters

    model = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.settings.lora.rank:
        model = merge_adapters(model)
    changed = export_model(model, start, folder)
    for path in sorted(folder.iterdir()):
        stage.upload(f"model/{path.name}", path)
    return changed


def main(arguments: list[str]) -> int:
    """Run the job in one JSON file and write the summary into another."""
    job, summary = (Path(argument) for argument in arguments)
    try:
        done = run_training(Job.model_validate_json(job.read_text("utf-8")))
    except LidrError as error:
        print(error, file=sys.stderr)
        record_failure(error)
        return error.exit_code
    summary.write_text(done.model_dump_json(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
