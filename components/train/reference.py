"""The reference model's log-probabilities: computed once, kept in a stage of their own.

The stage's address follows from the reference model and the tokens of the pairs, so a retry,
another beta or another learning rate finds it done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import torch

from components.shared.digest import digest_of_uri
from components.shared.progress import Meter, emit
from components.shared.stage import Stage, new_stage
from components.shared.store import Store
from components.train.batches import Layout, micro_batches, token_budget
from components.train.scoring import score
from components.train.tokens import TokenPair, TokenPairs

VERSION = 1

_FILE = "logps.parquet"


@dataclass(frozen=True, slots=True)
class ReferenceScore:
    """What the reference model makes of one pair."""

    schema: ClassVar[pa.Schema] = pa.schema(
        [("pair", pa.string()), ("chosen", pa.float32()), ("rejected", pa.float32())]
    )
    pair: str
    chosen: float
    rejected: float


def reference_stage(
    store: Store, pairs_uri: str, model_uri: str, pairs: TokenPairs, precision: str
) -> Stage:
    """Return the stage that holds, or will hold, a model's log-probabilities of pairs.

    Args:
        store: where it lives.
        pairs_uri: the pair stage.
        model_uri: the reference model's stage.
        pairs: the pairs as they were tokenized and cut.
        precision: of the passes.
    """
    inputs = {"pairs": digest_of_uri(pairs_uri), "model": digest_of_uri(model_uri)}
    settings = {"tokens": pairs.digest, "precision": precision}
    return new_stage(store, "reference", VERSION, inputs, settings)


def reference_logps(
    stage: Stage, pairs: Sequence[TokenPair], compute: Callable[[], torch.Tensor]
) -> torch.Tensor:
    """Return the reference log-probabilities of chosen and rejected texts, (pairs, 2).

    Args:
        stage: as `reference_stage` gives it.
        pairs: the pairs.
        compute: called where the stage is not done.
    """
    if stage.done():
        emit("note", message="reference log-probabilities are there already")
    else:
        records = [
            ReferenceScore(pair.key, chosen, rejected)
            for pair, (chosen, rejected) in zip(pairs, compute().tolist(), strict=True)
        ]
        stage.write_records(_FILE, records, ReferenceScore)
        stage.finish({"pairs": len(records)})
    known = {each.pair: each for each in stage.read_records([_FILE], ReferenceScore)}
    return torch.tensor([[known[pair.key].chosen, known[pair.key].rejected] for pair in pairs])


def compute_logps(
    model: Any, pairs: Sequence[TokenPair], layout: Layout, tokens: int, bfloat16: bool
) -> torch.Tensor:
    """Score all pairs with a model on its device, without gradients.

    Args:
        model: as `scoring.install` leaves it.
        pairs: the pairs.
        layout: that the model understands.
        tokens: of a micro-batch; 0 for what the longest pair needs.
        bfloat16: run the passes in bfloat16.
    """
    model.eval()
    values = torch.zeros(len(pairs), 2)
    meter = Meter(len(pairs), "reference pairs", "tokens")
    budget = token_budget(tokens, pairs)
    for part in micro_batches(range(len(pairs)), pairs, layout, budget, 0):
        batch = layout([pairs[row] for row in part], model.device)
        with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
            values[part] = score(model, batch).float().cpu()
        meter.advance(len(part), sum(pairs[row].tokens for row in part))
    return values
