"""A real training run in a process of its own, which tells the memory it took.

`python -m tests.unit.train.training_memory JOB.json` prints one line of JSON: `peak`, and what the
largest micro-batch held. The peak is that of the optimizer steps after the first, by the process's
high-water mark, without what libraries take: in its place when a step begins count the weights and
Adam's moments, by their tensors.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from components.train import preference, trainer
from components.train.batches import micro_batches, token_budget

FOUND: dict[str, Any] = {"peak": 0, "tokens": 0, "prompt_share": 0.0}


def status(name: str) -> int:
    """Return a line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


class Measured(preference.PreferenceTrainer):
    """Notes the peak of each step but the first, before which Adam has no state."""

    def training_step(self, model: Any, inputs: list[int], *args: Any) -> Any:
        self._note(inputs)
        if not self.state.global_step:
            return super().training_step(model, inputs, *args)
        before = status("VmRSS") - self._held(model)
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
        loss = super().training_step(model, inputs, *args)
        FOUND["peak"] = max(FOUND["peak"], status("VmHWM") - before)
        return loss

    def _held(self, model: Any) -> int:
        assert all(each.grad is None for each in model.parameters())
        moments = [each for state in self.optimizer.state.values() for each in state.values()]
        return sum(each.nbytes for each in [*model.parameters(), *moments])

    def _note(self, inputs: list[int]) -> None:
        budget = token_budget(self.settings.micro_batch_tokens, self._pairs)
        most = self.settings.micro_batch_size
        for part in micro_batches(inputs, self._pairs, self._layout, budget, most):
            pairs = [self._pairs[row] for row in part]
            tokens = sum(pair.tokens for pair in pairs)
            if tokens > FOUND["tokens"]:
                prompts = sum(len(pair.prompt) for pair in pairs)
                FOUND.update(tokens=tokens, prompt_share=prompts / tokens)


def main(path: Path) -> None:
    job = trainer.Job.model_validate_json(path.read_text("utf-8"))
    preference.PreferenceTrainer = Measured
    trainer.run_training(job)
    print(json.dumps(FOUND))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
