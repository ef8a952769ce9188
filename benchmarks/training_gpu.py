"""The train step on a GPU against TRL's DPOTrainer as it comes: a random model of Llama-3's shape.

Pairs are 2,048 tokens a side (a fifth of it prompt), all passes in bfloat16. Every part runs in a
process of its own, as torchrun starts it; the figures of all parts are of one run on one card.

- `lora`: rank 16 on every linear layer, gradient checkpointing, the reference pass counted apart.
- `full`: all weights, the optimizer's state in the machine's memory (`training.zero`), in the
  largest of the shapes that this machine's memory and disk hold.
- `trl`: DPOTrainer's defaults with the same adapters (batches of 8; halved until they fit).
- `mfu`: model FLOPs (no recomputation counted) over the card's dense bfloat16 rate, which is
  measured first with a matrix product. `memory_vs_predicted`: the allocator's peak over the
  launcher's prediction (components/shared/sizing/memory.py).

`--shape tiny` runs the same program in seconds, also without a GPU: a test of itself, no figure.

Usage: python -m benchmarks.training_gpu [--shape 8b] [--output benchmarks/results]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.training import store_model, word_pair, write_pairs
from lidr.components.shared.config.machine import TrainingSettings
from lidr.components.shared.config.profile import Zero
from lidr.components.shared.config.recipe import Lora, Training
from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.records.schema import PreferencePair
from lidr.components.shared.store.local import LocalStore

Result = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """A model's sizes, and what is trained on.

    Attributes:
        width: of the hidden state.
        inner: of the MLP.
        layers: how many.
        heads: of queries.
        groups: of keys and values.
        tied: embeddings and head are one.
        vocabulary: tokens.
        length: tokens of a side, with its prompt.
        pairs: in an optimizer step.
        steps: optimizer steps.
    """

    width: int
    inner: int
    layers: int
    heads: int
    groups: int = 8
    tied: bool = True
    vocabulary: int = 128_256
    length: int = 2048
    pairs: int = 16
    steps: int = 4


SHAPES = {
    "8b": Shape(4096, 14336, 32, 32, tied=False),
    "3b": Shape(3072, 8192, 28, 24),
    "1b": Shape(2048, 8192, 16, 32),
    "tiny": Shape(64, 128, 2, 4, 2, vocabulary=512, length=128, pairs=8, steps=2),
}

_GIB = 2**30


def main() -> int:
    """Measure all parts and print one line of JSON; also into a file named after the card."""
    parser = argparse.ArgumentParser(description="the train step on a GPU.")
    parser.add_argument("--shape", choices=SHAPES, default="8b", help="of the model")
    parser.add_argument("--output", type=Path, help="folder for the figures")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault(EVENTS_VARIABLE, os.devnull)
    os.environ.update(TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
    if options.part:
        name, folder, out = options.part
        Path(out).write_text(json.dumps(PARTS[name](Path(folder), SHAPES[options.shape])))
        return 0
    import torch

    if not torch.cuda.is_available() and options.shape != "tiny":
        print("no GPU here; --shape tiny tests the benchmark without one", file=sys.stderr)
        return 2
    figures = _figures(options.shape)
    print(json.dumps(figures))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"\W+", "-", str(figures["device"])).strip("-").lower()
        file = options.output / f"training_gpu-{name}.json"
        file.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


def _figures(shape: str) -> Result:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        card = _run("card", folder, shape)
        _run("prepare", folder, shape)
        lora, trl = _run("lora", folder, shape), _run("trl", folder, shape)
    whole = _largest(shape)
    with tempfile.TemporaryDirectory() as name:
        _run("prepare", Path(name), whole)
        full = _run("full", Path(name), whole)
    for part in (lora, full):
        part["mfu"] = round(part["flops_per_second"] / card["flops_per_second"], 4)
        part["memory_vs_predicted"] = round(part["peak_gib"] / part["predicted_gib"], 3)
    return {
        "device": card["device"],
        "dense_bf16_tflops": round(card["flops_per_second"] / 1e12, 1),
        "shape": shape,
        "lora": lora,
        "full": {"shape": whole, **full},
        "trl": trl,
        "speedup_vs_trl": round(lora["tokens_per_second"] / trl["tokens_per_second"], 2),
        "memory_vs_trl": round(lora["peak_gib"] / max(trl["peak_gib"], 1e-9), 3),
        "mfu": lora["mfu"],
    }


def _largest(shape: str) -> str:
    """Return the largest shape that can be trained whole here: 16 bytes a parameter in memory, and
    on disk the model, its export and two copies of a checkpoint."""
    from lidr.components.shared.sizing.architecture import read_architecture

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    disk = shutil.disk_usage(tempfile.gettempdir()).free
    names = list(SHAPES)
    for name in names[names.index(shape) :]:
        count = read_architecture(_config(SHAPES[name]).to_dict()).parameters
        if 18 * count < memory and 30 * count < disk:
            return name
    return names[-1]


def _run(part: str, folder: Path, shape: str) -> Result:
    out = folder / f"{part}.json"
    ranks = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
    program = ["-m", "benchmarks.training_gpu", "--shape", shape, "--part", part]
    subprocess.run([sys.executable, *ranks, *program, str(folder), str(out)], check=True)
    result: Result = json.loads(out.read_text())
    print(f"{part}: {result}", flush=True)
    return result


def _card(folder: Path, shape: Shape) -> Result:
    """Measure the rate of a large product of bfloat16 matrices, the best of some."""
    import torch

    gpu = torch.cuda.is_available()
    size = 8192 if gpu else 512
    device = "cuda" if gpu else "cpu"
    a, b = (torch.randn(size, size, dtype=torch.bfloat16, device=device) for _ in range(2))
    seconds = []
    for _ in range(20 if gpu else 3):
        began = _now()
        a @ b
        seconds.append(_now() - began)
    name = torch.cuda.get_device_name() if gpu else "CPU"
    return {"device": name, "flops_per_second": 2 * size**3 / min(seconds)}


def _prepare(folder: Path, shape: Shape) -> Result:
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(_config(shape))
    store = LocalStore(folder / "store")
    rng = random.Random(0)
    drawn = [
        word_pair(rng, number, 512, shape.length // 5, shape.length, shape.length)
        for number in range(shape.pairs * shape.steps)
    ]
    uris = {
        "model": store_model(store, folder / "model", model),
        "pairs": write_pairs(store, drawn),
    }
    (folder / "uris.json").write_text(json.dumps(uris))
    return {"parameters": sum(each.numel() for each in model.parameters())}


def _config(shape: Shape) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.groups,
        max_position_embeddings=2 * shape.length,
        tie_word_embeddings=shape.tied,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )


def _lora(folder: Path, shape: Shape) -> Result:
    return _train(folder, shape, Zero(), Lora(rank=16, merge=False))


def _full(folder: Path, shape: Shape) -> Result:
    return _train(folder, shape, Zero(stage=1, offload="optimizer"), Lora())


def _train(folder: Path, shape: Shape, zero: Zero, lora: Lora) -> Result:
    """Train from stage to stage; the first step, in which kernels are chosen, is left out."""
    import torch

    from lidr.components.shared.kubernetes.launch import Launch
    from lidr.components.train.job import TrainingJob
    from lidr.components.train.launch.fit import plan_of
    from lidr.components.train.trainer import run_training

    uris = json.loads((folder / "uris.json").read_text())
    settings = Training(
        batch_size=shape.pairs,
        max_length=shape.length,
        learning_rate=1e-5,
        precision="bfloat16",
        lora=lora,
    )
    machine = TrainingSettings(gradient_checkpointing=True, checkpoint_steps=1000)
    job = TrainingJob(
        store=str(folder / "store"),
        stage=f"stages/train/{'lora' if lora.rank else 'full'}",
        pairs=uris["pairs"],
        start=uris["model"],
        reference=uris["model"],
        training=settings,
        seed=0,
        machine=machine,
        zero=zero,
    )
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    summary = run_training(job)
    metrics = folder / "store" / job.stage / "metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()][1:]
    speed = median(row["tokens_per_second"] for row in rows)
    launch = Launch(launcher="trainjob", zero=zero, **machine.model_dump())
    predicted = plan_of(job, launch).memory().peak
    return {
        "tokens_per_second": speed,
        "flops_per_second": speed * _flops_per_token(shape, bool(lora.rank)),
        "peak_gib": _peak_gib(),
        "predicted_gib": round(predicted / _GIB, 2),
        "startup_seconds": summary.counts["startup_seconds"],
        "seconds": summary.counts["seconds"],
    }


def _flops_per_token(shape: Shape, lora: bool) -> float:
    """Return the model FLOPs of a token of a flat row: a prompt is there once for both sides."""
    from lidr.components.shared.sizing.architecture import read_architecture
    from lidr.components.shared.sizing.flops import step_flops

    prompt = shape.length // 5
    tokens = 2 * shape.length - prompt
    rows = tokens - prompt
    architecture = read_architecture(_config(shape).to_dict())
    return step_flops(architecture, tokens, shape.length, rows, lora=lora) / tokens


def _trl(folder: Path, shape: Shape) -> Result:
    """Train with TRL's defaults; where a batch does not fit, with half of it."""
    import torch

    size = 8
    while True:
        try:
            return {**_train_trl(folder, shape, size), "batch": size}
        except torch.OutOfMemoryError:
            size //= 2
            if size == 0:
                raise
        torch.cuda.empty_cache()


def _train_trl(folder: Path, shape: Shape, size: int) -> Result:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    from lidr.components.shared.models.sources import local_model
    from lidr.components.shared.store.stage import open_stage

    uris = json.loads((folder / "uris.json").read_text())
    start = local_model(uris["model"])
    records = open_stage(uris["pairs"]).read_records(["pairs.parquet"], PreferencePair)
    sides = ("prompt", "chosen", "rejected")
    rows = [{side: getattr(record, side) for side in sides} for record in records]
    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(_now())

    arguments = DPOConfig(
        output_dir=str(folder / "trl"),
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, 1.0],
        max_length=shape.length,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=max(1, shape.pairs // size),
        learning_rate=1e-5,
        num_train_epochs=1,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(start, dtype=torch.bfloat16),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(start),
        peft_config=LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Clock()],
    )
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    # The same pairs are counted as lidr counts them: a prompt once.
    tokens = max(shape.pairs, size) * (2 * shape.length - shape.length // 5)
    seconds = median(after - before for before, after in pairwise(ends))
    return {"tokens_per_second": round(tokens / seconds, 1), "peak_gib": _peak_gib()}


def _now() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _peak_gib() -> float:
    """Return the most that torch had allocated on the GPU; 0 without one."""
    import torch

    return round(torch.cuda.max_memory_allocated() / _GIB, 2) if torch.cuda.is_available() else 0.0


PARTS: dict[str, Callable[[Path, Shape], Result]] = {
    "card": _card,
    "prepare": _prepare,
    "lora": _lora,
    "full": _full,
    "trl": _trl,
}

if __name__ == "__main__":
    sys.exit(main())
