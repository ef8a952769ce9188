"""How long GPUs take, by a roofline of memory bandwidth and arithmetic (CACM 52(4), 2009)."""

from __future__ import annotations

from dataclasses import dataclass

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.sizing.architecture import Architecture
from lidr.components.shared.sizing.flops import reference_flops, step_flops
from lidr.pipelines.planning.figures import Gpu, Roofline
from lidr.pipelines.planning.requests import Load, PairLoad


@dataclass(frozen=True)
class ModelServer:
    """One engine and its GPUs.

    Attributes:
        stage: the step that it serves, which a remedy names.
        shape: the model's.
        gpu: their type.
        gpus: how many one engine has; the model is split over them.
        roofline: shares of the GPU's peaks that are reached.
        utilization: share of the memory for weights and KV cache.
        sequences: how many requests are decoded at once at most; 0 for vLLM's default.
        weight_bytes: bytes of one parameter.
        cache_bytes: bytes of one number in the KV cache.
    """

    stage: str
    shape: Architecture
    gpu: Gpu
    gpus: int
    roofline: Roofline
    utilization: float = 0.9
    sequences: int = 0
    weight_bytes: float = 2.0
    cache_bytes: float = 2.0

    @property
    def weights(self) -> float:
        """Bytes of the model."""
        return self.shape.parameters * self.weight_bytes

    @property
    def kv_bytes(self) -> float:
        """Bytes that one token leaves in the KV cache."""
        return 2 * self.shape.layers * self.shape.kv_width * self.cache_bytes

    def seconds(self, load: Load) -> float:
        """Return how long the engine works on requests that all arrive at once.

        Prompts are bound by arithmetic. A decoding step reads the weights once and every running
        request's cache, or is bound by arithmetic if many run. All decoding takes no less than one
        long request would alone, with the longest allowed answer, but at most four times the mean.

        Raises:
            BadInput: the weights leave no room for a KV cache.
        """
        if not load.requests:
            return 0.0
        prompt, output = load.prompt_tokens / load.requests, load.output_tokens / load.requests
        running = self._max_running(prompt + output / 2, load.requests)
        step = self._step_seconds(running, prompt + output / 2)
        decoding = load.output_tokens / running * step
        alone = min(load.longest, 4 * output) * self._step_seconds(1, prompt + output / 2)
        whole = max(decoding, alone) + load.requests * self._prefill_seconds(prompt)
        return whole / self.roofline.engine

    def _max_running(self, context: float, requests: int) -> float:
        memory = self.utilization * self.gpu.memory_gb * 1e9 * self.gpus
        if memory - self.weights < self.kv_bytes * context:
            raise BadInput(
                f"{self.weights / 1e9:,.0f} GB of weights leave no room on {self.gpus} GPU(s) of "
                f"{self.gpu.memory_gb:g} GB",
                remedy=f"Raise steps.{self.stage}.accelerators, or choose a larger GPU.",
            )
        cached = (memory - self.weights) / (self.kv_bytes * context)
        return min(cached, self.sequences or self.gpu.sequences, requests)

    def _step_seconds(self, running: float, context: float) -> float:
        read = self.weights + running * context * self.kv_bytes
        memory = read / (self.gpu.bandwidth_gbs * 1e9 * self.gpus * self.roofline.bandwidth)
        arithmetic = running * self._flops_per_token(context) / self._flops_per_second
        split = self.roofline.tensor_parallel if self.gpus > 1 else 1.0
        return max(memory, arithmetic) / split

    def _prefill_seconds(self, prompt: float) -> float:
        return prompt * self._flops_per_token(prompt / 2) / self._flops_per_second

    def _flops_per_token(self, context: float) -> float:
        weights = 2.0 * self.shape.parameters
        return weights + 4.0 * self.shape.layers * self.shape.query_width * context

    @property
    def _flops_per_second(self) -> float:
        return self.gpu.tflops * 1e12 * self.gpus * self.roofline.arithmetic


def training_flops(
    shape: Architecture, pairs: PairLoad, epochs: float, *, checkpointing: bool, lora: bool
) -> float:
    """Return the floating-point operations of a training run, the reference pass included.

    Args:
        shape: the model's.
        pairs: one epoch's.
        epochs: passes over them.
        checkpointing: whether activations are recomputed.
        lora: whether only adapters are trained.
    """
    work = shape, pairs.tokens, pairs.length / 2, pairs.responses
    trained = step_flops(*work, checkpointing=checkpointing, lora=lora)
    return trained * epochs + reference_flops(*work)
