"""The floating-point operations of training, by formula."""

from __future__ import annotations

from lidr.components.shared.sizing.architecture import Architecture


def step_flops(
    shape: Architecture,
    tokens: float,
    length: float,
    loss_rows: float,
    *,
    checkpointing: bool = False,
    lora: bool = False,
) -> float:
    """Return the floating-point operations of training on `tokens` tokens, over all ranks.

    Each weight costs two operations a token; the backward pass repeats them for the gradient of the
    input and, without LoRA, for that of the weight.

    Args:
        shape: the model's.
        tokens: of all pairs, prompts and both sides.
        length: twice the mean number of keys that a query sees; for separate sequences that is
            their mean length in tokens, weighted by token.
        loss_rows: tokens that go through the LM head.
        checkpointing: the forward pass is run twice.
        lora: only adapters are trained.
    """
    blocks, attention, head = _forward_flops(shape, tokens, length, loss_rows)
    weights = (blocks + head) * (1 if lora else 2)
    recomputed = blocks + attention if checkpointing else 0.0
    return blocks + head + weights + 3 * attention + recomputed


def reference_flops(shape: Architecture, tokens: float, length: float, loss_rows: float) -> float:
    """Return the floating-point operations of the reference model's one pass over these tokens."""
    return sum(_forward_flops(shape, tokens, length, loss_rows))


def _forward_flops(
    shape: Architecture, tokens: float, length: float, loss_rows: float
) -> tuple[float, float, float]:
    """Return a forward pass's operations: blocks' weights, causal attention (half), and head."""
    return (
        2.0 * shape.layers * shape.block_matmul * tokens,
        2.0 * shape.layers * shape.query_width * length * tokens,
        2.0 * shape.embedding * loss_rows,
    )
