"""How a causal language model scores pairs: its forward pass returns response log-probabilities.

`install_scoring` replaces a model's forward pass by one that runs the layers over a batch and the
head over response tokens only. To find out whether the model's attention works by segment, two
short pairs are scored with both forward passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import MethodType
from typing import Any

import torch
from transformers import PreTrainedConfig

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.text import one_line
from lidr.components.shared.forward import attention
from lidr.components.shared.forward.batches import (
    Layout,
    MicroBatch,
    Segments,
    flat_batch,
    padded_batch,
    separate_batch,
)
from lidr.components.shared.forward.head import completion_logps, head_shape
from lidr.components.shared.forward.rotary import split_rotary
from lidr.components.shared.forward.tokens import TokenPair
from lidr.components.shared.models.rotary import longrope_threshold

_TRIAL_TOKENS = 8
"""Tokens kept of prompt and chosen text in a trial pair; half as many of the rejected text."""


def install_scoring(
    model: Any,
    pairs: Sequence[TokenPair],
    *,
    bfloat16: bool = False,
    length_key: str = "training.max_length",
) -> Layout:
    """Replace a model's forward pass by one that scores batches; return the layout it needs.

    Dropout is switched off: it would add noise to the log-probabilities that rewards compare.

    Args:
        model: a causal language model of transformers.
        pairs: the pairs to score: the first two are the trial, and the longest decides whether
            longrope needs each text in a sequence of its own.
        bfloat16: whether passes will run in bfloat16, for which a GPU has another kernel: that
            is tried as well.
        length_key: the recipe's key that bounds the pairs, for the remedy.

    Raises:
        BadInput: the model's scores cannot be computed from its layers and its head alone, or
            longrope needs attention by segment and the model has none.
    """
    _switch_dropout_off(model)
    _freeze_unread(model)
    trial = [_clipped(pair) for pair in pairs[:2]]
    expected = _original_scores(model, trial)
    original_attention = model.config._attn_implementation
    threshold = longrope_threshold(model.config)
    separate = bool(threshold) and max(pair.longest for pair in pairs) > threshold
    if separate:
        emit(
            "note",
            message=f"longrope: some pairs are longer than {threshold} tokens, so each text is a "
            "sequence of its own",
        )
        split_rotary(model)
    layout = separate_batch if separate else flat_batch
    _replace_forward(model)
    try:
        model.set_attn_implementation(attention.NAME)
        precisions = (False, True) if bfloat16 else (False,)
        if all(_agree(model, trial, layout, expected, bfloat16=half) for half in precisions):
            return layout
        reason = "its scores differ from the model's own"
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError) as error:  # a kernel's errors are RuntimeErrors
        reason = one_line(str(error))
    if separate:
        raise BadInput(
            f"{type(model).__name__} has longrope but no attention by segment ({reason})",
            remedy=f"Set {length_key} to {threshold} or less.",
        )
    model.set_attn_implementation(original_attention)
    if not _agree(model, trial, padded_batch, expected):
        raise BadInput(
            f"{type(model).__name__} does more to its logits than lidr supports",
            remedy="Choose a model of another architecture.",
        )
    emit("note", message=f"batches are padded: no attention by segment ({reason})")
    return padded_batch


def score(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Return log P(chosen) and log P(rejected) of a batch, summed over tokens, (pairs, 2)."""
    logps = model(
        input_ids=batch.ids,
        position_ids=batch.positions,
        segments=batch.segments,
        sources=batch.sources,
        targets=batch.targets,
    )
    return torch.stack([part.sum() for part in logps.split(batch.lengths)]).view(-1, 2)


def _replace_forward(model: Any) -> None:
    head = model.get_output_embeddings()
    shape = head_shape(model.config.get_text_config())
    # The head must still be called as a module: sharded weights (ZeRO-3) are gathered on calls.
    head.forward = partial(_head_forward, head, shape)
    model.forward = MethodType(_forward, model)


def _forward(
    self: Any,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor | None,
    segments: Segments | None,
    sources: torch.Tensor,
    targets: torch.Tensor,
    **_: Any,
) -> torch.Tensor:
    """Return the log-probability of each response token, shape (response tokens,)."""
    given = {"position_ids": position_ids, "segments": segments} if segments is not None else {}
    hidden = _decoder_of(self)(input_ids=input_ids, use_cache=False, **given).last_hidden_state
    logps: torch.Tensor = self.get_output_embeddings()(
        hidden.flatten(0, 1).index_select(0, sources), targets
    )
    return logps


def _decoder_of(model: Any) -> Any:
    """Return the layers under the head; in a model that reads images, those of its text model."""
    decoder = model.get_decoder()
    # transformers finds none in Llama 4 text models and returns the model, head included.
    return model.model if decoder is model else decoder


def _head_forward(head: Any, shape: Any, hidden: torch.Tensor, targets: torch.Tensor) -> Any:
    return completion_logps(hidden, head.weight, head.bias, targets, shape)


def _original_scores(model: Any, pairs: Sequence[TokenPair]) -> torch.Tensor:
    scores = []
    for pair in pairs:
        for side in (pair.chosen, pair.rejected):
            ids = torch.tensor([pair.prompt + side], device=model.device)
            with torch.no_grad():
                logits = model.eval()(input_ids=ids, use_cache=False).logits[0].float()
            logps = logits[len(pair.prompt) - 1 : -1].log_softmax(-1)
            scores.append(logps.gather(1, ids[0, len(pair.prompt) :, None]).sum())
    return torch.stack(scores).view(-1, 2)


def _agree(
    model: Any,
    pairs: Sequence[TokenPair],
    layout: Layout,
    expected: torch.Tensor,
    *,
    bfloat16: bool = False,
) -> bool:
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
        found = score(model.eval(), layout(pairs, model.device))
    tolerance = 1e-4 if model.dtype == torch.float32 and not bfloat16 else 2e-2
    agree: bool = torch.allclose(found.float(), expected, rtol=tolerance, atol=10 * tolerance)
    return agree


def _clipped(pair: TokenPair) -> TokenPair:
    return replace(
        pair,
        prompt=pair.prompt[-_TRIAL_TOKENS:],
        chosen=pair.chosen[:_TRIAL_TOKENS],
        rejected=pair.rejected[: _TRIAL_TOKENS // 2],
    )


def _freeze_unread(model: Any) -> None:
    """Freeze what is not in the text model or its head, e.g. a vision tower."""
    read = {*_decoder_of(model).parameters(), *model.get_output_embeddings().parameters()}
    for parameter in model.parameters():
        if parameter not in read:
            parameter.requires_grad_(False)


def _switch_dropout_off(model: Any) -> None:
    """Set every dropout rate to 0: of Dropout modules, and in attributes of modules and configs."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        config = getattr(module, "config", None)  # some modules read their rate there
        for holder in (module, config) if isinstance(config, PreTrainedConfig) else (module,):
            for name, value in list(vars(holder).items()):
                if "drop" in name and isinstance(value, float):  # dropout, attn_pdrop, layerdrop
                    setattr(holder, name, 0.0)
