"""The reference model's log-probabilities: computed once and kept in their own stage.

The stage's address follows from the reference model and the tokens of the pairs, so retries and
runs with another beta or learning rate reuse them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import torch

from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.core.events import emit
from lidr.components.shared.forward.batches import Layout
from lidr.components.shared.forward.logps import pair_logps
from lidr.components.shared.forward.tokens import TokenPair, TokenPairs
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.stage import Stage, new_stage
from lidr.components.train.distributed.ranks import Ranks

VERSION = 1

_FILE = "logps.parquet"


@dataclass(frozen=True, slots=True)
class ReferenceScore:
    """The reference model's log-probabilities of one pair (natural logs, summed over tokens)."""

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
        store: the store of the stage.
        pairs_uri: URI of the pair stage.
        model_uri: URI of the reference model's stage.
        pairs: the pairs, tokenized and truncated.
        precision: of the forward passes, `bfloat16` or `float32`.
    """
    inputs = {"pairs": digest_of_uri(pairs_uri), "model": digest_of_uri(model_uri)}
    settings = {"tokens": pairs.digest, "precision": precision}
    return new_stage(store, "reference", VERSION, inputs, settings)


def reference_logps(
    stage: Stage, pairs: Sequence[TokenPair], compute: Callable[[], torch.Tensor], ranks: Ranks
) -> torch.Tensor:
    """Return the reference log-probabilities of chosen and rejected texts, shape (pairs, 2).

    Args:
        stage: from `reference_stage`.
        pairs: the pairs.
        compute: returns them, (pairs, 2); called on every rank if the stage is not done.
        ranks: the ranks; rank 0 writes the stage.
    """
    if ranks.broadcast(stage.done()):
        emit("note", message="stored reference log-probabilities are used")
    else:
        values = compute()
        with ranks.sharing_errors():
            if ranks.leads:
                _write(stage, pairs, values)
    known = {each.pair: each for each in stage.read_records([_FILE], ReferenceScore)}
    return torch.tensor([[known[pair.key].chosen, known[pair.key].rejected] for pair in pairs])


def _write(stage: Stage, pairs: Sequence[TokenPair], values: torch.Tensor) -> None:
    records = [
        ReferenceScore(pair.key, chosen, rejected)
        for pair, (chosen, rejected) in zip(pairs, values.tolist(), strict=True)
    ]
    stage.write_records(_FILE, records, ReferenceScore)
    stage.finish({"pairs": len(records)})


def compute_logps(
    model: Any,
    pairs: Sequence[TokenPair],
    layout: Layout,
    tokens: int,
    bfloat16: bool,
    ranks: Ranks,
    unit: str = "reference pairs",
) -> torch.Tensor:
    """Return every pair's log-probabilities, (pairs, 2); each rank computes its share.

    The arguments are those of `pair_logps`.
    """
    own = pair_logps(model, pairs, layout, tokens, bfloat16, unit, ranks.rank, ranks.world_size)
    return ranks.sum(own)
