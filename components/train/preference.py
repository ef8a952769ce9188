"""transformers' Trainer for preference pairs: our loss, our micro-batches, our records."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback

from lidr.components.shared.config.machine import TrainingSettings
from lidr.components.shared.config.training import Training
from lidr.components.shared.core.errors import TrainingFailed
from lidr.components.shared.core.events import Meter, emit
from lidr.components.shared.forward.batches import Layout, token_budget
from lidr.components.shared.forward.scoring import score
from lidr.components.shared.forward.shares import RankPart, Sharing
from lidr.components.shared.forward.tokens import TokenPair
from lidr.components.shared.tracking.live_metrics import CurveWriter
from lidr.components.train.distributed.ranks import Ranks
from lidr.components.train.distributed.scratch import CHECKPOINT_SIZE, explaining_full_disk
from lidr.components.train.forward.loss import pair_losses
from lidr.components.train.forward.reference import compute_logps, meter_of
from lidr.components.train.metrics import StepSums, TroubleMonitor
from lidr.components.train.throughput import StepWork, peak_flops

CHECKPOINT = "trained.safetensors"
"""In a checkpoint: the weights that are trained."""

NOT_METRICS = ("epoch", "tokens")
"""Keys of a step's row that are no metrics."""


class PreferenceTrainer(Trainer):
    """Takes an optimizer step's pairs as one batch and cuts them into micro-batches itself.

    The data loader yields the row numbers of one step, the same in every rank. The loss of each
    pair is divided by the pairs of the step, so neither micro-batches nor ranks change it.

    Args:
        pairs: the pairs, tokenized.
        order: rows of `pairs` in training order.
        reference: the reference model's log-probabilities of all pairs, (pairs, 2).
        layout: of the model's micro-batches.
        settings: the recipe's.
        machine: how the ranks use their machines.
        work: the model's, for MFU; None if unknown.
        ranks: the ranks that share the pairs of a step.
        kwargs: Trainer's own: `model`, `args`, `callbacks`.
    """

    def __init__(
        self,
        *,
        pairs: Sequence[TokenPair],
        order: Sequence[int],
        reference: torch.Tensor,
        layout: Layout,
        settings: Training,
        machine: TrainingSettings,
        work: StepWork | None,
        ranks: Ranks,
        **kwargs: Any,
    ) -> None:
        super().__init__(train_dataset=list(order), data_collator=list, **kwargs)
        self._pairs = pairs
        self._reference = reference.to(self.args.device)
        self._layout = layout
        self.settings = settings
        self.machine = machine
        self._ranks = ranks
        budget = token_budget(machine.micro_batch_tokens, pairs)
        self._sharing = Sharing(pairs, layout, budget, machine.micro_batch_size, ranks.world_size)
        self._work = work
        bfloat16_gpu = self.args.device.type == "cuda" and self.args.bf16
        self._peak = (
            peak_flops(torch.cuda.get_device_name(self.args.device)) if bfloat16_gpu else 0.0
        )
        self._sums = StepSums()
        self._step_rows: list[int] = []
        self._step_began = 0.0
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> DataLoader[int]:
        """Return the rows of each step, in training order."""
        return DataLoader(
            self.train_dataset, batch_size=self.settings.batch_size, collate_fn=self.data_collator
        )

    def training_step(
        self, model: Any, inputs: list[int], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Run this rank's passes of an optimizer step; the step's loss is the mean over ranks."""
        model.train()
        self._step_began = time.monotonic()
        self._step_rows = inputs
        parts = self._sharing.parts(inputs, self._ranks.rank)
        total = torch.zeros((), device=self.args.device)
        for number, part in enumerate(parts, start=1):
            # Ranks exchange gradients once, after the last micro-batch.
            self.accelerator.gradient_state._set_sync_gradients(number == len(parts))
            with self.compute_loss_context_manager():
                loss = self._loss(model, part, len(inputs))
            self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def _loss(self, model: Any, part: RankPart, step_pairs: int) -> torch.Tensor:
        """Return a micro-batch's share of the step's loss, and add to the step's sums."""
        pairs = [self._pairs[row] for row in part.rows]
        logps = score(model, self._layout(pairs, self.args.device)).float()
        lengths = logps.new_tensor([len(pair.chosen) for pair in pairs])
        losses = pair_losses(logps, lengths, self._reference[part.rows], self.settings.beta)
        loss = self.settings.dpo_weight * losses.dpo + self.settings.nll_weight * losses.nll
        if not part.counts:
            return loss.sum() * 0.0
        self._sums.add(loss, losses, pairs)
        # Ranks average their gradients, so each counts its own pairs world-size times.
        return loss.sum() * self._ranks.world_size / step_pairs

    def margins(self, rows: Sequence[int]) -> torch.Tensor:
        """Return the reward margins of rows under the model as it is now, (rows,), on the CPU.

        All ranks call it; each scores its share.
        """
        pairs = [self._pairs[row] for row in rows]
        model = self.accelerator.unwrap_model(self.model)
        budget, bfloat16 = self.machine.micro_batch_tokens, self.args.bf16
        meter = meter_of([pairs], self._layout, budget, self._ranks, "reward margins")
        logps = compute_logps(model, pairs, self._layout, budget, bfloat16, self._ranks, meter)
        gains = logps - self._reference[list(rows)].cpu()
        return self.settings.beta * (gains[:, 0] - gains[:, 1])

    def floating_point_ops(self, inputs: Any) -> int:
        """Return 0: transformers' estimate knows neither flat rows nor adapters."""
        return 0

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write a checkpoint's trained weights alone; DeepSpeed writes its own shards.

        The model's `save_pretrained` would reject some models' generation settings.
        """
        if not self.is_deepspeed_enabled:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            save_file(_trained(self.model), folder / CHECKPOINT, metadata={"format": "pt"})

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with explaining_full_disk(self.args.output_dir, "a checkpoint", CHECKPOINT_SIZE):
            super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        weights = load_file(Path(resume_from_checkpoint) / CHECKPOINT)
        with torch.no_grad():
            for name, parameter in _trained(model or self.model).items():
                parameter.copy_(weights[name])

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log one row per optimizer step; checkpoints save all rows with the trainer's state."""
        if "grad_norm" in logs:  # the summary at the end of training has none
            super().log(self._row(logs), start_time)

    def _row(self, logs: Mapping[str, float]) -> dict[str, float]:
        sums, self._sums = self._sums, StepSums()
        means, tokens = sums.means(self._ranks.sum)
        self._refuse_nan(means["loss"], logs["grad_norm"])
        seconds = max(time.monotonic() - self._step_began, 1e-9)
        row = {
            **means,
            "grad_norm": logs["grad_norm"],
            "learning_rate": logs["learning_rate"],
            "tokens_per_second": round(tokens / seconds, 1),
            "tokens": tokens,
        }
        if self._work and self._peak:
            row["mfu"] = round(self._work.flops(sums.pairs) / seconds / self._peak, 4)
        return row

    def _refuse_nan(self, loss: float, grad_norm: float) -> None:
        """Stop, in every rank, where the step's loss or gradient is not finite."""
        if math.isfinite(loss) and math.isfinite(grad_norm):
            return
        prompts = dict.fromkeys(self._pairs[row].prompt_id for row in self._step_rows)
        named = ", ".join(list(prompts)[:20])
        raise TrainingFailed(
            f"step {self.state.global_step}: the loss is {loss} and the gradient norm {grad_norm}; "
            f"the batch held the prompts {named}",
            remedy="Lower training.learning_rate or look at these prompts.",
        )


class Reporter(TrainerCallback):
    """Reports progress and trouble to the user, and metrics to the run's tracking.

    Args:
        monitor: warns of trouble.
        curves: writes live metrics; None for a run without tracking.
    """

    def __init__(self, monitor: TroubleMonitor, curves: CurveWriter | None = None) -> None:
        self._monitor = monitor
        self._curves = curves
        self._meter = Meter(0, "steps")

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._meter = Meter(state.max_steps - state.global_step, "steps", "tokens")

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, float], **_: Any
    ) -> None:
        """Report a step; about five times a run, its loss and reward accuracy too."""
        self._meter.advance(1, logs["tokens"])
        self._monitor.check(state.log_history, state.max_steps)
        if self._curves:
            self._curves.update(state.log_history)
        if state.global_step % max(1, state.max_steps // 5) == 0:
            emit("number", name="loss", value=f"{logs['loss']:.3f}")
            emit("number", name="reward accuracy", value=f"{logs['reward_accuracy']:.0%}")


def _trained(model: Any) -> dict[str, torch.Tensor]:
    return {name: each for name, each in model.named_parameters() if each.requires_grad}
