"""The properties that decide how a model is trained, and in which precision it is written."""

from __future__ import annotations

from typing import Any

from lidr.components.shared.config.engine_choice import choose_engine
from lidr.components.shared.config.generation import EngineName
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.adapters import (
    adapter_layers,
    check_fit,
    check_mergeable,
    expert_blocks,
    settings_beyond_factors,
    short_names,
)
from lidr.components.shared.models.admission.candidate import ModelCandidate
from lidr.components.shared.models.attention_form import why_padded
from lidr.components.shared.models.rotary import check_context, longrope_threshold


def quantisation(candidate: ModelCandidate) -> str:
    """Decide whether the weights can be trained, if they are quantised."""
    method = _quantisation_of(candidate.config) or _quantisation_of(candidate.text_config)
    if not method:
        return ""
    if candidate.trained:
        raise BadInput(
            f"its weights are quantised ({method}), and neither full training nor LoRA can start "
            "from them",
            file=candidate.folder / "config.json",
            remedy="Choose the model that it was made from, with weights in 16 or 32 bits.",
        )
    return f"{method}, for an engine that knows it"


def _quantisation_of(config: Any) -> str:
    given = getattr(config, "quantization_config", None) or {}
    given = given if isinstance(given, dict) else given.to_dict()
    return str(given.get("quant_method", "unknown")) if given else ""


def adapter(candidate: ModelCandidate) -> str:
    """Decide whether the LoRA adapter is applied completely, in every engine and in training."""
    folder, recipe = candidate.adapter, candidate.recipe
    if folder is None:
        return ""
    check_mergeable(folder)
    setting = next(settings_beyond_factors(folder), "")
    if setting and choose_engine(recipe)[0] is EngineName.VLLM:
        raise BadInput(
            f"the adapter has {setting}, but with vLLM lidr supports only plain factors (A and B)",
            file=folder,
            remedy="Merge it into the weights where you trained it, and name the merged model.",
        )
    kept_unmerged = recipe.training.lora.rank and not recipe.training.lora.merge
    if setting and candidate.trained and kept_unmerged:
        raise BadInput(
            f"the adapter has {setting}, onto which no further adapter can be stacked",
            file=folder,
            remedy="Set training.lora.merge to true.",
        )
    return f"fits, {check_fit(candidate.new_skeleton(), folder)} layers"


def lora(candidate: ModelCandidate) -> str:
    """Decide which layers get adapters, if training uses LoRA."""
    settings = candidate.recipe.training.lora
    if not candidate.trained or not settings.rank:
        return ""
    model = candidate.skeleton
    layers = adapter_layers(model, settings.targets, merge=settings.merge)
    experts = "; the experts have none" if expert_blocks(model) else ""
    return f"rank {settings.rank} on {', '.join(short_names(layers))}{experts}"


def rotary(candidate: ModelCandidate) -> str:
    """Refuse a context that needs dynamic rotary scaling; decide which texts share a batch."""
    config, recipe = candidate.config, candidate.recipe
    check_context(config, recipe.model.max_length)
    threshold = longrope_threshold(config)
    if not threshold:
        return ""
    return f"longrope; texts on both sides of {threshold:,} tokens share no batch"


def attention(candidate: ModelCandidate) -> str:
    """Decide how pairs are laid out in a batch of training."""
    if not candidate.trained:
        return ""
    reason = why_padded(candidate.new_skeleton())
    if reason is None:
        return ""
    return f"padded batches ({reason})" if reason else "flat rows"


def precision(candidate: ModelCandidate) -> str:
    """Decide the precision of the weights and, where training rewrites them, of the result."""
    own = str(candidate.text_config.dtype or "float32").removeprefix("torch.")
    training = candidate.recipe.training
    if not candidate.trained or (training.lora.rank and not training.lora.merge):
        return own
    written = {
        "float32": "float32",
        "bfloat16": "bfloat16, rounded stochastically",
        "auto": "float32"
        if own != "bfloat16"
        else "bfloat16 where inference has it (rounded stochastically), else float32",
    }[training.export]
    return f"{own}; trained weights are written in {written}"
