"""The train step against TRL's DPOTrainer as it comes, on the same pairs, models and global batch.

Both sides run in processes of their own, on one thread, in float32, without gradient checkpointing,
with the reference pass counted. TRL: batches of 8 in random order, the reference model run on the
fly. lidr: `run_training` as the train step calls it, checkpoint and export included. The pairs'
sides are log-normal (median 200 tokens, 95% below 900, cut at 1024), a fifth of a side is prompt.
What counts is CPU seconds, and the rise of the peak resident memory over that of the bare imports.

- `speedup_vs_trl`, `memory_vs_trl`: 10M parameters, a vocabulary of 2,000 (medians of repeats).
- `speedup_vs_trl_128k`, `memory_vs_trl_128k`: a vocabulary of 128,000 on a small body (17M
  parameters), so that the head is nearly everything; one step, sides cut at 512 tokens.
- `loss_difference`: largest relative difference of a step's loss, over steps that change the model.
  TRL's NLL term is a mean over the tokens of a micro-batch; at one pair a micro-batch that is the
  paper's form, so this comparison (no other) gives TRL 8 micro-batches of one pair, in our order.

Usage: python -m benchmarks.training [--pairs 24] [--repeats 1] [--no-128k]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.records.schema import PreferencePair
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import Stage, new_stage

Result = dict[str, Any]

BATCH = 8
LENGTH = 1024
_RATE = 1e-4
_BOUND = 1e-4

_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


@dataclass(frozen=True)
class Shape:
    """A model's sizes."""

    vocabulary: int
    width: int
    layers: int
    longest: int = LENGTH


def main() -> None:
    """Measure everything and print the ratios."""
    parser = argparse.ArgumentParser(description="the train step against TRL's DPOTrainer.")
    parser.add_argument("--pairs", type=int, default=24, help="pairs, 8 in a step")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each side")
    parser.add_argument("--no-128k", action="store_true", help="leave the large vocabulary out")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault(EVENTS_VARIABLE, os.devnull)
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    if options.part:
        name, folder, out, *rest = options.part
        Path(out).write_text(json.dumps(PARTS[name](Path(folder), *rest)))
        return
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(_figures(Path(name), options)))


def _figures(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    small = Shape(vocabulary=2_000, width=320, layers=8)
    figures = _compared(folder / "small", small, options.pairs, options.repeats)
    figures["loss_difference"] = _loss_difference(folder / "small")
    if not options.no_128k:
        shape = Shape(vocabulary=128_000, width=128, layers=2, longest=LENGTH // 2)
        large = _compared(folder / "128k", shape, BATCH, 1)
        figures |= {f"{name}_128k": value for name, value in large.items()}
    return figures


def _compared(folder: Path, shape: Shape, pairs: int, repeats: int) -> dict[str, float]:
    _prepare(folder, shape, pairs)
    sides: dict[str, list[Result]] = {"trl": [], "lidr": []}
    for number in range(repeats):
        for side, results in sides.items():
            results.append(_run(side, folder, str(number)))
            print(f"vocabulary {shape.vocabulary}, {side}: {results[-1]}", flush=True)
    trl, lidr = (
        {key: median(run[key] for run in runs) for key in ("seconds", "megabytes")}
        for runs in sides.values()
    )
    return {
        "speedup_vs_trl": round(trl["seconds"] / lidr["seconds"], 2),
        "memory_vs_trl": round(lidr["megabytes"] / trl["megabytes"], 3),
    }


def _loss_difference(folder: Path) -> float:
    """Compare the losses of some steps, and stop the benchmark where they differ."""
    expected, found = (_run(part, folder)["losses"] for part in ("trl_losses", "lidr_losses"))
    print(f"losses: TRL {expected}, lidr {found}", flush=True)
    pairs = zip(expected, found, strict=True)
    difference = max(abs(ours - theirs) / theirs for theirs, ours in pairs)
    if not difference < _BOUND:
        raise SystemExit(f"the losses differ by {difference:.1e}, more than {_BOUND}")
    return float(f"{difference:.1e}")


def _run(part: str, folder: Path, *rest: str) -> Result:
    out = folder / "result.json"
    command = [sys.executable, "-m", "benchmarks.training", "--part", part, str(folder), str(out)]
    subprocess.run([*command, *rest], check=True)
    result: Result = json.loads(out.read_text())
    return result


def _prepare(folder: Path, shape: Shape, count: int) -> None:
    """Write stages with a random model and with pairs, and tiny ones to warm both sides up."""
    rng = random.Random(0)
    vocabulary = shape.vocabulary
    store = LocalStore(folder / "store")
    uris = {
        "model": write_model(store, folder / "model", shape),
        "pairs": write_pairs(
            store, [draw_pair(rng, n, vocabulary, shape.longest) for n in range(count)]
        ),
        "tiny_model": write_model(store, folder / "tiny", Shape(vocabulary, 16, 1)),
        "tiny_pairs": write_pairs(store, [draw_pair(rng, number, 64, 8) for number in range(2)]),
        "few_pairs": write_pairs(store, [draw_pair(rng, n, vocabulary) for n in range(2 * BATCH)]),
    }
    (folder / "uris.json").write_text(json.dumps(uris))


def write_model(store: LocalStore, folder: Path, shape: Shape) -> str:
    """Write a random model of a shape into a stage and return its URI."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.width * 27 // 10,
        num_hidden_layers=shape.layers,
        num_attention_heads=max(1, shape.width // 64),
        max_position_embeddings=2 * LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    return store_model(store, folder, LlamaForCausalLM(config))


def store_model(store: LocalStore, folder: Path, model: Any) -> str:
    """Write a model and its tokenizer into a folder and a stage; return the stage's URI."""
    model.save_pretrained(folder)
    word_tokenizer(model.config.vocab_size).save_pretrained(folder)
    stage = new_stage(store, "prepare", 1, {}, {"model": str(folder)})
    for path in sorted(folder.iterdir()):
        stage.upload(f"model/{path.name}", path)
    return stage.finish({})


def word_tokenizer(vocabulary: int) -> Any:
    """Return a tokenizer in which every word is one token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    control = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
    words = control + [f"w{number}" for number in range(vocabulary - len(control))]
    known = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=control[0],
        eos_token=control[1],
        additional_special_tokens=control[2:],
        chat_template=_TEMPLATE,
        model_max_length=2 * LENGTH,
    )


def write_pairs(store: LocalStore, pairs: list[PreferencePair]) -> str:
    """Write pairs into a stage and return its URI."""
    stage = new_stage(store, "pair", 1, {}, {"pairs": [len(pairs), pairs[-1].prompt[0]["content"]]})
    stage.write_records("pairs.parquet", pairs, PreferencePair)
    return stage.finish({})


def draw_pair(
    rng: random.Random, number: int, vocabulary: int, longest: int = LENGTH
) -> PreferencePair:
    """Draw a pair of random words; a translation is about as long as what it translates."""
    side = rng.lognormvariate(math.log(200), math.log(900 / 200) / 1.645)
    other = side * rng.lognormvariate(0, 0.25)
    chosen, rejected = (max(8, min(longest, round(length))) for length in (side, other))
    return word_pair(rng, number, vocabulary, min(chosen, rejected) // 5, chosen, rejected)


def word_pair(
    rng: random.Random, number: int, vocabulary: int, prompt: int, chosen: int, rejected: int
) -> PreferencePair:
    """Return a pair of random words; `chosen` and `rejected` are tokens with the prompt's."""
    texts = (
        " ".join(f"w{rng.randrange(vocabulary - 4)}" for _ in range(words))
        for words in (prompt, chosen - prompt - 4, rejected - prompt - 4)
    )
    prompt_text, chosen_text, rejected_text = texts
    return PreferencePair(
        prompt=[{"role": "user", "content": prompt_text}],
        chosen=[{"role": "assistant", "content": chosen_text}],
        rejected=[{"role": "assistant", "content": rejected_text}],
        prompt_id=f"p{number}",
        language="es",
        other_language="en",
        kind="own_chosen",
        iteration=1,
        source_model="m0",
    )


def _part_lidr(folder: Path, number: str) -> Result:
    """Measure lidr's side, from stage to stage."""
    uris = json.loads((folder / "uris.json").read_text())
    _train_lidr(folder, "warm-up", uris["tiny_model"], uris["tiny_pairs"])
    return _measured(lambda: _train_lidr(folder, f"lidr-{number}", uris["model"], uris["pairs"]))


def _part_lidr_losses(folder: Path) -> Result:
    uris = json.loads((folder / "uris.json").read_text())
    stage = _train_lidr(folder, "lidr-losses", uris["model"], uris["few_pairs"])
    lines = stage.store.read(stage.key("metrics.jsonl")).splitlines()
    return {"losses": [json.loads(line)["loss"] for line in lines]}


def _train_lidr(folder: Path, name: str, model: str, pairs: str) -> Stage:
    from lidr.components.shared.config.machine import TrainingSettings
    from lidr.components.shared.config.training import Training
    from lidr.components.train.job import TrainingJob
    from lidr.components.train.trainer import run_training

    # A store of its own: the reference log-probabilities are computed in every run.
    store = LocalStore(folder / f"store-{name}")
    settings = Training(
        batch_size=BATCH,
        max_length=LENGTH,
        learning_rate=_RATE,
        schedule="linear",
        warmup_ratio=0.0,
        precision="float32",
    )
    job = TrainingJob(
        store=store.uri,
        stage="stages/train/benchmark",
        pairs=pairs,
        start=model,
        reference=model,
        training=settings,
        seed=0,
        machine=TrainingSettings(checkpoint_steps=500),  # the trainer's default, as on TRL's side
    )
    run_training(job)
    return Stage(store, job.stage)


def _part_trl(folder: Path, _: str) -> Result:
    """Measure TRL's side: from a model's folder to a trained model in memory."""
    uris = json.loads((folder / "uris.json").read_text())
    settings = {"per_device_train_batch_size": BATCH}
    _train_trl(folder, uris["tiny_model"], uris["tiny_pairs"], settings)
    return _measured(lambda: _train_trl(folder, uris["model"], uris["pairs"], settings))


def _part_trl_losses(folder: Path) -> Result:
    uris = json.loads((folder / "uris.json").read_text())
    settings = {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": BATCH,
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
    }
    trainer = _train_trl(folder, uris["model"], uris["few_pairs"], settings, ordered=True)
    history = trainer.state.log_history
    return {"losses": [row["loss"] for row in history if "loss" in row]}


def _train_trl(
    folder: Path, model: str, pairs: str, settings: dict[str, Any], *, ordered: bool = False
) -> Any:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    from lidr.components.shared.models.sources import model_files
    from lidr.components.shared.store.stage import open_stage
    from lidr.components.train.assembly import training_order

    records = open_stage(pairs).read_records(["pairs.parquet"], PreferencePair)
    if ordered:
        records = [records[row] for row in training_order(len(records), 1.0, 0)]
    sides = ("prompt", "chosen", "rejected")
    rows = [{side: getattr(record, side) for side in sides} for record in records]
    start = model_files(model).folder
    arguments = DPOConfig(
        output_dir=str(folder / "trl"),
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, 1.0],
        max_length=LENGTH,
        learning_rate=_RATE,
        num_train_epochs=1,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
        **settings,
    )
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(start),
    )
    trainer.train()
    return trainer


def _measured(work: Callable[[], object]) -> Result:
    """Run something and return its CPU seconds and what it added to the peak memory."""
    before = _resident()
    began = time.process_time()
    work()
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(seconds, 2), "megabytes": round(peak - before)}


def _resident() -> float:
    """Return this process's resident memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


PARTS: dict[str, Callable[..., Result]] = {
    "trl": _part_trl,
    "lidr": _part_lidr,
    "trl_losses": _part_trl_losses,
    "lidr_losses": _part_lidr_losses,
}

if __name__ == "__main__":
    main()
