"""Memory of the passes of one micro-batch, by formula; checked against real passes."""

from __future__ import annotations

from lidr.components.shared.sizing.architecture import Architecture

TILE_LOGITS, MIN_TILE_ROWS, BLOCK_LOGITS = 1 << 22, 32, 1 << 27
"""As in components/shared/forward/head.py, which would import torch."""


def activation_bytes(
    shape: Architecture,
    tokens: int,
    precision: str,
    operands: float,
    *,
    checkpointing: bool = False,
) -> int:
    """Return the bytes that a micro-batch keeps for its backward pass, without the head.

    Without checkpointing every block keeps `Architecture.block_bytes` a token; with it every block
    keeps its input, and one block at a time the rest. The final norm, the rotary tables and, under
    autocast, the cast weights are added.

    Args:
        shape: the model's.
        tokens: of the micro-batch, without padding.
        precision: as in `Architecture.block_bytes`.
        operands: elements per token that attention keeps in a block.
        checkpointing: activations are recomputed in the backward pass.
    """
    block, residual = shape.block_bytes(precision, operands), shape.residual_bytes(precision)
    kept = shape.layers * residual + block if checkpointing else shape.layers * block
    final = 2 * residual + 2 * 4 * shape.head_dim + 3 * 4
    cast = 2 * shape.block_matmul * (1 if checkpointing else shape.layers)
    return round(tokens * (kept + final)) + cast * (precision == "autocast")


def passing_bytes(shape: Architecture, tokens: int, precision: str) -> int:
    """Return the bytes of the gradients that pass through one block in the backward pass."""
    element = 4 if precision == "float32" else 2
    return tokens * (2 * shape.residual_bytes(precision) + element * 3 * shape.intermediate)


def logit_bytes(shape: Architecture, rows: int, precision: str, trained: bool = True) -> int:
    """Return the head's bytes: a tile's logits, a block's gradients, cast weights, its gradient.

    Args:
        shape: the model's.
        rows: response tokens of the micro-batch at most.
        precision: as in `Architecture.block_bytes`.
        trained: the head gets a gradient, newly made for each micro-batch.
    """
    tile = min(rows, max(MIN_TILE_ROWS, TILE_LOGITS // shape.vocabulary))
    block = min(rows, max(tile, BLOCK_LOGITS // shape.vocabulary)) * (precision != "float32")
    cast = 2 * shape.embedding if precision == "autocast" else 0
    weights = (2 if precision == "bfloat16" else 4) * shape.embedding if trained else 0
    return (2 * 4 * tile + 2 * block) * shape.vocabulary + cast + weights
