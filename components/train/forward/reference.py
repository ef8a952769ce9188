"""The reference model's log-probabilities: computed once and kept in their own stage.

The stage's address follows from the reference model and the tokens of the pairs, so retries and
runs with another beta or learning rate reuse them. Several runs may write the stage at the same
time: each file is created once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import torch

from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.core.errors import TrainingFailed
from lidr.components.shared.core.events import Meter, emit
from lidr.components.shared.core.text import some_of
from lidr.components.shared.forward.batches import Layout
from lidr.components.shared.forward.logps import pair_logps, shares
from lidr.components.shared.forward.tokens import TokenPair, TokenPairs
from lidr.components.shared.records.parquet import to_parquet
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.stage import Stage, new_stage
from lidr.components.train.distributed.ranks import Ranks

VERSION = 2

PART_PAIRS = 4096
"""Pairs that are scored before a file is written: what an interrupted pass loses at most."""


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


Parts = Iterable[Sequence[TokenPair]]
Compute = Callable[[Parts], Iterator[torch.Tensor]]
"""Yields the log-probabilities of each part of the pairs, (pairs of the part, 2)."""


def reference_logps(
    stage: Stage, pairs: Sequence[TokenPair], compute: Compute, ranks: Ranks
) -> torch.Tensor:
    """Return the reference log-probabilities of chosen and rejected texts, shape (pairs, 2).

    Args:
        stage: from `reference_stage`.
        pairs: the pairs.
        compute: called on every rank for the parts that the stage lacks, if any.
        ranks: the ranks; rank 0 writes the stage.

    Raises:
        TrainingFailed: a log-probability is not finite.
    """
    parts = {
        f"logps-{start // PART_PAIRS:05d}.parquet": pairs[start : start + PART_PAIRS]
        for start in range(0, len(pairs), PART_PAIRS)
    }
    with ranks.sharing_errors():
        present = _present(stage, list(parts)) if ranks.leads else []
    present = ranks.broadcast(present)
    if present:
        share = "" if len(present) == len(parts) else f" of {len(present)} of {len(parts)} parts"
        emit("note", message=f"stored reference log-probabilities{share} are used")
    missing = {name: part for name, part in parts.items() if name not in present}
    if missing:
        for (name, part), values in zip(missing.items(), compute(missing.values()), strict=True):
            _require_finite(part, values)
            with ranks.sharing_errors():
                if ranks.leads:
                    stage.create(name, to_parquet(_scores(part, values), ReferenceScore))
    with ranks.sharing_errors():
        if ranks.leads and not stage.done():
            for _ in stage.unfinished_tables(list(parts), ["pair"], ReferenceScore):
                pass  # another run may have written it: the marker must not seal a damaged file
            stage.finish({"pairs": len(pairs)})
    with ranks.sharing_errors():
        known = {each.pair: each for each in stage.read_records(list(parts), ReferenceScore)}
    return torch.tensor([[known[pair.key].chosen, known[pair.key].rejected] for pair in pairs])


def _present(stage: Stage, names: list[str]) -> list[str]:
    return names if stage.done() else [n for n in names if stage.store.exists(stage.key(n))]


def _require_finite(pairs: Sequence[TokenPair], values: torch.Tensor) -> None:
    if bad := [pairs[row].key for row in (~values.isfinite()).any(dim=1).nonzero()[:, 0].tolist()]:
        raise TrainingFailed(
            f"the reference model's log-probabilities of {len(bad)} pairs are not finite: "
            f"{some_of(bad)}",
            remedy="Set training.precision to float32, or choose another reference model.",
        )


def _scores(pairs: Sequence[TokenPair], values: torch.Tensor) -> list[ReferenceScore]:
    return [
        ReferenceScore(pair.key, chosen, rejected)
        for pair, (chosen, rejected) in zip(pairs, values.tolist(), strict=True)
    ]


def compute_logps(
    model: Any,
    pairs: Sequence[TokenPair],
    layout: Layout,
    tokens: int,
    bfloat16: bool,
    ranks: Ranks,
    meter: Meter,
) -> torch.Tensor:
    """Return every pair's log-probabilities, (pairs, 2); each rank computes its share.

    The arguments are those of `pair_logps`.
    """
    own = pair_logps(model, pairs, layout, tokens, bfloat16, meter, ranks.rank, ranks.world_size)
    return ranks.sum(own)


def meter_of(parts: Parts, layout: Layout, tokens: int, ranks: Ranks, unit: str) -> Meter:
    """Return a meter for the pairs that this rank scores; `parts` are those of all ranks."""
    own = (
        share
        for part in parts
        for share in shares(part, layout, tokens, ranks.rank, ranks.world_size)
    )
    return Meter(sum(len(share.rows) for share in own), unit, "tokens")
