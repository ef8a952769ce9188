"""Loads and checks models and their chat renderers for forward passes without a KV cache."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from lidr.components.shared.core.device import best_device
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import some_of
from lidr.components.shared.core.threads import fit_threads
from lidr.components.shared.engines.transformers_engine import merge_adapter
from lidr.components.shared.models.chat import ChatRenderer, ChatSettings, eos_token_ids
from lidr.components.shared.models.chat.vocabulary import require_embedded
from lidr.components.shared.models.sources import ModelFiles


def load_chat(settings: ChatSettings, folder: Path, *others: Path) -> ChatRenderer:
    """Return a model's chat renderer.

    Args:
        settings: how chats are rendered.
        folder: the model's folder.
        others: folders of further models that read the same tokens.

    Raises:
        BadInput: the tokenizer has token ids that one of the models has no embedding for.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    for model in (folder, *others):
        require_embedded(tokenizer, model_settings(model), model)
    return ChatRenderer(tokenizer, settings, eos_token_ids(folder))


def require_same_vocabulary(first: Path, second: Path, key: str) -> None:
    """Refuse two models with different vocabularies.

    Args:
        first: a model's folder.
        second: another model's.
        key: the recipe's key that names them, for the error.

    Raises:
        BadInput: their vocabularies differ.
    """
    if first == second:
        return
    one, other = (
        AutoTokenizer.from_pretrained(each, trust_remote_code=False).get_vocab()
        for each in (first, second)
    )
    if one != other:
        raise BadInput(
            f"{key} names models with different vocabularies ({len(one):,} and {len(other):,} "
            "tokens): their log-probabilities cannot be compared",
            remedy="Name a model and the one that it was tuned from.",
        )


def load_model(files: ModelFiles, dtype: torch.dtype = torch.float32) -> Any:
    """Return a model on the GPU, if there is one, with its adapter merged.

    Weights that are trained need float32 even where passes run in bfloat16: at a learning rate of
    5e-7 most updates are too small for a bfloat16 weight and would be lost.

    Raises:
        BadInput: the files lack weights, which transformers would set at random.
    """
    model, info = AutoModelForCausalLM.from_pretrained(
        files.folder,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    if missing := sorted(info["missing_keys"]):
        raise BadInput(
            f"its files lack {len(missing)} of the model's weights: {some_of(missing)}",
            file=files.folder,
            remedy="Add the safetensors files that hold them, or choose another model.",
        )
    if files.adapter:
        model = merge_adapter(model, files.adapter)
    fit_threads(sum(map(num_elements, model.parameters())))
    device = best_device()
    return model if device == "cpu" else model.to(device)


def free_models() -> None:
    """Free the memory of models that nothing refers to any more, before the next one is loaded.

    A model that `install_scoring` has changed refers to itself, so Python frees it only when it
    collects garbage: with millions of older objects, hardly ever.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def num_elements(parameter: Any) -> int:
    """Return a parameter's number of elements, also where ZeRO shards it over the ranks."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def model_settings(folder: Path) -> Any:
    """Return a model's config.json as transformers reads it."""
    return AutoConfig.from_pretrained(folder, trust_remote_code=False)
