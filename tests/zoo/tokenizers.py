"""Tokenizers of the three kinds that chat models have, trained on a few sentences at test time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from tests.models import SENTENCES

TEXTS = (
    *SENTENCES,
    "Нина находит две книги. Потом Нина теряет три.",
    "尼娜有四本书。然后尼娜找到两本。",
    "The answer is 12. Here is a list:\n\n1. one\n2. two\n",
    "What is left of 12 when 5 are taken away? Knowledge cutoff, current date: June 2024.",
    "user assistant system model analysis final commentary think",
)
_BYTES = tuple(f"<0x{number:02X}>" for number in range(256))


@cache
def byte_level() -> Any:
    """Return byte-level BPE, as GPT-2, Llama 3, Qwen and most others have it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXTS, trainer)
    return core.to_str()


@cache
def pieces(first: tuple[str, ...], prefix: bool) -> Any:
    """Return BPE over pieces with bytes to fall back on: SentencePiece, as in Llama 2 and Gemma.

    Args:
        first: tokens with the first ids.
        prefix: whether text begins with a space of its own (Llama 2), or not (Gemma).
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    spaces = normalizers.Replace(" ", "▁")
    scratch = Tokenizer(models.BPE())
    scratch.normalizer = spaces
    words = [f"▁{word}" for text in TEXTS for word in text.split(" ")]
    trainer = trainers.BpeTrainer(vocab_size=240, show_progress=False)
    scratch.train_from_iterator(words, trainer)
    learnt = json.loads(scratch.to_str())["model"]
    known = [piece for piece in learnt["vocab"] if piece not in first]
    vocabulary = {piece: number for number, piece in enumerate([*first, *_BYTES, *known])}
    core = Tokenizer(
        models.BPE(
            vocabulary,
            [tuple(pair) for pair in learnt["merges"]],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), spaces] if prefix else [spaces]
    )
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    core.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    return core.to_str()


def tokenizer_of(
    kind: str,
    special: Sequence[str],
    plain: Sequence[str],
    template: str,
    named: dict[str, str],
    greedy: bool = False,
    last: Sequence[str] = (),
) -> Any:
    """Return a tokenizer of transformers.

    Args:
        kind: `bytes`, `llama` or `gemma`.
        special: added tokens that are marked special.
        plain: added tokens that are not, as `<think>` is not in Qwen 3.
        template: the chat template.
        named: `eos_token`, `bos_token`, ... .
        greedy: whether added tokens swallow the white space behind them, as Phi 3's do.
        last: special tokens with the last ids.
    """
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    state = byte_level() if kind == "bytes" else pieces(tuple(special), kind == "llama")
    core = Tokenizer.from_str(state)
    marks = {"normalized": False, "rstrip": greedy}
    core.add_special_tokens([AddedToken(token, special=True, **marks) for token in special])
    core.add_tokens([AddedToken(token, **marks) for token in plain])
    core.add_special_tokens([AddedToken(token, special=True, **marks) for token in last])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
        **named,
    )
    tokenizer.chat_template = template
    return tokenizer
