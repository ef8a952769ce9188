"""A real training run in processes of its own, which tells the memory that a rank took.

`python -m tests.unit.shared.sizing.training_memory JOB.json`, also under torchrun, prints a line of
JSON: `peak`, the most that rank 0 held in optimizer steps after the first beyond what it held
before the model came (its high-water mark without its libraries' files: how much of their code is
mapped differs from machine to machine), the tokens of the largest micro-batch, and what the
`process` held before the model came, libraries and all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lidr.components.train import assembly, preference, trainer
from lidr.components.train.distributed.ranks import exit_without_cleanup
from lidr.components.train.job import TrainingJob

FOUND: dict[str, Any] = {"peak": 0, "tokens": 0, "prompt_share": 0.0}
BEFORE: list[int] = []


def status(name: str) -> int:
    """Return a line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def libraries() -> int:
    """Return how much of shared objects is resident, in bytes."""
    total, counts = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):  # the line of a mapping: addresses, rights, ..., path
            counts = ".so" in rest[-1]
        elif name == "Rss:" and counts:
            total += int(rest[0]) * 1024
    return total


class Measured(preference.PreferenceTrainer):
    """Notes the peak of each step but the first, before which Adam has no state."""

    def training_step(self, model: Any, inputs: list[int], *args: Any) -> Any:
        for part in self._sharing.parts(inputs, self._ranks.rank):
            pairs = [self._pairs[row] for row in part.rows]
            tokens = sum(pair.tokens for pair in pairs)
            if tokens > FOUND["tokens"]:
                prompts = sum(len(pair.prompt) for pair in pairs)
                FOUND.update(tokens=tokens, prompt_share=prompts / tokens)
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts over
        return super().training_step(model, inputs, *args)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "grad_norm" in logs and self.state.global_step > 1:  # the optimizer has stepped, too
            peak = status("VmHWM") - libraries() - BEFORE[0]
            FOUND["peak"] = max(FOUND["peak"], peak)
        super().log(logs, start_time)


def main(path: Path) -> None:
    job = TrainingJob.model_validate_json(path.read_text("utf-8"))
    load_model = assembly.load_model

    def noted(*given: Any) -> Any:
        FOUND["process"] = status("VmRSS")
        BEFORE.append(status("VmRSS") - libraries())
        return load_model(*given)

    assembly.load_model = noted
    assembly.PreferenceTrainer = Measured  # type: ignore[misc]
    trainer.run_training(job)
    if trainer.os.environ.get("RANK", "0") == "0":
        print(json.dumps(FOUND), flush=True)
    exit_without_cleanup(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
