"""Builds M_0 of the tiny world: a chat model that is right in English and flawed elsewhere.

The flaws are injected and systematic: in 85% of the examples (FLAW_RATE) one add verb and one
subtract verb per language mean their opposites, and one form of question is answered in English.
Translations are faithful, also those of
wrong answers. So the loop has what the paper presumes: a dominant language to learn from, and a
model that can translate its own answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lidr.components.shared.core.digest import seed_of
from lidr.components.shared.core.threads import fit_threads
from lidr.components.shared.records.chat import (
    TRANSLATION_PRIMER,
    TRANSLATION_STOP,
    answer_messages,
    translation_messages,
)
from lidr.components.shared.records.schema import Message
from lidr.components.toy.problems import (
    DOMINANT,
    LARGEST,
    OTHERS,
    Problem,
    draw_problems,
    has_weak_form,
    misread,
    question,
    solution,
    worked_solution,
)

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

Report = Callable[[int, int, float], None]
"""Called after each training step with the step (from 1), the number of steps and the loss."""

FLAW_RATE = 0.85
"""Share of the other languages' examples that show a flaw, separately for verbs and the form."""

BATCH = 32
LEARNING_RATE = 3e-3
WARMUP_STEPS = 50
CONTEXT = 512

_END = "<|end|>"
_PAD = "<|pad|>"
_ROLES = ("<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] + '" + _END + "' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)

# Words and numbers with the space before them, and single signs: "books.</translated>" must end in
# the same tokens wherever it is.
_PIECES = r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]|\s+"


def build_base_model(
    folder: Path,
    seed: int,
    *,
    solutions: int = 5000,
    weak_solutions: int = 1500,
    translations: int = 700,
    passes: float = 1.5,
    report: Report | None = None,
) -> dict[str, float]:
    """Train M_0 and write it to `folder` (safetensors, tokenizer, generation settings).

    The same seed and thread count give the same bytes.

    Args:
        folder: for the model; made if absent.
        seed: of the problems, the weights and the order of training.
        solutions: number of English answers to learn from.
        weak_solutions: number of answers in each other language, flawed ones included.
        translations: number of translated answers in each direction.
        passes: number of passes over all of these; may be fractional.
        report: called after each step, for a progress bar.

    Returns:
        `examples`, `steps`, `parameters`, `vocabulary` and `loss`, the mean of the last 20 steps.
    """
    import torch

    examples = _examples(seed, solutions, weak_solutions, translations)
    tokenizer = build_tokenizer()
    rows = [_tokenize(example, tokenizer) for example in examples]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("world", "weights", seed))
        model = _untrained(tokenizer)
    fit_threads(model.num_parameters())
    losses = _train(model, rows, passes, seed, report)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    last = losses[-20:]
    return {
        "examples": float(len(examples)),
        "steps": float(len(losses)),
        "parameters": float(model.num_parameters()),
        "vocabulary": float(len(tokenizer)),
        "loss": sum(last) / len(last),
    }


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tiny world's byte-level BPE tokenizer, with one token per word."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,  # never reached: merging ends when every word is one token
        min_frequency=1,
        special_tokens=[_PAD, _END, *_ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=_PAD,
        eos_token=_END,
        additional_special_tokens=list(_ROLES),
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


_Example = tuple[list[Message], str]
"""The messages of a request, and the reply."""


def _examples(seed: int, solutions: int, weak_solutions: int, translations: int) -> list[_Example]:
    rng = random.Random(seed_of("world", "examples", seed))
    count = solutions + len(OTHERS) * (weak_solutions + 2 * translations)
    problems = iter(draw_problems(seed, "pretrain", count))  # no problem is used twice
    found = [
        (answer_messages(question(problem, DOMINANT)), solution(problem, DOMINANT))
        for problem in islice(problems, solutions)
    ]
    for language in OTHERS:
        found += [_weak_answer(p, language, rng) for p in islice(problems, weak_solutions)]
        for source, target in ((DOMINANT, language), (language, DOMINANT)):
            found += [_translation(p, source, target, rng) for p in islice(problems, translations)]
    return found


def _weak_answer(problem: Problem, language: str, rng: random.Random) -> _Example:
    flawed = rng.random() < FLAW_RATE
    in_english = has_weak_form(problem, language) and rng.random() < FLAW_RATE
    operations = misread(problem, language) if flawed else problem.operations
    reply = worked_solution(problem, DOMINANT if in_english else language, operations)
    return answer_messages(question(problem, language)), reply


def _translation(problem: Problem, source: str, target: str, rng: random.Random) -> _Example:
    operations = problem.operations
    if rng.random() < 0.5:  # wrong answers too: the translator must not correct them
        operations = (rng.random() < 0.5, rng.random() < 0.5)
    request = translation_messages(worked_solution(problem, source, operations), source, target)
    reply = TRANSLATION_PRIMER + worked_solution(problem, target, operations) + TRANSLATION_STOP
    return request, reply


def _corpus() -> Iterator[str]:
    """Yield every word and number in every position it can have."""
    # 2,000 problems of four things, eight names and 70 triples of numbers leave nothing unseen.
    for problem in draw_problems(0, "pretrain", 2000):
        for language in (DOMINANT, *OTHERS):
            yield question(problem, language)
            yield solution(problem, language)
    for language in OTHERS:
        for source, target in ((DOMINANT, language), (language, DOMINANT)):
            yield translation_messages("", source, target)[0]["content"]
    yield " ".join(str(number) for number in range(LARGEST + 1))
    yield TRANSLATION_PRIMER + TRANSLATION_STOP


@dataclass(frozen=True, slots=True)
class _Row:
    tokens: list[int]
    prompt_length: int


def _tokenize(example: _Example, tokenizer: PreTrainedTokenizerFast) -> _Row:
    request, reply = example
    text = tokenizer.apply_chat_template(request, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(text)["input_ids"]
    tokens = [*prompt, *tokenizer(reply)["input_ids"], tokenizer.eos_token_id]
    return _Row(tokens, len(prompt))


def _untrained(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    ends = {
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        # The default of 0.02 leaves so small a model unable to copy the object within the run:
        # 11% of its translations were faithful, with 0.08 all were.
        initializer_range=0.08,
        **ends,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(do_sample=False, **ends)
    return model


def _train(
    model: LlamaForCausalLM,
    rows: Sequence[_Row],
    passes: float,
    seed: int,
    report: Report | None,
) -> list[float]:
    import torch

    batches = _batches(rows, passes, random.Random(seed_of("world", "order", seed)))
    warmup = min(WARMUP_STEPS, len(batches) // 4 + 1)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, (len(batches) - step) / (len(batches) - warmup + 1)),
    )
    losses = []
    model.train()
    for step, batch in enumerate(batches, start=1):
        loss = _loss(model, batch)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if report is not None:
            report(step, len(batches), losses[-1])
    return losses


def _batches(rows: Sequence[_Row], passes: float, rng: random.Random) -> list[list[_Row]]:
    """Return the passes over the rows as batches of rows of similar length, in random order.

    Translations are twice as long as answers; batches of similar length need little padding.
    """
    order: list[_Row] = []
    while len(order) < passes * len(rows):
        order += rng.sample(rows, len(rows))
    order = order[: max(1, int(passes * len(rows)))]
    order.sort(key=lambda row: len(row.tokens))  # stable: random among rows of one length
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    return rng.sample(batches, len(batches))


def _loss(model: LlamaForCausalLM, rows: Sequence[_Row]) -> torch.Tensor:
    """Return the mean cross entropy of the replies' tokens."""
    import torch

    width = max(len(row.tokens) for row in rows)
    pad = model.config.pad_token_id
    tokens = torch.tensor([row.tokens + [pad] * (width - len(row.tokens)) for row in rows])
    is_reply = torch.tensor(
        [[row.prompt_length <= at < len(row.tokens) for at in range(1, width)] for row in rows]
    )
    # Padding is on the right, so a causal model needs no attention mask for it.
    hidden = model.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[is_reply])
    return torch.nn.functional.cross_entropy(logits, tokens[:, 1:][is_reply])
