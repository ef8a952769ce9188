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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.shared.errors import BadInput, LidrError
from components.shared.models import check_model, local_model
from components.shared.progress import emit
from components.shared.recipe import Strict, Training
from components.shared.records import PreferencePair
from components.shared.stage import Stage, open_stage
from components.shared.store import open_store
from components.shared.threads import fit_threads
from components.train.checkpoints import Checkpoints
from components.train.launchers.failure import record as record_failure

if TYPE_CHECKING:
    from components.train.preference import PreferenceTrainer
    from components.train.tokens import TokenPairs

Row = dict[str, float]


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

    A run that was killed goes on from its newest checkpoint and ends in the same bytes.

    Raises:
        BadInput: there is nothing to train on, or a model folder is unusable.
        TrainingFailed: the loss is not finite, or the exported model fails its checks.
    """
    began = time.monotonic()
    _quiet()
    stage = Stage(open_store(job.store), job.stage)
    checkpoints = Checkpoints(stage)
    start = local_model(job.start)
    check_model(start)
    tokenizer = _load_tokenizer(start)
    pairs = _read_pairs(job, start, tokenizer)
    with tempfile.TemporaryDirectory(prefix="lidr-train-") as name:
        scratch = Path(name)
        trainer = _build(job, start, tokenizer, pairs, checkpoints, scratch)
        _train(trainer, checkpoints, scratch / "restored")
        rows = _metrics(trainer)
        changed = _export(trainer, start, scratch / "model", stage)
    stage.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    counts = {
        "pairs": len(pairs.pairs),
        "steps": len(rows),
        "seconds": round(time.monotonic() - began, 1),
        "final": rows[-1],
        "languages": pairs.languages,
        "changed_share": round(changed, 6),
        "warnings": warn_about(rows),
    }
    return Summary(counts=counts, digests=stage.digests)


def _quiet() -> None:
    """Keep libraries from writing progress bars, hints and telemetry of their own."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    for name in ("transformers", "trl", "accelerate", "datasets", "DeepSpeed", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(transformers|trl|accelerate|torch)\b")
    import torch
    from datasets.utils import logging as datasets_logging
    from transformers.utils import logging as transformers_logging

    if not torch.cuda.is_available():
        os.environ.setdefault(
            "DS_ACCELERATOR", "cpu"
        )  # or DeepSpeed wonders aloud where the GPU is
    datasets_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _read_pairs(job: Job, start: Path, tokenizer: Any) -> TokenPairs:
    from transformers import AutoConfig

    from components.train.tokens import tokenize_pairs

    records = open_stage(job.pairs).read_records(["pairs.parquet"], PreferencePair)
    if not records:
        raise BadInput(
            f"there are no pairs in {job.pairs}",
            remedy="See dropped.parquet beside them: loosen pairing.filters or raise max_tokens.",
        )
    context = AutoConfig.from_pretrained(start).get_text_config().max_position_embeddings
    return tokenize_pairs(records, tokenizer, min(job.training.max_length, context))


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, padding_side="right")


def _load_model(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    # Weights are held in float32 also where passes run in bfloat16: at a learning rate of 5e-7 most
    # updates are below a bfloat16 weight's precision and would be lost.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    fit_threads(model.num_parameters())
    return model


def _build(
    job: Job,
    start: Path,
    tokenizer: Any,
    pairs: TokenPairs,
    checkpoints: Checkpoints,
    scratch: Path,
) -> PreferenceTrainer:
    from components.train.preference import PreferenceTrainer, Reporter, Weights

    order = training_order(len(pairs.pairs), job.training.epochs, job.seed)
    trainer = PreferenceTrainer(
        pairs=pairs.pairs,
        order=order,
        weights=Weights(job.training.dpo_weight, job.training.nll_weight),
        checkpoints=checkpoints,
        model=_load_model(start),
        ref_model=_reference_model(job),
        args=_arguments(job, len(order), scratch),
        processing_class=tokenizer,
    )
    trainer.add_callback(Reporter(checkpoints.save))
    return trainer


def _reference_model(job: Job) -> Any:
    """Return the reference model, or None where it is the start model itself."""
    return None if job.reference == job.start else _load_model(local_model(job.reference))


def training_order(pairs: int, epochs: float, seed: int) -> list[int]:
    """Return the rows in training order: each epoch shuffled anew, the last one in part."""
    rng = random.Random(seed)
    total = max(1, round(pairs * epochs))
    order: list[int] = []
    while len(order) < total:
        order += rng.sample(range(pairs), pairs)
    return order[:total]


def _arguments(job: Job, examples: int, scratch: Path) -> Any:
    import torch
    from trl import DPOConfig

    settings = job.training
    steps = -(-examples // settings.batch_size)
    bfloat16 = settings.precision == "bfloat16" or (
        settings.precision == "auto" and torch.cuda.is_available()
    )
    return DPOConfig(
        output_dir=str(scratch),
        seed=job.seed % 2**32,
        beta=settings.beta,
        precompute_ref_log_probs=True,
        precompute_ref_batch_size=settings.micro_batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=round(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        num_train_epochs=1,  # training_order lays the epochs one behind the other
        train_sampling_strategy="sequential",
        per_device_train_batch_size=settings.micro_batch_size,
        gradient_accumulation_steps=settings.batch_size // settings.micro_batch_size,
        bf16=bfloat16,
        gradient_checkpointing=settings.gradient_checkpointing,
        max_length=None,
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


def _metrics(trainer: PreferenceTrainer) -> list[Row]:
    """Return the record of every step, also of those before an interruption."""
    internal = ("step", "epoch", "tokens")
    return [
        {"step": row["step"], **{key: row[key] for key in row if key not in internal}}
        for row in trainer.state.log_history
    ]


def _export(trainer: PreferenceTrainer, start: Path, folder: Path, stage: Stage) -> float:
    from components.train.export import export_model

    changed = export_model(trainer.accelerator.unwrap_model(trainer.model), start, folder)
    for path in sorted(folder.iterdir()):
        stage.upload(f"model/{path.name}", path)
    return changed


def warn_about(rows: list[Row]) -> list[str]:
    """Return what in the metrics speaks against the result, and warn the user of it."""
    found = []
    part = max(1, len(rows) // 10)
    accuracy = _mean(rows[-part:], "reward_accuracy")
    if accuracy < 0.5 and _mean(rows[-part:], "reward_margin") < 0:
        found.append(
            "rewards are inverted: the trained model prefers the chosen text in only "
            f"{accuracy:.0%} of the last pairs"
        )
    before, after = _mean(rows[:part], "nll_loss"), _mean(rows[-part:], "nll_loss")
    if after > before + 0.5:
        found.append(
            f"the chosen texts became less likely: their loss rose from {before:.2f} to "
            f"{after:.2f} nats a token; raise training.nll_weight"
        )
    for message in found:
        emit("warning", message=message)
    return found


def _mean(rows: list[Row], key: str) -> float:
    return sum(row[key] for row in rows) / len(rows)


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
