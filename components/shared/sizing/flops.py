"""The floating-point operations of training, by formula."""

from __future__ import annotations

from lidr.components.shared.sizing.architecture import Architecture


def step_flops(
    shape: Architecture,
    tokens: int,
    length: float,
    loss_rows: int,
    *,
    checkpointing: bool = False,
    lora: bool = False,
) -> float:
    """Return the floating-point operations of one optimizer step over all ranks.

    A multiplication with a weight is two a token; the backward pass does it twice, for the input
    and for the weight, whose gradient LoRA leaves out. Causal attention reads half of the length.

    Args:
        shape: the model's.
        tokens: of all pairs of the step, prompts and both sides.
        length: mean tokens of a sequence, weighted by token.
        loss_rows: tokens that go through the LM head.
        checkpointing: the forward pass happens twice.
        lora: only adapters are trained.
    """
    forward = 2.0 * shape.layers * shape.block_matmul * tokens
    attention = 2.0 * shape.layers * shape.query_width * length * tokens
    head = 2.0 * shape.embedding * loss_rows
    weights = forward * (1 if lora else 2) + head * (1 if lora else 2)
    recomputed = forward + attention if checkpointing else 0.0
    return forward + head + weights + 3 * attention + recomputed


def reference_flops(shape: Architecture, tokens: int, length: float, loss_rows: int) -> float:
    """Return the floating-point operations of the reference model's one pass over these tokens."""
    blocks = 2.0 * shape.layers * shape.block_matmul * tokens
    return (
        blocks
        + 2.0 * shape.layers * shape.query_width * length * tokens
        + (2.0 * shape.embedding * loss_rows)
    )
