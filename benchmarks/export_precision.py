"""What of an update below bfloat16's precision reaches inference, and the next iteration.

A random Llama with bfloat16 weights is trained for three iterations of DPO at the default learning
rate, each from the files of the one before, in three ways: float32 files, bfloat16 files rounded
stochastically, and bfloat16 files rounded to the nearest. Margins are those over M_0, of all pairs.

`python -m benchmarks.export_precision` prints one line a way and iteration, and JSON at the end.
"""

from __future__ import annotations

import copy
import json

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lidr.components.train.export.precision import stochastically_rounded

LEARNING_RATE, STEPS, ITERATIONS, BETA = 5e-7, 32, 3, 0.1
PAIRS, PROMPT, RESPONSE = 16, 8, 24


def main() -> None:
    """Train in each way and print what is left."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=False,
    )
    base = LlamaForCausalLM(config).bfloat16().float().eval()
    pairs = torch.randint(3, 1000, (PAIRS, 2, PROMPT + RESPONSE))
    pairs[:, 1, :PROMPT] = pairs[:, 0, :PROMPT]
    first = margins(base, pairs, torch.zeros(PAIRS))
    found = []
    for way in ("float32", "stochastic", "nearest"):
        model = base
        for iteration in range(1, ITERATIONS + 1):
            trained = one_iteration(model, pairs)
            model = written(trained, way, iteration)
            row = {
                "way": way,
                "iteration": iteration,
                "trained": margins(trained, pairs, first).mean().item(),
                "files": margins(model, pairs, first).mean().item(),
                "in_bfloat16": margins(rounded(model), pairs, first).mean().item(),
            }
            print(" ".join(f"{key} {_text(value)}" for key, value in row.items()), flush=True)
            found.append(row)
    print(json.dumps(found))


def one_iteration(start: LlamaForCausalLM, pairs: torch.Tensor) -> LlamaForCausalLM:
    """Return a model trained by DPO against its start, in float32."""
    model = copy.deepcopy(start)
    with torch.no_grad():
        reference = scores(start, pairs)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    for step in range(STEPS):
        rows = torch.arange(8) + 8 * (step % (PAIRS // 8))
        gains = scores(model, pairs[rows]) - reference[rows]
        loss = -torch.nn.functional.logsigmoid(BETA * (gains[:, 0] - gains[:, 1])).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def scores(model: LlamaForCausalLM, pairs: torch.Tensor) -> torch.Tensor:
    """Return the log-probabilities of chosen and rejected texts, (pairs, 2)."""
    logps = model(pairs.flatten(0, 1)).logits[:, PROMPT - 1 : -1].log_softmax(-1)
    targets = pairs.flatten(0, 1)[:, PROMPT:, None]
    return logps.gather(2, targets).sum((1, 2)).view(-1, 2)


def margins(model: LlamaForCausalLM, pairs: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """Return the reward margins over M_0, whose own differences are `first`; (pairs,)."""
    with torch.no_grad():
        found = scores(model, pairs)
    return BETA * (found[:, 0] - found[:, 1] - first / BETA)


def written(model: LlamaForCausalLM, way: str, seed: int) -> LlamaForCausalLM:
    """Return the model that a way's files hold."""
    if way == "float32":
        return model
    if way == "nearest":
        return rounded(model)
    copied = copy.deepcopy(model)
    for number, weight in enumerate(copied.parameters()):
        weight.data.copy_(stochastically_rounded(weight.data, 1000 * seed + number).float())
    return copied


def rounded(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Return the model as inference in bfloat16 loads it."""
    return copy.deepcopy(model).bfloat16().float()


def _text(value: object) -> str:
    return f"{value:.5f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
