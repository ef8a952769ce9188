"""TRL's DPOTrainer with the paper's loss, in-memory reference values and our own records."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import DPOTrainer
from trl.trainer import utils as trl_utils

from components.shared.errors import TrainingFailed
from components.shared.progress import Meter, emit
from components.train.checkpoints import Checkpoints
from components.train.loss import pair_losses
from components.train.tokens import TokenPair

Batch = dict[str, torch.Tensor]

REFERENCE = "reference.npy"

# Without Triton, TRL's head scores the prompt's and the padding's positions too: 2.3 times the time
# of a whole step on the tiny world. The switch is read there only to choose the positions.
trl_utils._use_triton = lambda device: True


@dataclass(frozen=True)
class Weights:
    """The weights of the loss: `dpo` and `nll`."""

    dpo: float
    nll: float


class Collator:
    """Makes a batch of pairs: chosen sides first, then rejected ones, padded on the right.

    There is no attention mask: padding stands behind everything a causal model reads.

    Args:
        pairs: all pairs, which a dataset's `row` refers to.
        pad: id of the padding token.
    """

    def __init__(self, pairs: Sequence[TokenPair], pad: int) -> None:
        self._pairs = pairs
        self._pad = pad

    def __call__(self, examples: Sequence[Mapping[str, int]]) -> Batch:
        """Return `input_ids` and `completion_mask` (2 * pairs, tokens), and `row` (pairs,)."""
        rows = [example["row"] for example in examples]
        pairs = [self._pairs[row] for row in rows]
        sides = [(pair.prompt, pair.chosen) for pair in pairs]
        sides += [(pair.prompt, pair.rejected) for pair in pairs]
        width = max(len(prompt) + len(response) for prompt, response in sides)
        ids = np.full((len(sides), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(sides), width), dtype=np.int64)
        for index, (prompt, response) in enumerate(sides):
            end = len(prompt) + len(response)
            ids[index, :end] = prompt + response
            mask[index, len(prompt) : end] = 1
        return {
            "input_ids": torch.from_numpy(ids),
            "completion_mask": torch.from_numpy(mask),
            "row": torch.tensor(rows),
        }


class PreferenceTrainer(DPOTrainer):
    """DPOTrainer whose loss does not depend on micro-batches, accumulation or ranks.

    Args:
        pairs: the pairs, tokenized.
        order: rows of `pairs` in training order.
        weights: of the two terms.
        checkpoints: where reference values and checkpoints are kept.
        kwargs: as for DPOTrainer: `model`, `ref_model`, `args`, `processing_class`.
    """

    # The loss is divided by the pairs of the whole step, so accumulation divides no further.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *,
        pairs: Sequence[TokenPair],
        order: Sequence[int],
        weights: Weights,
        checkpoints: Checkpoints,
        **kwargs: Any,
    ) -> None:
        self._pairs = pairs
        self._weights = weights
        self._checkpoints = checkpoints
        self._sums = torch.zeros(len(_SUMMED))
        self._rows: list[torch.Tensor] = []
        self._step_began = 0.0
        self._reference = torch.zeros(0)
        tokenizer = kwargs["processing_class"]
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        super().__init__(
            train_dataset=Dataset.from_dict({"row": list(order)}),
            data_collator=Collator(pairs, pad),
            **kwargs,
        )
        self.ref_model = None  # its values are known now
        trl_utils.add_fused_lm_head(
            self.model, outputs=("log_probs",)
        )  # without TRL's extra statistics
        self.remove_callback(PrinterCallback)
        self._reference = self._reference.to(self.args.device)
        self._sums = self._sums.to(self.args.device)

    def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
        return dataset  # rows; the pairs are tokenized already

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write no model card into checkpoints."""

    def _precompute_ref_logps(self, dataset: Dataset, _name: str, batch_size: int) -> Dataset:
        """Compute every pair's reference log-probabilities once; a resumed run reads them back."""
        saved = self._checkpoints.read(REFERENCE)
        if saved is None:
            values = self._reference_values(batch_size)
            saved = _to_npy(values.numpy())
            self._checkpoints.write(REFERENCE, saved)
        self._reference = torch.from_numpy(np.load(io.BytesIO(saved), allow_pickle=False))
        return dataset

    def _reference_values(self, batch_size: int) -> torch.Tensor:
        model = (self.ref_model or self.model).eval()
        trl_utils.add_fused_lm_head(model, outputs=("log_probs",))
        # Pairs of like length share a batch, so that little of it is padding.
        rows = sorted(range(len(self._pairs)), key=lambda row: self._pairs[row].tokens)
        meter = Meter(len(rows), "reference pairs", "tokens")
        values = torch.zeros(len(rows), 2)
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            batch = self._prepare_inputs(self.data_collator([{"row": row} for row in part]))
            del batch["row"]
            values[part] = (
                torch.stack(self.compute_ref_log_probs(model, batch), dim=1).float().cpu()
            )
            meter.advance(len(part), sum(self._pairs[row].tokens for row in part))
        return values

    def _get_num_items_in_batch(self, batches: list[Batch], device: torch.device) -> torch.Tensor:
        """Return the pairs of the step that begins, over its micro-batches and all ranks."""
        self._step_began = time.monotonic()
        pairs = torch.tensor(sum(len(batch["row"]) for batch in batches), device=device)
        return self.accelerator.gather(pairs).sum()

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """Return the batch's share of the step's loss, and add to the step's sums."""
        ids, mask, rows = inputs["input_ids"], inputs["completion_mask"], inputs["row"]
        labels = ids.masked_fill(mask == 0, -100)
        outputs = model(input_ids=ids, labels=labels, use_cache=False, fused_lm_head=True)
        losses = pair_losses(outputs.log_probs, mask[:, 1:], self._reference[rows], self.beta)
        loss = self._weights.dpo * losses.dpo + self._weights.nll * losses.nll
        margins = losses.chosen_rewards - losses.rejected_rewards
        pairs = [self._pairs[row] for row in rows.tolist()]
        tokens = torch.tensor([pair.tokens for pair in pairs], device=loss.device)
        differ = torch.tensor([pair.chosen != pair.rejected for pair in pairs], device=loss.device)
        sums = _stacked(
            [
                loss,
                losses.dpo,
                losses.nll,
                margins,
                (margins > 0) & differ,
                losses.chosen_rewards,
                losses.rejected_rewards,
                losses.chosen_logps,
                losses.rejected_logps,
                tokens,
                differ,
                torch.ones_like(differ),
            ]
        )
        self._sums += sums.sum(dim=1)
        self._rows.append(rows)
        # Ranks average their gradients, so each counts its own pairs world-size times.
        return loss.sum() * self.accelerator.num_processes / num_items_in_batch

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Keep one record per optimizer step in the trainer's state, which checkpoints hold."""
        if "grad_norm" not in logs:
            return  # the summary at the end of training
        row = self._row(logs)
        super().log(row, start_time)

    def _row(self, logs: Mapping[str, float]) -> dict[str, float]:
        sums = self.accelerator.reduce(self._sums).tolist()
        totals = dict(zip(_SUMMED, sums, strict=True))
        pairs, differ, tokens = (totals.pop(name) for name in ("pairs", "differ", "tokens"))
        right = totals["reward_accuracy"]
        means = {name: total / pairs for name, total in totals.items()}
        # Pairs of identical sides have no order: they would count as wrong.
        means["reward_accuracy"] = right / differ if differ else 0.5
        self._refuse_nan(means["loss"], logs["grad_norm"])
        seconds = time.monotonic() - self._step_began
        row = {
            **means,
            "grad_norm": logs["grad_norm"],
            "learning_rate": logs["learning_rate"],
            "tokens_per_second": round(tokens / max(seconds, 1e-9), 1),
            "tokens": tokens,
        }
        self._sums.zero_()
        self._rows.clear()
        return row

    def _refuse_nan(self, loss: float, grad_norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(grad_norm):
            return
        ids = [self._pairs[row].prompt_id for rows in self._rows for row in rows.tolist()]
        named = ", ".join(list(dict.fromkeys(ids))[:20])
        raise TrainingFailed(
            f"step {self.state.global_step}: the loss is {loss} and the gradient norm {grad_norm}; "
            f"the batch held the prompts {named}",
            remedy="Lower training.learning_rate or look at these prompts.",
        )


_SUMMED = (
    "loss",
    "dpo_loss",
    "nll_loss",
    "reward_margin",
    "reward_accuracy",
    "chosen_reward",
    "rejected_reward",
    "chosen_logps",
    "rejected_logps",
    "tokens",
    "differ",
    "pairs",
)


class Reporter(TrainerCallback):
    """Copies checkpoints onto the stage and tells the user how training goes.

    Args:
        save: called with a checkpoint's folder and step.
    """

    def __init__(self, save: Callable[[Path, int], None]) -> None:
        self._save = save
        self._meter: Meter | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._meter = Meter(state.max_steps - state.global_step, "steps", "tokens")

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, float], **_: Any
    ) -> None:
        """Report a step; a few times in all, its loss and reward accuracy too."""
        if self._meter is not None:
            self._meter.advance(1, logs["tokens"])
        if state.global_step % max(1, state.max_steps // 5) == 0:
            emit("number", name="loss", value=f"{logs['loss']:.3f}")
            emit("number", name="reward accuracy", value=f"{logs['reward_accuracy']:.0%}")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Copy the checkpoint that was just written."""
        step = state.global_step
        self._save(Path(args.output_dir) / f"checkpoint-{step}", step)


def _stacked(columns: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack([column.detach().float() for column in columns])


def _to_npy(values: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()
