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

from components.shared.errors import LidrError, TrainingFailed
from components.shared.models import check_model, local_model
from components.shared.progress import emit
from components.shared.recipe import Strict, Training
from components.shared.stage import Stage
from components.shared.store import open_store
from components.train.checkpoints import Checkpoints, Form
from components.train.gang import Gang, join, leave

if TYPE_CHECKING:
    import torch
    from transformers import TrainerCallback

    from components.train.batches import Layout
    from components.train.preference import PreferenceTrainer
    from components.train.tokens import TokenPairs


DIVERGED = 70
"""Exit code of a training run that would fail again (EX_SOFTWARE)."""


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


class Summary(Strict):
    """What a training run leaves besides the model."""

    counts: dict[str, Any]
    """For the stage's marker."""
    digests: dict[str, tuple[int, str]]
    """Size and SHA-256 of each file it wrote."""


def run_training(job: Job) -> Summary:
    """Train, export the model to the stage's `model/` and write `metrics.jsonl`.

    Under torchrun every rank calls this; rank 0 returns what all of them wrote. A run that was
    killed goes on from its newest checkpoint and ends in the same bytes.

    Raises:
        BadInput: there is nothing to train on, or a model folder is unusable.
        TrainingFailed: the loss is not finite, or the exported model fails its checks.
        LaunchFailed: the ranks do not find each other.
        Stopped: a rank was sent SIGTERM; all have ended, with a checkpoint.
    """
    began = time.monotonic()
    _quiet()
    gang = join()
    joined = time.monotonic()
    from components.train.keeper import Keeper
    from components.train.metrics import Watch, without
    from components.train.preference import INTERNAL, Reporter
    from components.train.zero import zero_stage

    watch = Watch(job.training.beta)
    with gang.together():
        stage = Stage(open_store(job.store), job.stage)
        inputs = _read(job, stage, gang)
    read = time.monotonic()
    form = Form(gang.world, zero_stage(job.training.zero, gang.world))
    checkpoints = Checkpoints(stage, gang, form)
    keeper = Keeper(checkpoints, gang)
    with tempfile.TemporaryDirectory(prefix="lidr-train-") as name:
        scratch = Path(name)
        trainer = _build(job, inputs, [Reporter(watch), keeper], scratch)
        built = time.monotonic()
        with keeper.keeping():
            _train(trainer, checkpoints, scratch / "restored")
        # The state's history holds every step, also those before an interruption.
        rows = [without(row, INTERNAL) for row in trainer.state.log_history]
        changed = _export(trainer, inputs, scratch / "model", stage)
    if gang.leads:
        stage.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    counts = {
        "pairs": len(inputs.pairs.pairs),
        "steps": len(rows),
        "seconds": round(time.monotonic() - began, 1),
        "startup_seconds": {
            "meet": round(joined - began, 1),
            "read": round(read - joined, 1),
            "models": round(built - read, 1),
            "engine": round(max(keeper.first_step - built, 0.0), 1),
        },
        "train_seconds": round(keeper.trained, 3),
        "checkpoint_seconds": round(keeper.seconds, 3),
        "ranks": gang.world,
        "final": rows[-1],
        "languages": inputs.pairs.languages,
        "reference": inputs.reference.uri,
        "changed_share": round(changed, 6),
        "warnings": watch.judge(rows),
    }
    digests = {name: each for own in gang.gather(stage.digests) for name, each in own.items()}
    return Summary(counts=counts, digests=digests)


@dataclass(frozen=True)
class Inputs:
    """What a run reads, checked.

    Attributes:
        start: folder of the start model.
        pairs: the pairs as tokens.
        reference: the stage of the reference log-probabilities, done or not.
        bfloat16: whether passes run in bfloat16.
        gang: the ranks.
    """

    start: Path
    pairs: TokenPairs
    reference: Stage
    bfloat16: bool
    gang: Gang


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


def _read(job: Job, stage: Stage, gang: Gang) -> Inputs:
    import torch

    from components.train.loading import load_pairs, load_tokenizer
    from components.train.reference import reference_stage

    start, other = local_model(job.start), local_model(job.reference)
    check_model(start)
    tokenizer = load_tokenizer(start, other)
    pairs = load_pairs(job.pairs, tokenizer, start, job.training)
    precision = job.training.precision
    bfloat16 = precision == "bfloat16" or (precision == "auto" and torch.cuda.is_available())
    name = "bfloat16" if bfloat16 else "float32"
    reference = reference_stage(stage.store, job.pairs, job.reference, pairs, name)
    return Inputs(start, pairs, reference, bfloat16, gang)


def _build(
    job: Job, inputs: Inputs, callbacks: list[TrainerCallback], scratch: Path
) -> PreferenceTrainer:
    from components.train.lora import add_adapters
    from components.train.preference import PreferenceTrainer
    from components.train.scoring import install
    from components.train.throughput import work_of
    from components.train.zero import running

    settings, pairs = job.training, inputs.pairs.pairs
    order = training_order(len(pairs), settings.epochs, job.seed)
    # The arguments hold DeepSpeed's configuration, by which models are sharded as they are loaded.
    arguments = _arguments(job, len(order), inputs, scratch)
    if job.reference != job.start:  # it is gone from memory before the start model comes
        _reference(job, inputs, arguments.deepspeed)
    base = _start_model(job, inputs)
    with running(base, arguments.deepspeed):
        layout = install(base, pairs)
        reference = _reference(job, inputs, arguments.deepspeed, (base, layout))
    model = add_adapters(base, settings.lora, job.seed) if settings.lora.rank else base
    return PreferenceTrainer(
        pairs=pairs,
        order=order,
        reference=reference,
        layout=layout,
        settings=settings,
        work=work_of(base),
        gang=inputs.gang,
        model=model,
        args=arguments,
        callbacks=callbacks,
    )


def _start_model(job: Job, inputs: Inputs) -> Any:
    import torch

    from components.train.loading import load_model

    # Weights that stay as they are need no more precision than the passes have.
    frozen = inputs.bfloat16 and job.training.lora.rank
    return load_model(inputs.start, torch.bfloat16 if frozen else torch.float32)


def _reference(
    job: Job,
    inputs: Inputs,
    deepspeed: dict[str, Any] | None,
    loaded: tuple[Any, Layout] | None = None,
) -> torch.Tensor:
    """Return the reference log-probabilities, computed where no run has done so before.

    Args:
        job: the job.
        inputs: what it reads.
        deepspeed: DeepSpeed's configuration, if any.
        loaded: the reference model and its layout where they are there already.
    """
    from components.train.loading import load_model
    from components.train.reference import compute_logps, reference_logps
    from components.train.scoring import install
    from components.train.zero import running

    pairs, gang = inputs.pairs.pairs, inputs.gang

    def scores(model: Any, layout: Layout) -> torch.Tensor:
        tokens = job.training.micro_batch_tokens
        return compute_logps(model, pairs, layout, tokens, inputs.bfloat16, gang)

    def compute() -> torch.Tensor:
        if loaded is not None:
            return scores(*loaded)
        model = load_model(local_model(job.reference))
        with running(model, deepspeed):
            return scores(model, install(model, pairs))

    return reference_logps(inputs.reference, pairs, compute, gang)


def training_order(pairs: int, epochs: float, seed: int) -> list[int]:
    """Return the rows in training order: each epoch shuffled anew, the last one in part."""
    rng = random.Random(seed)
    total = max(1, round(pairs * epochs))
    order: list[int] = []
    while len(order) < total:
        order += rng.sample(range(pairs), pairs)
    return order[:total]


def _arguments(job: Job, examples: int, inputs: Inputs, scratch: Path) -> Any:
    from transformers import TrainingArguments

    from components.train.zero import deepspeed_config, leave_deepspeed_out, start_deepspeed

    settings = job.training
    config = deepspeed_config(settings.zero, inputs.gang.world, inputs.bfloat16)
    if config:
        start_deepspeed()
    else:
        leave_deepspeed_out()
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
        bf16=inputs.bfloat16,
        deepspeed=config,
        accelerator_config={"use_configured_state": bool(config)},
        gradient_checkpointing=settings.gradient_checkpointing,
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
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


def _export(trainer: PreferenceTrainer, inputs: Inputs, folder: Path, stage: Stage) -> float:
    from components.train.export import Export

    gang = inputs.gang
    with gang.together():
        if gang.leads:  # what an interrupted export left
            for entry in stage.store.list(stage.key("model")):
                stage.store.delete(entry.key)
    model = trainer.accelerator.unwrap_model(trainer.model)
    size = round(trainer.settings.shard_gigabytes * 1e9)
    export = Export(model, inputs.start, folder, size, gang)
    return export.run(lambda path: stage.upload(f"model/{path.name}", path))


def main(arguments: list[str]) -> int:
    """Run the job in one JSON file and write the summary into another.

    Returns:
        The exit code: that of the error's class, but DIVERGED for TrainingFailed, so that a gang's
        keeper can tell what another attempt cannot mend (2 and 70) from what it can.
    """
    job, summary = (Path(argument) for argument in arguments)
    try:
        done = run_training(Job.model_validate_json(job.read_text("utf-8")))
    except LidrError as error:
        print(error, file=sys.stderr)
        return DIVERGED if isinstance(error, TrainingFailed) else error.exit_code
    if int(os.environ.get("RANK", "0")) == 0:
        summary.write_text(done.model_dump_json(), "utf-8")
    return 0


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
