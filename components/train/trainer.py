"""The trainer program: one training run, from a job of plain URIs to a model on the stage.

The local launcher calls `run_training` in its own process where one rank is enough. `python -m
lidr.components.train.trainer JOB.json SUMMARY.json` is one rank of several.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.kubernetes.failure import record_failure
from lidr.components.shared.models.sources import BASE_FILE
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage
from lidr.components.shared.tracking.live_metrics import CurveWriter
from lidr.components.shared.tracking.outbox import Outbox, place_of
from lidr.components.train.distributed.checkpoints import Checkpoints, Topology
from lidr.components.train.distributed.ranks import Ranks, exit_without_cleanup, join_ranks
from lidr.components.train.job import TrainingJob, TrainingSummary

if TYPE_CHECKING:
    import torch

    from lidr.components.train.assembly import TrainingInputs
    from lidr.components.train.export.precision import Exported
    from lidr.components.train.preference import PreferenceTrainer


def run_training(job: TrainingJob) -> TrainingSummary:
    """Train; write the model or its adapter, `metrics.jsonl` and `margins.parquet` to the stage.

    Under torchrun every rank calls this; the summary covers the files of all of them. A killed run
    resumes from its newest checkpoint and ends in the same bytes.

    Raises:
        BadInput: there is nothing to train on, or a model folder is unusable.
        TrainingFailed: the loss is not finite, or the exported model fails its checks.
        StoreError: the store, or the scratch disk, is full or cannot be used.
        LaunchFailed: the ranks cannot connect to each other.
        Stopped: a rank got SIGTERM; all have stopped, with a checkpoint.
    """
    began = time.monotonic()
    _quiet()
    ranks = join_ranks()
    joined = time.monotonic()
    import torch

    from lidr.components.train.assembly import build_trainer, read_inputs
    from lidr.components.train.distributed.checkpoint_writer import CheckpointWriter
    from lidr.components.train.export.precision import inference_type
    from lidr.components.train.forward.margins import sampled_rows, write_margins
    from lidr.components.train.metrics import TroubleMonitor
    from lidr.components.train.preference import NOT_METRICS, Reporter

    monitor = TroubleMonitor(job.training)
    with ranks.sharing_errors():
        stage = Stage(open_store(job.store), job.stage)
        inputs = read_inputs(job, stage, ranks)
    read = time.monotonic()
    topology = Topology(ranks.world_size, job.zero.effective_stage(ranks.world_size))
    checkpoints = Checkpoints(stage, ranks, topology)
    writer = CheckpointWriter(checkpoints, ranks)
    with tempfile.TemporaryDirectory(prefix="lidr-train-") as name:
        scratch = Path(name)
        curves = _curve_writer(job, stage, ranks)
        reporter = Reporter(monitor, curves)
        trainer = build_trainer(job, inputs, [reporter, writer], scratch)
        built = time.monotonic()
        with writer.writing():
            _train(trainer, checkpoints, scratch / "restored")
        if curves:
            curves.close()
        # The history has every step, also those before an interruption.
        rows = [
            {key: value for key, value in row.items() if key not in NOT_METRICS}
            for row in trainer.state.log_history
        ]
        sampled = sampled_rows(inputs.pairs.pairs)
        seen = inference_type(job.dtype)
        exported = _export(trainer, inputs, scratch / "model", stage, seen)
        margins = trainer.margins(sampled)
    if ranks.leads:
        write_margins(stage, inputs.pairs.pairs, sampled, margins)
        stage.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    counts = {
        "pairs": len(inputs.pairs.pairs),
        "steps": len(rows),
        "seconds": round(time.monotonic() - began, 1),
        "startup_seconds": {
            "libraries": round(joined - began, 1),
            "read": round(read - joined, 1),
            "models": round(built - read, 1),
            "engine": round(max(writer.first_step_began - built, 0.0), 1),
        },
        "train_seconds": round(writer.train_seconds, 3),
        "checkpoint_seconds": round(writer.checkpoint_seconds, 3),
        "ranks": ranks.world_size,
        "gradient_checkpointing": job.machine.gradient_checkpointing,
        "gpus": ranks.world_size if torch.cuda.is_available() else 0,
        "final": rows[-1],
        "languages": inputs.pairs.languages,
        "reference": inputs.reference.uri,
        "changed_share": round(exported.changed, 6),
        "update_kept": round(exported.kept, 4),
        "export": exported.file,
        "warnings": monitor.check_end(rows) + _emit_warnings(exported.warnings(seen)),
    }
    digests = {name: each for own in ranks.gather(stage.digests) for name, each in own.items()}
    return TrainingSummary(counts=counts, digests=digests)


def _curve_writer(job: TrainingJob, stage: Stage, ranks: Ranks) -> CurveWriter | None:
    if not job.run or not ranks.leads:
        return None
    from lidr.components.train.preference import NOT_METRICS

    outbox = Outbox(stage.store, job.run)
    return CurveWriter(outbox, place_of(job.iteration, "train"), NOT_METRICS)


def _quiet() -> None:
    """Silence the libraries' progress bars and hints."""
    for name in ("transformers", "accelerate", "peft", "DeepSpeed", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(transformers|accelerate|peft|torch)\b")
    import torch
    from transformers.utils import logging as transformers_logging

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed warns of no GPU
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _train(trainer: PreferenceTrainer, checkpoints: Checkpoints, folder: Path) -> None:
    step = checkpoints.restore(folder)
    if step:
        from lidr.components.train.distributed.checkpoint_writer import RestoredCheckpoint

        emit("note", message=f"training resumes from the checkpoint of step {step}")
        trainer.add_callback(RestoredCheckpoint(folder))
    trainer.train(resume_from_checkpoint=str(folder) if step else None)


def _export(
    trainer: PreferenceTrainer,
    inputs: TrainingInputs,
    folder: Path,
    stage: Stage,
    seen: torch.dtype,
) -> Exported:
    """Write the model to the stage; give the trainer's model the weights that inference sees."""
    from lidr.components.train.export.adapter import write_adapter
    from lidr.components.train.export.model import Export, load_exported_weights
    from lidr.components.train.export.precision import Exported, Rounding
    from lidr.components.train.export.tensors import tensor_files, tensor_headers

    ranks, settings, start = inputs.ranks, trainer.settings, inputs.start.folder
    with ranks.sharing_errors():
        if ranks.leads:  # an interrupted export may have left files
            for entry in stage.store.list(stage.key("model")):
                stage.store.delete(entry.key)
    model = trainer.accelerator.unwrap_model(trainer.model)
    if not settings.lora.merge:
        changed = write_adapter(model, inputs.start.adapter, folder, ranks)
        with ranks.sharing_errors():
            if ranks.leads:
                for path in sorted(folder.iterdir()):
                    stage.upload(f"adapter/{path.name}", path)
                stage.write(BASE_FILE, json.dumps({"stage": inputs.base}).encode())
        return Exported(changed)
    size = round(trainer.machine.shard_gigabytes * 1e9)
    types = {kind for kind, _ in tensor_headers(tensor_files(start)).values()}
    rounding = Rounding.of(settings.export, seen, types, trainer.args.seed)
    merged = inputs.start.adapter is not None
    export = Export(model, start, folder, size, rounding, merged, ranks)
    exported = export.run(lambda path: stage.upload(f"model/{path.name}", path))
    if not rounding.exact:
        load_exported_weights(model, export)
    return exported


def _emit_warnings(messages: list[str]) -> list[str]:
    for message in messages:
        emit("warning", message=message)
    return messages


def main(arguments: list[str]) -> int:
    """Run the job in one JSON file and write the summary into another; return the exit code.

    An error is also recorded in `$LIDR_FAILURES`, if set, for the launcher.
    """
    job, summary = (Path(argument) for argument in arguments)
    try:
        done = run_training(TrainingJob.model_validate_json(job.read_text("utf-8")))
    except LidrError as error:
        print(error, file=sys.stderr)
        record_failure(error)
        return error.exit_code
    except Exception:  # with Python's cleanup this rank would end after the ranks that lose it
        traceback.print_exc()
        return 1
    if int(os.environ.get("RANK", "0")) == 0:
        summary.write_text(done.model_dump_json(), "utf-8")
    return 0


if __name__ == "__main__":
    exit_without_cleanup(main(sys.argv[1:]))
