"""A decoder's shape, from its config.json alone: parameters, and bytes kept for the backward pass.

The families differ in biases, norms and heads; every figure is checked against the models of the
transformers library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lidr.components.shared.core.errors import BadInput


@dataclass(frozen=True)
class Family:
    """What a family's blocks have beyond Llama's, and defaults for keys that config.json lacks.

    Attributes:
        qkv_bias: the projections to queries, keys and values have biases whatever the config says.
        qk_norm: queries and keys are normalised per head.
        norms: norms of hidden states in a block.
        float32_norm: a norm multiplies by its weight in float32 (Gemma), not in the input's type.
        tied: default; input and output embeddings are one matrix.
        head_dim: default width of one head; 0 for hidden / heads.
        kv_heads: default; 0 for as many as heads.
        heads: default number; 0 if config.json must have it.
        vocabulary: default number; 0 if config.json must have it.
    """

    qkv_bias: bool = False
    qk_norm: bool = False
    norms: int = 2
    float32_norm: bool = False
    tied: bool = False
    head_dim: int = 0
    kv_heads: int = 0
    heads: int = 0
    vocabulary: int = 0


FAMILIES = {
    "llama": Family(),
    "mistral": Family(kv_heads=8),
    "qwen2": Family(qkv_bias=True, kv_heads=32),
    "qwen3": Family(qk_norm=True, head_dim=128, kv_heads=32),
    "gemma": Family(float32_norm=True, tied=True, head_dim=256, kv_heads=16),
    "gemma2": Family(norms=4, float32_norm=True, tied=True, head_dim=256, kv_heads=4),
    "gemma3_text": Family(
        norms=4,
        float32_norm=True,
        tied=True,
        head_dim=256,
        kv_heads=4,
        qk_norm=True,
        heads=8,
        vocabulary=262_208,
    ),
}
"""By `model_type`."""

_EXPERT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts")

_REMEDY = "To run without a plan, remove the profile's budget and its training.gpu_memory_gib."


@dataclass(frozen=True)
class Architecture:
    """A dense decoder-only transformer with gated feed-forward blocks.

    Attributes:
        family: what its blocks have beyond Llama's.
        vocabulary: rows of the embedding.
        hidden: width of the residual stream.
        layers: blocks.
        heads: query heads.
        kv_heads: key and value heads.
        head_dim: width of one head.
        intermediate: width of the feed-forward layer.
        tied: input and output embeddings are one matrix.
        attention_bias: all four attention projections have biases.
        mlp_bias: all three feed-forward projections have biases.
    """

    family: Family
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    tied: bool
    attention_bias: bool = False
    mlp_bias: bool = False

    @property
    def query_width(self) -> int:
        """Width of all query heads."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.kv_heads * self.head_dim

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of a block's linear layers."""
        attention = (self.query_width, self.kv_width, self.kv_width)
        return (
            *((self.hidden, width) for width in attention),
            (self.query_width, self.hidden),
            (self.hidden, self.intermediate),
            (self.hidden, self.intermediate),
            (self.intermediate, self.hidden),
        )

    @property
    def block_matmul(self) -> int:
        """Weights of a block that tokens are multiplied with."""
        return sum(rows * columns for rows, columns in self.matrices)

    @property
    def block(self) -> int:
        """Parameters of a block."""
        qkv = self.query_width + 2 * self.kv_width
        biases = qkv * (self.attention_bias or self.family.qkv_bias)
        biases += self.hidden * self.attention_bias
        biases += (2 * self.intermediate + self.hidden) * self.mlp_bias
        norms = self.family.norms * self.hidden + 2 * self.head_dim * self.family.qk_norm
        return self.block_matmul + biases + norms

    @property
    def embedding(self) -> int:
        """Parameters of one embedding matrix."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """Parameters of the model; a tied embedding counts once."""
        embeddings = self.embedding * (1 if self.tied else 2)
        return embeddings + self.layers * self.block + self.hidden

    def lora_parameters(self, rank: int) -> int:
        """Parameters of adapters of this rank on every linear layer of the blocks."""
        return self.layers * rank * sum(rows + columns for rows, columns in self.matrices)

    def block_bytes(self, precision: str, operands: float) -> float:
        """Bytes per token that one block keeps for the backward pass.

        Kept are the inputs of the linear layers, of the norms (with their normalised values) and of
        the activation function, and attention's operands and result. Scores are not kept, as
        torch's attention is fused.

        Args:
            precision: `float32`; `bfloat16`, where the weights are too; or `autocast`, where
                weights, norms and the residual stream are in float32.
            operands: elements per token that attention keeps, from `operands`.
        """
        family = self.family
        wide = precision == "float32"
        element = 4 if wide else 2
        normed = 4 if wide or precision == "autocast" or family.float32_norm else 2
        after = family.norms - 2  # Gemma 2 also normalises what a block adds
        norm = 4 + normed  # its input in float32, and the normalised input
        readers = 3 + 2 if precision == "autocast" else 2  # autocast casts for each projection
        inputs = readers * element * self.hidden
        total: float = (2 + after) * norm * self.hidden + inputs
        total += element * (operands + 4 * self.intermediate)
        total += 4 * (self.heads + 2 + after)
        if family.qk_norm:
            per_head = 4 + (4 if wide or family.float32_norm else 2)
            total += per_head * (self.query_width + self.kv_width)
            total += 4 * (self.heads + self.kv_heads)
        return total

    def operands(self, prompt_share: float = 0.0, *, gpu: bool = True) -> float:
        """Elements per token that attention keeps in one block (shared/forward/attention.py).

        A prompt's keys and values are laid out twice, before chosen and before rejected. The GPU
        kernel keeps queries, keys, values and result. On a CPU keys and values are repeated for
        every query head, those of the rejected side are copied, and the result is concatenated.

        Args:
            prompt_share: share of the micro-batch's tokens that are prompts.
            gpu: attention runs on a GPU, not on a CPU.
        """
        if gpu:
            return 2 * self.query_width + 2 * self.kv_width * (1 + prompt_share)
        return self.query_width * (5 + 1 + prompt_share)

    def residual_bytes(self, precision: str) -> int:
        """Bytes of one token's residual stream: all that a checkpointed block keeps."""
        return self.hidden * (2 if precision == "bfloat16" else 4)


def read_architecture(config: dict[str, Any]) -> Architecture:
    """Read the shape of a model, or of the text model inside it, from its config.json.

    Raises:
        BadInput: an unsupported family, a mixture of experts, or a missing key.
    """
    config = text_settings(config)
    kind = str(config.get("model_type", ""))
    if any(config.get(key) for key in _EXPERT_KEYS):
        raise BadInput(
            f"cannot plan for the mixture of experts {kind!r}: plans are made for dense models",
            remedy=_REMEDY,
        )
    if kind not in FAMILIES:
        raise BadInput(
            f"cannot plan for model_type {kind!r}; known are {', '.join(FAMILIES)}", remedy=_REMEDY
        )
    family = FAMILIES[kind]
    try:
        return _architecture(config, family)
    except KeyError as error:
        raise BadInput(f"config.json has no {error}", remedy="Fetch the model again.") from error


def text_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config.json's settings of the text model, which may be inside `text_config`."""
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else dict(config)


def _architecture(config: dict[str, Any], family: Family) -> Architecture:
    heads = config.get("num_attention_heads") or family.heads or config["num_attention_heads"]
    default_kv = family.kv_heads if "num_key_value_heads" not in config else 0  # null is heads
    default_dim = family.head_dim if "head_dim" not in config else 0
    tied = config.get("tie_word_embeddings")
    return Architecture(
        family=family,
        vocabulary=config.get("vocab_size") or family.vocabulary or config["vocab_size"],
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or default_kv or heads,
        head_dim=config.get("head_dim") or default_dim or config["hidden_size"] // heads,
        intermediate=config["intermediate_size"],
        tied=family.tied if tied is None else tied,
        attention_bias=bool(config.get("attention_bias")),
        mlp_bias=bool(config.get("mlp_bias")),
    )
