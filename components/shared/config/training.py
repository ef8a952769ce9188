"""The recipe's `training`: DPO with NLL, of all weights or of adapters."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from lidr.components.shared.config.base_model import Strict


class Lora(Strict):
    """Low-rank adapters (arXiv 2106.09685)."""

    rank: int = Field(0, ge=0)
    """Rank of the adapters. Default 0: none, all weights are trained."""
    alpha: int = Field(16, ge=1)
    """The adapters' output is multiplied by alpha / rank. Default 16."""
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of the adapters' input that is dropped. Default 0."""
    targets: tuple[str, ...] = ()
    """Names of the layers that get an adapter, e.g. `[q_proj, v_proj]`. Default empty: every linear
    layer but the head."""
    merge: bool = True
    """Whether adapters are added to the weights when training ends. If not, the stage holds the
    adapter alone, whose rank grows by `rank` in each iteration. Default true."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.merge and self.rank == 0:
            raise ValueError("merge false needs a rank: without adapters all weights change")
        return self


class Training(Strict):
    """The train stage: L = dpo_weight * L_DPO(beta) + nll_weight * L_NLL(chosen)."""

    beta: float = Field(0.1, gt=0.0)
    """Strength of the pull towards the reference model. Default 0.1."""
    dpo_weight: float = Field(1.0, ge=0.0)
    """Weight of the DPO term; 0 is SFT on the chosen texts only. Default 1."""
    nll_weight: float = Field(1.0, ge=0.0)
    """Weight alpha of the NLL term; 0 is plain DPO. Default 1."""
    start: Literal["previous", "base"] = "previous"
    """Model that training starts from: M_t or M_0. Default previous."""
    reference: Literal["previous", "base"] = "previous"
    """Reference model of DPO: M_t or M_0. Default previous."""
    learning_rate: float = Field(5e-7, gt=0.0)
    """Peak learning rate of AdamW. Default 5e-7."""
    warmup_ratio: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the optimizer steps with a rising learning rate. Default 0.1."""
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    """Learning rate after the warm-up. Default cosine."""
    weight_decay: float = Field(0.0, ge=0.0)
    """AdamW's decoupled weight decay. Default 0."""
    max_grad_norm: float = Field(1.0, gt=0.0)
    """Gradients are clipped to this norm. Default 1."""
    epochs: float = Field(1.0, gt=0.0)
    """Passes over the pairs. Default 1."""
    batch_size: int = Field(128, ge=1)
    """Pairs per optimizer step, over all ranks. Default 128."""
    max_length: int = Field(2048, ge=16)
    """Tokens of prompt and response; longer responses are cut. Default 2048."""
    prompt_overflow: Literal["refuse", "drop"] = "refuse"
    """What happens to a pair whose prompt alone has max_length tokens or more. Default refuse:
    training does not start."""
    lora: Lora = Lora()
    """Low-rank adapters instead of full fine-tuning."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of training passes. Default auto: bfloat16 on a GPU, float32 on a CPU."""
    export: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the weights that are written, from which the next iteration starts. float32: what
    training reached, to the last bit. bfloat16: half the bytes, rounded stochastically, which keeps
    updates below bfloat16's precision on average. Default auto: bfloat16 where M_0's files and
    inference (`model.dtype`) both have it, else float32."""

    def in_bfloat16(self, *, gpu: bool) -> bool:
        """Return whether training passes run in bfloat16.

        Args:
            gpu: whether they run on a GPU (CUDA or ROCm).
        """
        return self.precision == "bfloat16" or (self.precision == "auto" and gpu)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dpo_weight == 0 and self.nll_weight == 0:
            raise ValueError("dpo_weight and nll_weight cannot both be 0: nothing would be learnt")
        return self
