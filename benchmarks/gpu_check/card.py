"""The card itself: its name, how fast it multiplies, and whether it computes what a CPU does."""

from __future__ import annotations

import copy
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cosine_similarity, logsigmoid
from transformers import LlamaForCausalLM

from benchmarks.gpu_check.shapes import Result, Shape, config_of
from lidr.components.shared.forward.batches import flat_batch
from lidr.components.shared.forward.scoring import install_scoring, score
from lidr.components.shared.forward.tokens import TokenPair
from lidr.components.train.forward.loss import pair_losses

GIB = 2**30

LOSS_BOUND = 1e-3
COSINE_BOUND = 0.999

_COMPARED = Shape(512, 1408, 4, 8, 4, vocabulary=4096, length=256)
_BETA = 0.1


def device() -> torch.device:
    """Return what is measured: the GPU, or without one the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def now() -> float:
    """Return the time in seconds, when all that was asked of the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_gib() -> float:
    """Return the most that torch has allocated on the GPU since `reset_peak`; 0 without one."""
    return round(torch.cuda.max_memory_allocated() / GIB, 2) if torch.cuda.is_available() else 0.0


def reset_peak() -> None:
    """Forget the GPU's peak memory so far."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def matrix_product(folder: Path, shape: Shape) -> Result:
    """Measure a product of two large bfloat16 matrices: the best of some."""
    gpu = torch.cuda.is_available()
    size, repeats = (8192, 20) if gpu else (256, 3)
    left, right = (torch.randn(size, size, dtype=torch.bfloat16, device=device()) for _ in "12")
    seconds = []
    for _ in range(repeats):
        began = now()
        left @ right
        seconds.append(now() - began)
    memory = torch.cuda.get_device_properties(0).total_memory if gpu else 0
    return {
        "card": torch.cuda.get_device_name() if gpu else "CPU",
        "memory_gib": round(memory / GIB, 1),
        "flops_per_second": 2 * size**3 / min(seconds),
    }


def agreement(folder: Path, shape: Shape) -> Result:
    """Compare loss and gradients of flat rows on the card with plain passes on a CPU in float32.

    Policy and reference differ, so that DPO's term has margins to weigh.
    """
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    plain = LlamaForCausalLM(config_of(_COMPARED))
    pairs = _random_pairs(12, generator)
    away = 2 * torch.randn(len(pairs), 2, generator=generator)
    expected, reference = _plain_pass(plain, pairs, away)
    found: Result = {}
    for precision in ("float32", "bfloat16"):
        model = copy.deepcopy(plain).to(device())
        model.zero_grad()
        loss = _flat_pass(model, pairs, reference, bfloat16=precision == "bfloat16")
        found[precision] = {
            "loss": loss,
            "loss_on_cpu": expected,
            "loss_difference": abs(loss - expected) / expected,
            **_cosines(model, plain),
        }
    found["agrees"] = all(
        each["loss_difference"] <= LOSS_BOUND and each["gradient_cosine"] > COSINE_BOUND
        for each in found.values()
    )
    return found


def _random_pairs(count: int, generator: torch.Generator) -> list[TokenPair]:
    def tokens(least: int, most: int) -> array[int]:
        size = int(torch.randint(least, most, (1,), generator=generator))
        drawn = torch.randint(3, _COMPARED.vocabulary, (size,), generator=generator)
        return array("i", drawn.tolist())

    longest = _COMPARED.length
    return [
        TokenPair(f"k{n}", f"p{n}", "es", tokens(2, 60), tokens(1, longest), tokens(1, longest))
        for n in range(count)
    ]


def _plain_pass(
    model: Any, pairs: Sequence[TokenPair], away: torch.Tensor
) -> tuple[float, torch.Tensor]:
    """Run each side by itself through the model's own forward pass, as the paper writes the loss.

    Returns:
        The loss, whose gradients the model then has, and the reference's log-probabilities: those
        of the model, moved away a little.
    """
    total, reference = 0.0, []
    for pair, distance in zip(pairs, away, strict=True):
        chosen, rejected = (_own_logp(model, pair.prompt, each) for each in _sides(pair))
        known = torch.stack([chosen, rejected]).detach() + distance
        margin = _BETA * ((chosen - known[0]) - (rejected - known[1]))
        loss = (-logsigmoid(margin) - chosen / len(pair.chosen)) / len(pairs)
        loss.backward()
        total += loss.item()
        reference.append(known)
    return total, torch.stack(reference)


def _sides(pair: TokenPair) -> tuple[array[int], array[int]]:
    return pair.chosen, pair.rejected


def _own_logp(model: Any, prompt: array[int], side: array[int]) -> torch.Tensor:
    logits = model(torch.tensor([prompt + side]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(side)[:, None]).sum()


def _flat_pass(
    model: Any, pairs: Sequence[TokenPair], reference: torch.Tensor, *, bfloat16: bool
) -> float:
    """Run all pairs as one flat row, as the train step does; the model then has gradients."""
    where = model.device
    if install_scoring(model, pairs, bfloat16=bfloat16) is not flat_batch:
        raise RuntimeError("the model's attention does not work by segment here")
    model.train()
    with torch.autocast(where.type, torch.bfloat16, enabled=bfloat16):
        logps = score(model, flat_batch(pairs, where)).float()
        lengths = logps.new_tensor([len(pair.chosen) for pair in pairs])
        losses = pair_losses(logps, lengths, reference.to(where), _BETA)
        loss = (losses.dpo + losses.nll).mean()
    loss.backward()
    return float(loss.detach())


def _cosines(model: Any, plain: Any) -> Result:
    """Compare the gradients of two models, all together and tensor by tensor."""
    ours, theirs = (
        [each.grad.detach().double().cpu().flatten() for each in one.parameters()]
        for one in (model, plain)
    )
    together = cosine_similarity(torch.cat(ours), torch.cat(theirs), dim=0)
    apart = [cosine_similarity(a, b, dim=0).item() for a, b in zip(ours, theirs, strict=True)]
    return {"gradient_cosine": together.item(), "least_cosine_of_a_tensor": min(apart)}
